r"""Where a state lives: the set on which an energy is defined.

A kernel declares the supports it moves on and refuses the others, so that a wrong pairing is an
error when sampling starts and not a strange picture an hour later. Discrete states stay floating:
``Binary`` is {0, 1}, ``Spin`` is {-1, 1}, ``OneHot`` is a unit vector along the last axis.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

from erg import draws, rows
from erg.draws import Rng

ENUMERABLE = 2**24


@dataclass(frozen=True)
class Real:
    """All real vectors or arrays, of any event shape."""

    def contains(self, x: Float[Tensor, "batch *event"]) -> Bool[Tensor, " batch"]:
        """Which rows are finite."""
        return rows.finite(x)

    def initial(self, shape: tuple[int, ...], rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "..."]:
        """Standard normal states of the given (batch, *event) shape."""
        return draws.normal(_template(shape, like), rng)


@dataclass(frozen=True)
class Box:
    """Arrays with every entry in [low, high].

    Raises:
        ValueError: If `low` is not below `high`, or one of them is not finite.
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(
                f"Box needs finite low < high, but got low={self.low} and high={self.high}; "
                "states without bounds live on Real()."
            )

    def contains(self, x: Float[Tensor, "batch *event"]) -> Bool[Tensor, " batch"]:
        """Which rows lie inside, the faces included."""
        inside = (x >= self.low) & (x <= self.high)
        return rows.every(inside)

    def initial(self, shape: tuple[int, ...], rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "..."]:
        """Uniform states of the given (batch, *event) shape."""
        return draws.uniform(_template(shape, like), rng) * (self.high - self.low) + self.low


@dataclass(frozen=True)
class _Lattice:
    """Two values per entry; `Binary` and `Spin` say which."""

    values = (0.0, 1.0)

    def contains(self, x: Float[Tensor, "batch *event"]) -> Bool[Tensor, " batch"]:
        """Which rows have allowed values only."""
        allowed = (x == self.values[0]) | (x == self.values[1])
        return rows.every(allowed)

    def initial(self, shape: tuple[int, ...], rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "..."]:
        """Fair coin flips of the given (batch, *event) shape."""
        template = _template(shape, like)
        heads = draws.uniform(template, rng) < 0.5
        return torch.where(heads, self.values[0], self.values[1]).to(template.dtype)

    def enumerate(self, event: tuple[int, ...], *, chunk: int = 2**16) -> Iterator[Float[Tensor, "..."]]:
        """All states of one event shape, in chunks of at most `chunk` rows.

        Raises:
            ValueError: If there are more than 2^24 states.
        """
        sites = torch.Size(event).numel()
        _refuse_huge(2**sites, f"{type(self).__name__}{tuple(event)}")
        low, high = self.values
        for start in range(0, 2**sites, chunk):
            index = torch.arange(start, min(start + chunk, 2**sites))
            bits = (index[:, None] >> torch.arange(sites)) & 1
            yield (low + (high - low) * bits.to(torch.get_default_dtype())).reshape(-1, *event)


@dataclass(frozen=True)
class Binary(_Lattice):
    """Arrays of 0 and 1."""

    values = (0.0, 1.0)


@dataclass(frozen=True)
class Spin(_Lattice):
    """Arrays of -1 and 1."""

    values = (-1.0, 1.0)


@dataclass(frozen=True)
class OneHot:
    """Arrays whose last axis is a unit vector: one category per site."""

    def contains(self, x: Float[Tensor, "batch *event"]) -> Bool[Tensor, " batch"]:
        """Which rows have exactly one 1 along the last axis of every site, and 0 elsewhere."""
        sites = ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)
        return rows.every(sites)

    def initial(self, shape: tuple[int, ...], rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "..."]:
        """Uniform categories of the given (batch, *sites, categories) shape."""
        template = _template(shape, like)
        # In 16 bits ties are frequent, and argmax would favour the first category.
        noise = draws.uniform(template.float(), rng)
        return one_hot(noise.argmax(-1), shape[-1]).to(template.dtype)

    def enumerate(self, event: tuple[int, ...], *, chunk: int = 2**16) -> Iterator[Float[Tensor, "..."]]:
        """All states of one event shape (*sites, categories), in chunks of at most `chunk` rows.

        Raises:
            ValueError: If there are more than 2^24 states.
        """
        categories, sites = event[-1], torch.Size(event[:-1]).numel()
        _refuse_huge(categories**sites, f"OneHot{tuple(event)}")
        words = itertools.product(range(categories), repeat=sites)
        while some := list(itertools.islice(words, chunk)):
            yield one_hot(torch.tensor(some), categories).to(torch.get_default_dtype()).reshape(-1, *event)


Support = Real | Box | Binary | Spin | OneHot
DISCRETE = (Binary, Spin, OneHot)


def _template(shape: tuple[int, ...], like: Tensor | None) -> Tensor:
    return torch.empty(shape) if like is None else torch.empty(shape, dtype=like.dtype, device=like.device)


def _refuse_huge(states: int, name: str) -> None:
    if states > ENUMERABLE:
        raise ValueError(
            f"enumerate() lists at most 2^24 states, but {name} has {states}; estimate with annealing instead."
        )
