"""Chains that go through a list of energies, one after the other.

`Stage` is annealing through different energies, as the noise levels of a diffused one: a list says all, and
`run_stages` goes through it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.chain import advance


@dataclass(frozen=True)
class Stage:
    """A part of a chain: an energy, the kernel that moves on it, and for how long.

    Args:
        energy: For example a diffused energy at one noise level.
        kernel: With the step size of that level.
        steps: Transitions; none passes the states on.

    Raises:
        ValueError: If `steps` is negative.
    """

    energy: EnergyLike
    kernel: Kernel
    steps: int

    def __post_init__(self) -> None:
        rows.whole("steps", self.steps, of="Stage", least=0)


def run_stages(
    stages: Iterable[Stage], x: Float[Tensor, "batch *event"], rng: Rng = None
) -> Iterator[tuple[Float[Tensor, "batch *event"], Float[Tensor, " batch"]]]:
    """Go through stages, each from where the last one ended: annealed Langevin dynamics, when noise levels fall.

    Yields after every stage the states and each row's mean acceptance.

    Args:
        stages: In order.
        x: Where the chains start. Not modified.
        rng: The only source of randomness when given; torch's global generator otherwise.

    References:
        Song & Ermon (2019), Generative modeling by estimating gradients of the data distribution, arXiv:1907.05600

    Example:
        >>> import torch
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import ula
        >>> levels = [4.0, 1.0, 0.25]
        >>> stages = [Stage(Gaussian.isotropic(torch.ones(2), variance=v), ula(0.3 * v), 20) for v in levels]
        >>> for x, acceptance in run_stages(stages, torch.zeros(5, 2), torch.Generator().manual_seed(0)):
        ...     pass
        >>> x.shape
        torch.Size([5, 2])
    """
    for stage in stages:
        x, acceptance = advance(stage.kernel, stage.energy, x, stage.steps, rng)
        yield x, acceptance
