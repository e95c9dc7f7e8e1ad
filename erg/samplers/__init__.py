"""Samplers move a state."""

from erg.roles import Conditionals
from erg.samplers.annealing.along import Along, warmup_along
from erg.samplers.annealing.biased import Biased
from erg.samplers.annealing.brackets import Bracket, bracket
from erg.samplers.annealing.importance import ImportanceSamples, ais, reverse_ais
from erg.samplers.annealing.population import Population, smc
from erg.samplers.chain import advance, chain, sample
from erg.samplers.compilation.compiled import Compiled
from erg.samplers.discrete.chromatic import Chromatic, chromatic
from erg.samplers.discrete.cyclical import AutomaticCycles, CyclicalLangevin, acs
from erg.samplers.discrete.gibbs import BlockGibbs, Gibbs, gibbs
from erg.samplers.discrete.informed import GibbsWithGradients, gwg
from erg.samplers.discrete.langevin import DiscreteLangevin, dmala, dula
from erg.samplers.discrete.layers import AllLayers
from erg.samplers.gibbs_langevin import GibbsLangevin
from erg.samplers.hamiltonian.hmc import HMC, hmc
from erg.samplers.hamiltonian.nuts import NUTS, nuts
from erg.samplers.hamiltonian.underdamped import Underdamped, underdamped
from erg.samplers.langevin import Descent, ImageLangevin, Langevin, descent, mala, sgld, temperature, ula
from erg.samplers.microcanonical.mams import MAMS, mams
from erg.samplers.microcanonical.mclmc import MCLMC, mclmc
from erg.samplers.parallel import Parallel
from erg.samplers.precision import LowPrecision
from erg.samplers.preconditioned import Preconditioned
from erg.samplers.rules import Metropolis, Unadjusted
from erg.samplers.schedules import Constant, Cyclical, Geometric, Polynomial, Scheduled, with_setting
from erg.samplers.stages import Stage, run_stages
from erg.samplers.tempering.annealed import Annealed, annealed
from erg.samplers.tempering.ladder import ladder
from erg.samplers.tempering.machines import (
    MachineExchange,
    Milestones,
    Weakened,
    machine_exchange,
    trajectory_exchange,
)
from erg.samplers.tempering.replicas import ReplicaExchange, replica_exchange
from erg.samplers.tempering.transitions import TemperedTransitions, tempered_transitions
from erg.samplers.tuning.warmup import warmup
from erg.samplers.walk import Independence, RandomWalk, Samplable, independence, random_walk

__all__ = [
    "HMC",
    "MAMS",
    "MCLMC",
    "NUTS",
    "AllLayers",
    "Along",
    "Annealed",
    "AutomaticCycles",
    "Biased",
    "BlockGibbs",
    "Bracket",
    "Chromatic",
    "Compiled",
    "Conditionals",
    "Constant",
    "Cyclical",
    "CyclicalLangevin",
    "Descent",
    "DiscreteLangevin",
    "Geometric",
    "Gibbs",
    "GibbsLangevin",
    "GibbsWithGradients",
    "ImageLangevin",
    "ImportanceSamples",
    "Independence",
    "Langevin",
    "LowPrecision",
    "MachineExchange",
    "Metropolis",
    "Milestones",
    "Parallel",
    "Polynomial",
    "Population",
    "Preconditioned",
    "RandomWalk",
    "ReplicaExchange",
    "Samplable",
    "Scheduled",
    "Stage",
    "TemperedTransitions",
    "Unadjusted",
    "Underdamped",
    "Weakened",
    "acs",
    "advance",
    "ais",
    "annealed",
    "bracket",
    "chain",
    "chromatic",
    "descent",
    "dmala",
    "dula",
    "gibbs",
    "gwg",
    "hmc",
    "independence",
    "ladder",
    "machine_exchange",
    "mala",
    "mams",
    "mclmc",
    "nuts",
    "random_walk",
    "replica_exchange",
    "reverse_ais",
    "run_stages",
    "sample",
    "sgld",
    "smc",
    "temperature",
    "tempered_transitions",
    "trajectory_exchange",
    "ula",
    "underdamped",
    "warmup",
    "warmup_along",
    "with_setting",
]
