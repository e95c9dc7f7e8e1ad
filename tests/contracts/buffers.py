"""What a replay buffer must do, measured; shared by its contract and by the tests that break it."""

from dataclasses import dataclass
from typing import Any

import torch

from erg.roles import Kernel
from erg.samplers.rules import Position


@dataclass(frozen=True)
class Identity(Kernel):
    """Stays where it is: what comes out of a buffer is then what was in it."""

    def init(self, energy: Any, x: torch.Tensor) -> Position:
        return Position(x)

    def step(self, energy: Any, state: Position, rng: Any) -> tuple[Position, torch.Tensor]:
        return state, torch.ones(len(state.x))


@dataclass(frozen=True)
class Diverging(Kernel):
    """Sends every row above one to NaN, every row below minus one to infinity."""

    def init(self, energy: Any, x: torch.Tensor) -> Position:
        return Position(x)

    def step(self, energy: Any, state: Position, rng: Any) -> tuple[Position, torch.Tensor]:
        x = torch.where(state.x > 1, torch.nan, state.x)
        return Position(torch.where(x < -1, -torch.inf, x)), torch.ones(len(x))


def flat(x: torch.Tensor) -> torch.Tensor:
    """The energy that does not care."""
    return x.flatten(1).sum(1) * 0


def distinct_chains(negatives: Any, *, size: int, batch: int, updates: int) -> int:
    """How many different chains a buffer still holds after updates that move nothing."""
    rng, x = torch.Generator().manual_seed(0), torch.zeros(batch, 2)
    for _ in range(updates):
        negatives(flat, x, rng)
    assert len(negatives.positions) == size
    return len(negatives.positions.unique(dim=0))


def largest_share_of_duplicates(negatives: Any, *, batch: int, calls: int) -> float:
    """The largest share of rows that came twice in one batch."""
    rng, x = torch.Generator().manual_seed(0), torch.zeros(batch, 2)
    return max(1 - len(negatives(flat, x, rng).unique(dim=0)) / batch for _ in range(calls))


def share_of_restarts(negatives: Any, *, batch: int, calls: int) -> float:
    """The share of chains that restart, when all chains were put far away."""
    rng, x, near = torch.Generator().manual_seed(0), torch.zeros(batch, 2), 0.0
    negatives(flat, x, rng)
    for _ in range(calls):
        negatives.positions.fill_(1e4)
        near += float((negatives(flat, x, rng).abs() < 100).all(1).double().mean())
    return near / calls


def stored_non_finite(negatives: Any, *, batch: int, calls: int) -> int:
    """How many stored chains are not finite, after calls whose kernel diverges."""
    rng, x = torch.Generator().manual_seed(0), torch.zeros(batch, 2)
    for _ in range(calls):
        negatives(flat, x, rng)
    return int((~negatives.positions.isfinite()).flatten(1).any(1).sum())
