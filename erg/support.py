r"""Where a state lives: the set on which an energy is defined.

A kernel declares the supports it moves on and refuses the others, so that a wrong pairing is an
error when sampling starts and not a strange picture an hour later. Discrete states stay floating:
``Binary`` is {0, 1}, ``Spin`` is {-1, 1}, ``OneHot`` is a unit vector along the last axis.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

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


@dataclass(frozen=True)
class Mixed:
    """Rows of entries of which each part lives elsewhere: bits beside a category, columns of a table.

    Args:
        parts: From the first entry on: where each part lives, and how many entries it has.

    Raises:
        ValueError: If there is no part, or one is empty.

    Example:
        >>> place = Mixed(((Binary(), 2), (OneHot(), 3)))
        >>> place.contains(torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0, 0.0]]))
        tensor([ True, False])
    """

    parts: tuple[tuple["Support", int], ...]

    def __post_init__(self) -> None:
        if not self.parts or any(entries < 1 for _, entries in self.parts):
            raise ValueError(f"Mixed has one or more parts, each of some entries, but got {self.parts}.")

    @property
    def sizes(self) -> list[int]:
        """How many entries the parts have."""
        return [entries for _, entries in self.parts]

    def contains(self, x: Float[Tensor, "batch entries"]) -> Bool[Tensor, " batch"]:
        """Which rows lie in all parts.

        Raises:
            ValueError: If rows have another number of entries.
        """
        self._check(tuple(x.shape))
        found = [place.contains(part) for (place, _), part in zip(self.parts, x.split(self.sizes, -1), strict=True)]
        return torch.stack(found).all(0)

    def initial(self, shape: tuple[int, ...], rng: Rng = None, *, like: Tensor | None = None) -> Float[Tensor, "..."]:
        """Initial states of the parts, side by side."""
        self._check(shape)
        return torch.cat([place.initial((*shape[:-1], n), rng, like=like) for place, n in self.parts], -1)

    def enumerate(self, event: tuple[int, ...], *, chunk: int = 2**16) -> Iterator[Float[Tensor, "..."]]:
        """All states of all parts, in chunks of at most `chunk` rows.

        Raises:
            ValueError: If there are more than 2^24 states, or a part is not discrete.
        """
        self._check(event)
        discrete = [(place, n) for place, n in self.parts if not isinstance(place, Real | Box)]
        if len(discrete) < len(self.parts):
            raise ValueError(f"enumerate() lists discrete states, but some parts of {self} are not.")
        states = math.prod(n if isinstance(place, OneHot) else 2**n for place, n in discrete)
        _refuse_huge(states, f"{type(self).__name__} with {sum(self.sizes)} entries")
        parts = [torch.cat(list(place.enumerate((n,)))) for place, n in discrete]
        for start in range(0, states, chunk):
            index, chosen = torch.arange(start, min(start + chunk, states)), []
            for part in parts:
                chosen.append(part[index % len(part)])
                index = index // len(part)
            yield torch.cat(chosen, -1)

    def whole(self, mask: Bool[Tensor, "... entries"]) -> Bool[Tensor, "..."]:
        """Whether a mask has all categories of a site, or none of them, row by row."""
        split = zip(self.parts, mask.split(self.sizes, -1), strict=True)
        sites = [part for (place, _), part in split if isinstance(place, OneHot)]
        return reduce(
            torch.logical_and, [part.all(-1) == part.any(-1) for part in sites], mask.new_ones(mask.shape[:-1])
        )

    def _check(self, shape: tuple[int, ...]) -> None:
        if not shape or shape[-1] != sum(self.sizes):
            raise ValueError(
                f"States of these parts are rows of {sum(self.sizes)} entries, but got shape {tuple(shape)}; flatten "
                "each part and put them side by side."
            )


Support = Real | Box | Binary | Spin | OneHot | Mixed
DISCRETE = (Binary, Spin, OneHot)


def _template(shape: tuple[int, ...], like: Tensor | None) -> Tensor:
    return torch.empty(shape) if like is None else torch.empty(shape, dtype=like.dtype, device=like.device)


def _refuse_huge(states: int, name: str) -> None:
    if states > ENUMERABLE:
        raise ValueError(
            f"enumerate() lists at most 2^24 states, those of 24 bits or spins, but {name} has about "
            f"2^{math.log2(states):.0f}; estimate with annealing (ais, smc) instead."
        )
