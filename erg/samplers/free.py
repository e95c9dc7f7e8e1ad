r"""Held entries are no coordinates: a kernel moves the free ones alone.

An energy with held entries is constant along them. A kernel that moved them all the same would walk there without
bound, measure lengths and scales by that walk, and spend flips of bits on nothing. Instead it sees the energy as a
function of the m free entries, :math:`E'(z) = E(x)` where x has z at these, and is the kernel that it would be on any
energy of m entries.
"""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.energies.free import Entries, Reduced, entries_of, reduced
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import parts_of
from erg.samplers.preconditioned import Preconditioned, check_scale
from erg.samplers.rules import Position, support_of
from erg.samplers.walk import Independence


class Freed(NamedTuple):
    """A kernel's state on the free entries. Attributes that are not here are those of that state.

    Attributes:
        free: The kernel's own state.
        held: The whole state at the start, with the held entries at their values.
        entries: Which are free.
    """

    free: Any
    held: Float[Tensor, "batch *event"]
    entries: Entries

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position, with the held entries."""
        return self.entries.put(self.free.x, self.held)

    @property
    def replicas(self) -> Float[Tensor, "batch temperatures *event"]:
        """The positions of all replicas, with the held entries, where the kernel has some."""
        z = self.free.replicas
        return self.entries.put(z, self.held[:, None].expand(-1, z.shape[1], *self.held.shape[1:]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.free, name)


@dataclass(frozen=True)
class Free(Kernel):
    """Runs a kernel on the free entries of an energy, see `on_free_entries`.

    Args:
        kernel: What moves them.
        entries: Which they are.
    """

    kernel: Kernel
    entries: Entries

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Freed:
        """Start at `x`, whatever is at its held entries."""
        held = _completed(energy, x, axes=x.ndim - 1 - len(self.entries.event))
        return Freed(self.kernel.init(self.seen(energy), self.entries.take(x)), held, self.entries)

    def step(self, energy: EnergyLike, state: Freed, rng: Rng) -> tuple[Freed, Float[Tensor, " batch"]]:
        """One step of the kernel."""
        inner, acceptance = self.kernel.step(self.seen(energy), state.free, rng)
        return state._replace(free=inner), acceptance

    def run(self, energy: EnergyLike, state: Freed, steps: int, rng: Rng) -> tuple[Freed, Float[Tensor, " batch"]]:
        """Several steps of the kernel, as it makes several."""
        inner, accepted = self.kernel.run(self.seen(energy), state.free, steps, rng)
        return state._replace(free=inner), accepted

    def seen(self, energy: EnergyLike) -> Reduced:
        """What the kernel moves on."""
        return reduced(energy, self.entries, support_of(energy))


@dataclass(frozen=True)
class Still(Kernel):
    """Stays where it is, as there is no entry to move. The acceptance is 1."""

    extra_axes: int = 0

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Position:
        """The state with its entries at their values."""
        return Position(_completed(energy, x, axes=self.extra_axes))

    def step(self, energy: EnergyLike, state: Position, rng: Rng) -> tuple[Position, Float[Tensor, " batch"]]:
        """No step."""
        return state, torch.ones(len(state.x), device=state.x.device)


def on_free_entries(kernel: Kernel, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Kernel:
    """The kernel, on the free entries alone if the energy holds some in all rows alike.

    Scales of `Preconditioned` are those of the free entries. A kernel is returned as it is if nothing is held, or
    what is held differs from row to row or parts the categories of a site.

    Args:
        kernel: For whole states.
        energy: What it shall move on.
        x: Where it shall start.

    Raises:
        ValueError: If a scale does not broadcast to the event's shape.
        TypeError: If the kernel has `Independence` inside: its reference is a law of the whole state.
    """
    axes = _axes(kernel)
    mask = as_energy(energy).free_entries(tuple(x.shape[1 + axes :]))
    entries = None if mask is None else entries_of(mask, support_of(energy))
    if mask is None or entries is None or bool(mask.all()):
        return kernel
    if not bool(mask.any()):
        return Still(axes)
    if any(isinstance(part, Independence) for part in parts_of(kernel)):
        raise TypeError(
            "An independence proposal draws whole states, but this energy holds entries of them; use mala() or "
            "random_walk(), or write the energy as a function of the free entries."
        )

    def taken(scale: Tensor) -> Tensor:
        check_scale(scale, entries.event)
        return entries.take(scale.expand(entries.event))

    return Free(with_scales(kernel, taken), entries)


def on_all_entries(kernel: Kernel, entries: Entries, like: Kernel) -> Kernel:
    """A kernel of the free entries as one of whole states; held entries get their scales in `like`, or 1."""
    former = [part.scale for part in parts_of(like) if isinstance(part, Preconditioned) and part.scale.ndim]

    def whole(scale: Tensor) -> Tensor:
        into = former[0].to(scale).expand(entries.event) if former else scale.new_ones(entries.event)
        return entries.put(scale, into)

    return with_scales(kernel, whole)


def with_scales(kernel: Any, change: Any) -> Any:
    """The kernel with a change made to every scale that has one number for each entry; itself if there is none."""
    if not is_dataclass(kernel):
        return kernel
    changes: dict[str, Any] = {}
    for field in fields(kernel):
        part = getattr(kernel, field.name)
        new = with_scales(part, change) if isinstance(part, Kernel) else part
        if isinstance(kernel, Preconditioned) and field.name == "scale" and part.ndim:
            new = change(part)
        if new is not part:
            changes[field.name] = new
    return replace(cast(Any, kernel), **changes) if changes else kernel


def _axes(kernel: Kernel) -> int:
    """How many axes a kernel's position has between those of the batch and of the event."""
    return max(getattr(part, "extra_axes", 0) for part in parts_of(kernel))


def _completed(energy: EnergyLike, x: Tensor, *, axes: int) -> Tensor:
    """The state with its held entries; values of each row are those of all of its replicas."""
    if axes:
        return torch.stack([_completed(energy, each, axes=axes - 1) for each in x.unbind(1)], 1)
    return as_energy(energy).complete(x)
