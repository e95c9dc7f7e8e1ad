"""Copies of everything that training changes in place, taken while it is stable and put back when it is not.

A snapshot holds weights, optimiser, average and what the objective keeps (chains). Random number generators and the
position in the data are left out on purpose: after going back, training goes on with fresh draws and fresh data, or
the same bad batch would come again.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy
from erg.negatives import Persistent
from erg.training.state import Stateful


class Snapshot(NamedTuple):
    """The state of every part at one step, detached from what training goes on to change.

    The learning rates in the optimiser's part are those with `learning_rate_factor`.
    """

    step: int
    learning_rate_factor: float
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

    def take(self, step: int, learning_rate_factor: float) -> bool:
        """Copy every part, unless one holds a number that is not finite; the oldest copy makes room."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        if not finite(states):
            return False
        self._kept = [*self._kept, Snapshot(step, learning_rate_factor, copy.deepcopy(states))][-self.depth :]
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

    def change(self, name: str) -> float:
        """How far the tensors of a part are from the oldest copy, relative to their size there."""
        state, then = self.parts[name].state_dict(), self._kept[0].parts[name]
        tensors = [(state[key], then[key]) for key in then if then[key].is_floating_point()]
        moved = sum(float((now - old).double().square().sum()) for now, old in tensors)
        return math.sqrt(moved / max(sum(float(old.double().square().sum()) for _, old in tensors), 1e-30))

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
def restart(buffer: Persistent, energy: Energy, rng: Rng, *, every: bool = False) -> int:
    """Restart the chains that are not finite or outside of the energy's support, or all, at noise; return how many.

    Args:
        buffer: Keeps the chains.
        energy: Says where they live.
        rng: Draws the noise.
        every: Restart all.
    """
    if buffer.positions is None:
        return 0
    poisoned = ~(rows.finite(buffer.positions) & energy.support.contains(buffer.positions)) | every
    slots = poisoned.nonzero().squeeze(1)
    if len(slots):
        shape = (len(slots), *buffer.positions.shape[1:])
        noise = energy.support.initial(shape, rng, like=torch.empty(0, device=buffer.positions.device))
        buffer.positions[slots] = noise.to(buffer.positions.dtype)
    return len(slots)
