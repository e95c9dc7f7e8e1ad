"""Energies score a state."""

from erg.energies.algebra import Clamped, Given, Mixture, Path, WeightedSum
from erg.energies.counted import Counted
from erg.energies.energy import Energy, as_energy, evaluate, evaluate_energy
from erg.energies.gaussian import Gaussian, GaussianMixture
from erg.energies.independent import Independent, Uniform
from erg.energies.landscapes import DoubleWell, Funnel, MuellerBrown, Rings, Rosenbrock
from erg.energies.neural import Neural
from erg.energies.watched import Watched

__all__ = [
    "Clamped",
    "Counted",
    "DoubleWell",
    "Energy",
    "Funnel",
    "Gaussian",
    "GaussianMixture",
    "Given",
    "Independent",
    "Mixture",
    "MuellerBrown",
    "Neural",
    "Path",
    "Rings",
    "Rosenbrock",
    "Uniform",
    "Watched",
    "WeightedSum",
    "as_energy",
    "evaluate",
    "evaluate_energy",
]
