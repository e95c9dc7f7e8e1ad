"""A look at the held-out rows during training: energies, samples, and whether they got better.

Each look has a random stream of its own, made from the seed and the step, so that looking does not
change what training does next.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erg.data import Dataset, in_grey
from erg.energies.energy import Energy
from erg.evaluation.assess import device_of
from erg.roles import Kernel
from erg.runs.domain import Domain
from erg.runs.figures import figures
from erg.runs.recipe import ValidationSettings
from erg.samplers.chain import sample
from erg.training.tracking import Tracker

SHOWN = 64
ROWS = 1000
FRAMES = 9


class Validation:
    """Scores held-out rows and fresh samples every so often, and remembers the best look.

    Args:
        settings: How often, how many, how patient.
        data: Training and held-out rows.
        steps: Transitions from noise.

    Attributes:
        best: The lowest quality figure so far: smaller is better.
    """

    def __init__(self, settings: ValidationSettings, data: Dataset, steps: int) -> None:
        self.settings, self.data, self.steps = settings, data, steps
        self.best = float("inf")
        self.since = 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.settings.patience is not None and self.since >= self.settings.patience

    def look(self, step: int, energy: Energy, kernel: Kernel, *, seed: int, tracker: Tracker) -> bool:
        """Look once, write it down, and say whether it is the best so far.

        Args:
            step: Updates made so far.
            energy: Is looked at.
            kernel: Draws samples from noise.
            seed: Of the run.
            tracker: Writes it down.
        """
        device = device_of(energy)
        rng = torch.Generator(device).manual_seed(_mixed(seed, step))
        train, held_out = (_some(split.x).to(device) for split in (self.data.train, self.data.held_out))
        shape = (self.settings.samples, *self.data.shape)
        start = energy.support.initial(shape, rng, like=train)
        samples = sample(kernel, energy, start, self.steps, rng)
        values, energies = figures(energy, samples, train=train, held_out=held_out, rng=rng)
        tracker.scalars(step, {f"validation/{name}": value for name, value in values.items()})
        for name, per_row in energies.items():
            tracker.histogram(step, f"energies/{name}", per_row)
        if Domain.of(self.data).pictured:
            support = self.data.support
            tracker.images(step, "samples", in_grey(samples[:SHOWN], support))
            chains = progression(kernel, energy, start[:4], self.steps, rng)
            tracker.strip(step, "chain", in_grey(chains, support))
        return self._judge(values["quality"])

    def _judge(self, quality: float) -> bool:
        better = quality < self.best
        self.best = quality if better else self.best
        self.since = 0 if better else self.since + 1
        return better

    def state_dict(self) -> dict[str, Any]:
        """The best figure and how long ago it was."""
        return {"best": self.best, "since": self.since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with a saved best."""
        self.best, self.since = state["best"], state["since"]


def progression(kernel: Kernel, energy: Energy, x: Tensor, steps: int, rng: torch.Generator) -> Tensor:
    """Chains on their way from `x`, shape (chains, frames, *event): more frames early, where more happens."""
    marks = sorted({round(steps * (frame / (FRAMES - 1)) ** 2) for frame in range(FRAMES)})
    frames = [x]
    for start, end in pairwise(marks):
        frames.append(sample(kernel, energy, frames[-1], end - start, rng))
    return torch.stack(frames, 1)


def _some(x: Tensor) -> Tensor:
    """The same rows at every look, in random order: folders come sorted by class."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ROWS]]


def _mixed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]) >> 1
