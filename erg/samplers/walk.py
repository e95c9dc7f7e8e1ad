"""Moves that need no gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import Evaluated, Tuning
from erg.samplers.rules import Metropolis
from erg.support import Box, Real


@dataclass(frozen=True)
class RandomWalk:
    r"""Proposes a Gaussian step: :math:`x' = x + \sigma\,\xi`.

    Args:
        scale: sigma, in units of x; a number, or one per chain. In d dimensions about 2.4 / sqrt(d)
            standard deviations of the target mix fastest.

    Raises:
        ValueError: If `scale` is not positive.

    References:
        Gelman, Roberts & Gilks (1996), Efficient Metropolis jumping rules
    """

    scale: float | Float[Tensor, " batch"]
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    needs_gradient: ClassVar[bool] = False
    tuning: ClassVar[Tuning] = Tuning("scale", acceptance=0.234)

    def __post_init__(self) -> None:
        rows.positive("scale", self.scale, of=RandomWalk)

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One candidate per row."""
        return source.x + rows.spread(self.scale, source.x) * draws.normal(source.x, rng)

    def log_prob(self, source: Evaluated, target: Evaluated) -> Float[Tensor, " batch"]:
        """Zero: the move is symmetric, and constants do not matter."""
        return torch.zeros_like(source.energy)


def random_walk(scale: float | Float[Tensor, " batch"]) -> Metropolis:
    """Random-walk Metropolis: one energy per step, no gradient, the exact law."""
    return Metropolis(RandomWalk(scale))
