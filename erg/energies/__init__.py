"""Energies score a state."""

from erg.energies.algebra import Clamped, Given, Mixture, Path, WeightedSum
from erg.energies.boltzmann import BoltzmannMachine
from erg.energies.counted import Counted
from erg.energies.energy import Energy, as_energy, evaluate, evaluate_energy
from erg.energies.gaussian import Gaussian, GaussianMixture
from erg.energies.graphs import Graph, Lattice
from erg.energies.independent import Independent, Uniform
from erg.energies.ising import Ising
from erg.energies.landscapes import DoubleWell, Funnel, MuellerBrown, Rings, Rosenbrock
from erg.energies.neural import Neural
from erg.energies.potts import Potts
from erg.energies.restricted import RBM, Decoupled, Standard
from erg.energies.units import Bits, Categories, Spins, Units
from erg.energies.watched import Watched

__all__ = [
    "RBM",
    "Bits",
    "BoltzmannMachine",
    "Categories",
    "Clamped",
    "Counted",
    "Decoupled",
    "DoubleWell",
    "Energy",
    "Funnel",
    "Gaussian",
    "GaussianMixture",
    "Given",
    "Graph",
    "Independent",
    "Ising",
    "Lattice",
    "Mixture",
    "MuellerBrown",
    "Neural",
    "Path",
    "Potts",
    "Rings",
    "Rosenbrock",
    "Spins",
    "Standard",
    "Uniform",
    "Units",
    "Watched",
    "WeightedSum",
    "as_energy",
    "evaluate",
    "evaluate_energy",
]
