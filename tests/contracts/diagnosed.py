"""Two energies with known laws, and runs of them that are made in no time."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from erg.energies import Energy
from tests.contracts.commands import erg


class Wide(Energy):
    """A normal law of the standard deviation `scale` in every direction: one mode that chains cross at ease."""

    def __init__(self, shape: tuple[int, ...], scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        return (x / self.scale).square().flatten(1).sum(1) / 2


class Wells(Wide):
    """Valleys along the diagonal of the plane, with walls that no chain crosses: data along it are in one of them."""

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        across, along = (x[:, 0] - x[:, 1]) / self.scale, x.sum(1)
        return 4 * (1 - (5 * across).cos()) + along.square() / 4


def table(path: Path, *, aligned: bool, rows: int = 480) -> Path:
    """Rows of two columns, which are equal up to a little noise or do not know of each other."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, rows))
    second = first + 0.05 * second if aligned else second
    path.write_text("a,b\n" + "".join(f"{a:.6g},{b:.6g}\n" for a, b in zip(first, second, strict=True)))
    return path


def run(folder: Path, energy: str, data: Path, *, step_size: float = 0.5) -> Path:
    """A run of a few updates too small to change the energy, sampled by a kernel of its own."""
    recipe = folder.parent / f"{folder.name}.yaml"
    recipe.write_text(
        f"""\
name: {folder.name}
data: {{name: table, path: {data}}}
network: {{class_path: tests.contracts.diagnosed.{energy}}}
objective:
  class_path: erg.objectives.MaximumLikelihood
  init_args:
    negatives:
      class_path: erg.negatives.FromNoise
      init_args: {{kernel: {{class_path: erg.samplers.mala, init_args: {{step_size: {step_size}}}}}, steps: 2}}
optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 1.0e-9}}}}
sampler: {{steps: 5}}
validation: {{every: 2, samples: 8}}
average: 0.0
steps: 2
batch_size: 8
device: cpu
"""
    )
    answer = erg("train", recipe, "--out", folder)
    assert answer.code == 0, answer
    return folder
