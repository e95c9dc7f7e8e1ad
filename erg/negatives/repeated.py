"""More negatives than data."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.energies.repeated import repeated
from erg.roles import EnergyLike, Negatives


class Repeated(Negatives):
    """Several negatives per data row.

    Args:
        negatives: Supplies one negative per row.
        times: How many per row.
    """

    def __init__(self, negatives: Negatives, times: int) -> None:
        rows.whole("times", times, of="Repeated")
        self.negatives = negatives
        self.times = times

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """What the inner negatives noticed."""
        return self.negatives.monitor

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """`times` negatives per data row, shape (times * batch, *event)."""
        of_each = repeated(as_energy(energy), self.times, event=x.ndim - 1)
        return self.negatives(of_each, x.repeat_interleave(self.times, 0), rng)
