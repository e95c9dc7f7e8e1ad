"""Energies score a state."""

from erg.energies.algebra import Clamped, Given, Mixture, Path, WeightedSum
from erg.energies.energy import Energy, as_energy, evaluate, evaluate_energy
from erg.energies.neural import Neural

__all__ = [
    "Clamped",
    "Energy",
    "Given",
    "Mixture",
    "Neural",
    "Path",
    "WeightedSum",
    "as_energy",
    "evaluate",
    "evaluate_energy",
]
