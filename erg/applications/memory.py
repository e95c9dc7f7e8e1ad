r"""Associative recall: from a part or a damaged version of a pattern down to the valley that it lies in.

Recall is dynamics at zero temperature, by one of two updates, under which the energy never rises:

- `Sweeps` visits site after site, and sets each to its value of lower energy given all others. On any discrete
  energy.
- `Synchronous` moves all entries at once to where the tangent of the energy is lowest: to a corner of the cube on
  `Spin` and `Binary`, one gradient step of length 1 on `Real`. Energies that are concave, or concave plus
  :math:`\lVert x \rVert^2 / 2`, lie below that bound, so they fall: this is the concave-convex procedure. Of other
  energies, rows that would rise stay where they are.

Known entries are held, as by `energy.clamp`. Entries of which nothing is known start best at the middle of their
values, 0 on `Spin` and 1/2 on `Binary`, where they favour no pattern.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erg import rows
from erg.energies.energy import Energy, as_energy, evaluate, evaluate_energy
from erg.roles import EnergyLike
from erg.support import Binary, Real, Spin


class Recall(NamedTuple):
    """What was recalled.

    Attributes:
        x: The states in which the updates ended.
        converged: Which rows an update no longer changes.
        steps: The updates that changed each row.
    """

    x: Float[Tensor, "batch *event"]
    converged: Bool[Tensor, " batch"]
    steps: Int[Tensor, " batch"]


class Update(ABC):
    """Moves states downhill, and never uphill."""

    @abstractmethod
    def step(
        self, energy: Energy, x: Float[Tensor, "batch *event"], free: Bool[Tensor, "batch *event"]
    ) -> tuple[Float[Tensor, "batch *event"], Bool[Tensor, " batch"]]:
        """The next states, and which rows are at rest: those that nothing can lower by this update.

        Args:
            energy: Of the whole state.
            x: The states.
            free: Which entries may move.
        """


@runtime_checkable
class Gapped(Protocol):
    """An energy that knows what a site costs without being evaluated twice."""

    def gap(self, x: Float[Tensor, "batch *event"], site: int) -> Float[Tensor, " batch"]:
        """The energy with the site at its higher value, less that at its lower one."""


@runtime_checkable
class Bent(Protocol):
    """An energy that knows whether all entries may be updated at once."""

    @property
    def concave(self) -> bool:
        """Whether it is concave between the corners of its support."""


@dataclass(frozen=True)
class Sweeps(Update):
    """Visits the sites in their order and sets each to its value of lower energy; a tie keeps the value.

    A sweep evaluates an energy twice a site, or once its gap where it has one.
    """

    def step(
        self, energy: Energy, x: Float[Tensor, "batch *event"], free: Bool[Tensor, "batch *event"]
    ) -> tuple[Float[Tensor, "batch *event"], Bool[Tensor, " batch"]]:
        """One sweep.

        Raises:
            TypeError: If the energy is not on Spin or Binary.
        """
        support = energy.support
        if not isinstance(support, Binary | Spin):
            raise TypeError(f"Sweeps set spins or bits, but this energy lives on {support}; use Synchronous().")
        low, high = support.values
        flat, movable = rows.flat(x).clone(), rows.flat(free)
        gap = energy.gap if isinstance(energy, Gapped) else _by_energies(energy, low, high)
        for site in movable.any(0).nonzero().flatten().tolist():
            gaps = gap(flat.reshape(x.shape), site)
            old = flat[:, site]
            best = torch.where(gaps > 0, low, torch.where(gaps < 0, high, _at_a_corner(old, low, high)))
            flat[:, site] = torch.where(movable[:, site], best.to(old.dtype), old)
        moved = flat.reshape(x.shape)
        return moved, rows.every(moved == x)


@dataclass(frozen=True)
class Synchronous(Update):
    """Moves all entries at once to where the tangent of the energy is lowest; see the module.

    Args:
        tolerance: Rows on `Real` are at rest when no entry moves by more than this.

    Raises:
        ValueError: If the tolerance is not positive.
    """

    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        rows.positive("tolerance", self.tolerance, of=Synchronous)

    def step(
        self, energy: Energy, x: Float[Tensor, "batch *event"], free: Bool[Tensor, "batch *event"]
    ) -> tuple[Float[Tensor, "batch *event"], Bool[Tensor, " batch"]]:
        """One update of all entries.

        Raises:
            TypeError: If the energy is neither on Spin, Binary nor Real.
        """
        before = evaluate(energy, x)
        assert before.gradient is not None
        lowest = torch.where(free, self._lowest(before.gradient, x, energy.support), x)
        rest = rows.every((lowest - x).abs() <= (self.tolerance if isinstance(energy.support, Real) else 0.0))
        after = torch.full_like(before.energy, torch.inf)
        if not bool(rest.all()):
            after[~rest] = evaluate_energy(energy, lowest[~rest]).energy
        return rows.where(after <= before.energy, lowest, x), rest

    @staticmethod
    def _lowest(gradient: Tensor, x: Tensor, support: object) -> Tensor:
        """Where the tangent is lowest: in the cube, or on Real with half the squared distance added."""
        if isinstance(support, Real):
            return x - gradient
        if not isinstance(support, Binary | Spin):
            raise TypeError(f"Synchronous updates move spins, bits or real states, but got {support}.")
        low, high = support.values
        corner = _at_a_corner(x, low, high)
        return torch.where(gradient > 0, low, torch.where(gradient < 0, high, corner)).to(x.dtype)


def recall(
    energy: EnergyLike,
    query: Float[Tensor, "batch *event"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    update: Update | None = None,
    steps: int = 100,
) -> Recall:
    """Go downhill from each query until nothing moves any more.

    Args:
        energy: A memory, or any energy that the update can lower.
        query: Where to start. Free entries may start between the values of the support.
        mask: True where an entry is known and held: of the event's shape, or of the batch's. None holds nothing.
        update: `Sweeps` or `Synchronous`; left out, the latter for continuous energies and dense memories that are
            concave, the former for other discrete energies.
        steps: Updates at most.

    Raises:
        TypeError: If the mask is not boolean.
        ValueError: If the mask does not fit, or a held entry is off the support.

    Example:
        >>> from erg.energies import Hopfield
        >>> patterns = torch.tensor([[1.0, 1, 1, 1, 1, 1, 1, 1], [1.0, -1, 1, -1, 1, -1, 1, -1]])
        >>> damaged = patterns * torch.tensor([1.0, 1, 1, 1, 1, 1, 1, -1])
        >>> bool((recall(Hopfield.hebbian(patterns), damaged).x == patterns).all())
        True
    """
    energy = as_energy(energy)
    rows.whole("steps", steps, of="recall")
    free = _free(query, mask)
    _check(energy, query, free)
    update = _fitting(energy) if update is None else update
    x = query.detach().clone()
    converged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    moves = torch.zeros(len(x), dtype=torch.long, device=x.device)
    with torch.no_grad():
        for _ in range(steps):
            active = (~converged).nonzero().flatten()
            if not len(active):
                break
            moved, rest = update.step(energy, x[active], free[active])
            changed = ~rows.every(moved == x[active])
            x[active] = moved
            moves[active] += changed
            converged[active] = rest
            if not bool((changed & ~rest).any()):
                break  # What is not at rest is stuck: the next update would say the same.
    return Recall(x, converged, moves)


def _fitting(energy: Energy) -> Update:
    concave = isinstance(energy, Bent) and energy.concave
    return Synchronous() if concave or isinstance(energy.support, Real) else Sweeps()


def _free(query: Tensor, mask: Tensor | None) -> Bool[Tensor, "batch *event"]:
    if mask is None:
        return torch.ones_like(query, dtype=torch.bool)
    if mask.dtype != torch.bool:
        raise TypeError(f"recall() needs a boolean mask, but got {mask.dtype}; pass mask.bool().")
    try:
        return ~mask.expand(query.shape)
    except RuntimeError as error:
        raise ValueError(
            f"recall() takes a mask of the event's or the batch's shape, but one of shape {tuple(mask.shape)} does "
            f"not fit queries of shape {tuple(query.shape)}."
        ) from error


def _check(energy: Energy, query: Tensor, free: Tensor) -> None:
    support = energy.support
    if not isinstance(support, Binary | Spin):
        good = support.contains(query)
    else:
        low, high = support.values
        allowed = (query == low) | (query == high) | (free & (query >= low) & (query <= high))
        good = rows.every(allowed)
    if not bool(good.all()):
        raise ValueError(
            f"A query lies on {support}, and between its values where entries are free, but {int((~good).sum())} of "
            f"{len(query)} do not; binarise what is known."
        )


def _by_energies(energy: Energy, low: float, high: float) -> Callable[[Tensor, int], Tensor]:
    def gap(x: Tensor, site: int) -> Tensor:
        lower, higher = x.clone(), x.clone()
        rows.flat(lower)[:, site] = low
        rows.flat(higher)[:, site] = high
        return evaluate_energy(energy, higher).energy - evaluate_energy(energy, lower).energy

    return gap


def _at_a_corner(x: Tensor, low: float, high: float) -> Tensor:
    """Values as they are; what lies between two values goes to the nearer one, the lower if neither is."""
    return torch.where(x > (low + high) / 2, high, low).to(x.dtype)
