"""Local fields of energies made of energies: tempered, in products, with held entries."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from erg.energies.algebra import Clamped, WeightedSum
from erg.energies.energy import Energy, as_energy
from erg.energies.free import Reduced
from erg.energies.seen_through import SeenThrough
from erg.roles import EnergyLike, Group, LocalFields
from erg.samplers.annealing.path_chains import Placed
from erg.samplers.rules import support_of
from erg.samplers.tempering.rescaling import Tempered
from erg.support import OneHot

Weight = float | Tensor
Couplings = list[tuple[Weight, Tensor]]


@dataclass(frozen=True)
class Fields:
    """The weighted sum of the local fields of some experts.

    Attributes:
        experts: Each with its weight, a number or one a chain.
        groups: Of sites, for all experts alike.
        couplings: Inside each group, with the weights of their experts.
    """

    experts: list[tuple[Weight, LocalFields]]
    groups: list[Tensor]
    couplings: list[Couplings]

    def at(
        self, x: Float[Tensor, "sites *values batch"], sites: Int[Tensor, " chosen"]
    ) -> Float[Tensor, "chosen *values batch"]:
        """The fields of some sites."""
        total: Any = None
        for weight, expert in self.experts:
            field = expert.local_field(x, sites)
            field = field if isinstance(weight, float) and weight == 1.0 else field * _like(weight, field)
            total = field if total is None else total + field
        return total


def fields_of(energy: EnergyLike) -> Fields:
    """The local fields of an energy.

    Raises:
        TypeError: If it, or a part of it, has none.
    """
    experts = _experts(energy, 1.0)
    groups = [expert.groups for _, expert in experts]
    finest = max(groups, key=len)
    couplings: list[Couplings] = [[] for _ in finest]
    for (weight, _), own in zip(experts, groups, strict=True):
        if len(own) == len(finest):
            for found, group in zip(couplings, own, strict=True):
                found += [] if group.couplings is None else [(weight, group.couplings)]
    return Fields(experts, [group.sites for group in finest], couplings)


def check_groups(energy: EnergyLike) -> None:
    """Refuse energies without local fields, and sums of some whose groups do not go together.

    Raises:
        TypeError: If so.
    """
    groups = [expert.groups for _, expert in _experts(energy, 1.0)]
    finest = max(groups, key=len)
    for own in groups:
        if not (_free(own) or _same(own, finest)):
            raise TypeError(
                "Chromatic draws sums of energies whose sites have the same colours, but these differ; write them as "
                "one energy, such as one BoltzmannMachine or one Ising with an edge for every coupling."
            )


def held(energy: Energy, x: Float[Tensor, "batch *event"]) -> Bool[Tensor, "batch *event"] | None:
    """Which entries of each row keep their value whatever is put there; None if all are free."""
    if not any(isinstance(part, Clamped) for part in energy.modules()):
        return None
    return energy.complete(torch.zeros_like(x)) == energy.complete(torch.ones_like(x))


def whole(energy: EnergyLike, z: Float[Tensor, "batch *free"]) -> tuple[Energy, Float[Tensor, "batch *event"], Any]:
    """The energy of whole states, the whole state at `z`, and how to return to what was given."""
    if isinstance(energy, Reduced):
        entries = energy.entries
        inside, x, back = whole(energy.energy, entries.put(z, z.new_zeros(len(z), *entries.event)))
        return inside, x, lambda state: entries.take(back(state))
    if isinstance(energy, Placed | Tempered):
        return whole(energy.energy, z)
    energy = as_energy(energy)
    return energy, energy.complete(z), lambda state: state


def columns(x: Shaped[Tensor, "batch *event"], energy: EnergyLike) -> Shaped[Tensor, "sites *values batch"]:
    """States with the chains along the last axis: what a group of sites does is then done to whole rows of memory."""
    last = x.movedim(0, -1)
    values = last.shape[-2:] if isinstance(support_of(energy), OneHot) else last.shape[-1:]
    return last.reshape(x.shape[1 : x.ndim + 1 - len(values)].numel(), *values)


def _experts(energy: Any, weight: Weight) -> list[tuple[Weight, LocalFields]]:
    match energy:
        case WeightedSum():
            pairs = zip(energy.energies, energy.weights, strict=True)
            return [expert for part, own in pairs for expert in _experts(part, _product(weight, own))]
        case Tempered():
            return _experts(energy.energy, _product(weight, 1.0 / energy.temperature))
        case SeenThrough() | Clamped() | Reduced() | Placed():
            return _experts(energy.energy, weight)
        case LocalFields():
            return [(weight, energy)]
    raise TypeError(
        f"Chromatic needs energies with local fields, such as Ising, Potts or BoltzmannMachine, but "
        f"{type(energy).__name__} has none. Use gibbs() or dmala()."
    )


def _product(first: Weight, second: Weight) -> Weight:
    if isinstance(first, float) and first == 1.0:
        return second
    return first if isinstance(second, float) and second == 1.0 else first * second


def _like(weight: Weight, field: Tensor) -> Weight:
    return weight.to(field.dtype) if isinstance(weight, Tensor) else weight


def _free(groups: tuple[Group, ...]) -> bool:
    return len(groups) == 1 and groups[0].couplings is None


def _same(first: tuple[Group, ...], second: tuple[Group, ...]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.sites, other.sites) for one, other in zip(first, second, strict=True)
    )
