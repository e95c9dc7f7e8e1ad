"""More negatives than data."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.algebra import Given
from erg.energies.energy import Energy, as_energy
from erg.negatives.conditions import one_a_row
from erg.roles import EnergyLike, Negatives


class Repeated(Negatives):
    """Several negatives per data row.

    Args:
        negatives: Supplies one negative per row.
        times: How many per row.
    """

    def __init__(self, negatives: Negatives, times: int) -> None:
        if times < 1:
            raise ValueError(f"Repeated needs times >= 1, but got {times}.")
        self.negatives = negatives
        self.times = times

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """What the inner negatives noticed."""
        return self.negatives.monitor

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """`times` negatives per data row, shape (times * batch, *event)."""
        return self.negatives(several(energy, self.times), x.repeat_interleave(self.times, 0), rng)


def several(energy: EnergyLike, times: int) -> Energy:
    """The energy of `times` consecutive states for each row: conditions are repeated with their rows."""
    if isinstance(energy, Given) and one_a_row(energy.y):
        return energy.energy.given(torch.as_tensor(energy.y).repeat_interleave(times, 0))
    return as_energy(energy)
