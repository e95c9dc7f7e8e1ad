"""Energies score a state."""

from erg.energies.algebra import Clamped, Given, Mixture, Path, WeightedSum
from erg.energies.energy import Energy, as_energy, evaluate, evaluate_energy
from erg.energies.gaussian import Gaussian, GaussianMixture
from erg.energies.neural import Neural

__all__ = [
    "Clamped",
    "Energy",
    "Gaussian",
    "GaussianMixture",
    "Given",
    "Mixture",
    "Neural",
    "Path",
    "WeightedSum",
    "as_energy",
    "evaluate",
    "evaluate_energy",
]
