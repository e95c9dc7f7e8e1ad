"""What an energy is conditioned on: negatives of one row must not serve another with another condition."""

from torch import Tensor

from erg.energies.algebra import Given
from erg.energies.energy import as_energy
from erg.roles import EnergyLike


def conditions(energy: EnergyLike) -> list[Tensor | float]:
    """All conditions, outermost first; they may sit inside a sum, a temperature or a clamp."""
    return [part.y for part in as_energy(energy).modules() if isinstance(part, Given)]


def one_a_row(y: Tensor | float) -> bool:
    """Whether a condition differs from row to row."""
    return isinstance(y, Tensor) and y.ndim > 0
