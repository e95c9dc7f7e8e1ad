"""Energies score a state."""

from erg.energies.algebra import Clamped, Given, Mixture, Path, WeightedSum
from erg.energies.based import Based
from erg.energies.boltzmann import BoltzmannMachine, SpinMachine
from erg.energies.counted import Counted
from erg.energies.deep import DBM
from erg.energies.energy import Energy, as_energy, evaluate, evaluate_energy
from erg.energies.field import InField
from erg.energies.gaussian import Gaussian, GaussianMixture
from erg.energies.gaussian_rbm import DecoupledGaussian, GaussianRBM
from erg.energies.graphs import Graph, Lattice
from erg.energies.hopfield import ContinuousMemory, DenseMemory, Hopfield
from erg.energies.independent import Independent, Uniform
from erg.energies.ising import Ising
from erg.energies.labelled import LabelledRBM
from erg.energies.landscapes import DoubleWell, Funnel, MuellerBrown, Rings, Rosenbrock
from erg.energies.mixed import MixedUnits
from erg.energies.neural import Neural
from erg.energies.potts import Potts
from erg.energies.products import product
from erg.energies.restricted import RBM, Decoupled, Standard
from erg.energies.separations import Exponential, Polynomial, Rectified, Separation
from erg.energies.stored import Stored, StoredMemory
from erg.energies.trajectory import Trajectory
from erg.energies.units import Bits, Categories, Spins, Units
from erg.energies.watched import Watched

__all__ = [
    "DBM",
    "RBM",
    "Based",
    "Bits",
    "BoltzmannMachine",
    "Categories",
    "Clamped",
    "ContinuousMemory",
    "Counted",
    "Decoupled",
    "DecoupledGaussian",
    "DenseMemory",
    "DoubleWell",
    "Energy",
    "Exponential",
    "Funnel",
    "Gaussian",
    "GaussianMixture",
    "GaussianRBM",
    "Given",
    "Graph",
    "Hopfield",
    "InField",
    "Independent",
    "Ising",
    "LabelledRBM",
    "Lattice",
    "MixedUnits",
    "Mixture",
    "MuellerBrown",
    "Neural",
    "Path",
    "Polynomial",
    "Potts",
    "Rectified",
    "Rings",
    "Rosenbrock",
    "Separation",
    "SpinMachine",
    "Spins",
    "Standard",
    "Stored",
    "StoredMemory",
    "Trajectory",
    "Uniform",
    "Units",
    "Watched",
    "WeightedSum",
    "as_energy",
    "evaluate",
    "evaluate_energy",
    "product",
]
