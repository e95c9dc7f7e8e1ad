"""Copies of everything that training changes in place, taken while it is stable and put back when it is not.

A snapshot holds weights, optimiser, average and what the objective keeps (chains). Random number generators and the
position in the data are left out on purpose: after going back, training goes on with fresh draws and fresh data, or
the same bad batch would come again.
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy, evaluate_energy
from erg.training.state import Stateful


class Snapshot(NamedTuple):
    """The state of every part at one step, detached from what training goes on to change."""

    step: int
    parts: Mapping[str, Any]


class Snapshots:
    """The last few snapshots, newest last.

    Args:
        parts: What is copied, by name.
        depth: How many are kept.
    """

    def __init__(self, parts: Mapping[str, Stateful], depth: int) -> None:
        self.parts = dict(parts)
        self.depth = depth
        self._kept: list[Snapshot] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def newest(self) -> Snapshot:
        """The one that `restore` puts back."""
        return self._kept[-1]

    def take(self, step: int) -> bool:
        """Copy every part, unless one holds a number that is not finite; the oldest copy makes room."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        if not finite(states):
            return False
        self._kept = [*self._kept, Snapshot(step, copy.deepcopy(states))][-self.depth :]
        return True

    def drop(self) -> None:
        """Forget the newest, so that the one before it is put back; the last one stays."""
        if len(self._kept) > 1:
            self._kept.pop()

    def restore(self) -> Snapshot:
        """Put the newest back into every part, and keep it."""
        for name, part in self.parts.items():
            # A copy again: optimisers keep the tensors that they are given and change them.
            part.load_state_dict(copy.deepcopy(self.newest.parts[name]))
        return self.newest

    def state_dict(self) -> dict[str, Any]:
        """All copies."""
        return {"kept": [snapshot._asdict() for snapshot in self._kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved copies."""
        self._kept = [Snapshot(**kept) for kept in copy.deepcopy(state["kept"])]


def finite(state: Any) -> bool:
    """Whether all floating numbers in nested containers are finite."""
    if isinstance(state, Tensor):
        return not state.is_floating_point() or bool(state.isfinite().all())
    if isinstance(state, Mapping):
        return all(finite(value) for value in state.values())
    if isinstance(state, list | tuple):
        return all(finite(value) for value in state)
    return True


@torch.no_grad()
def restart(
    buffer: Any, energy: Energy, rng: Rng, *, usual: tuple[float, float] | None = None, every: bool = False
) -> int:
    """Restart the chains of a buffer that are poisoned, or all, at noise; return how many.

    Poisoned is what is not finite, lies outside of the energy's support, or has an energy outside of `usual`.

    Args:
        buffer: Has `positions`, (slots, *event), None before its first call.
        energy: Judges the chains.
        rng: Draws the noise.
        usual: Lowest and highest energy of a sound chain; not applied to slots that belong to classes, whose
            energies need a condition.
        every: Restart all.
    """
    if buffer.positions is None:
        return 0
    count = 0
    for part in buffer.positions.split(1024):
        poisoned = ~(rows.finite(part) & energy.support.contains(part)) | every
        if usual is not None and buffer.classes is None and not bool(poisoned.all()):
            energies = evaluate_energy(energy, part.float()).energy
            poisoned |= ~((energies >= usual[0]) & (energies <= usual[1]))
        if bool(poisoned.any()):
            noise = energy.support.initial(tuple(part.shape), rng, like=part)
            part[poisoned] = noise[poisoned]
        count += int(poisoned.sum())
    return count
