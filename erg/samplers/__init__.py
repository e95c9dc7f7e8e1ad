"""Samplers move a state."""

from erg.samplers.annealed import Annealed, Cooling, Stage, annealed, run_stages
from erg.samplers.annealing import ImportanceSamples, ais, reverse_ais
from erg.samplers.biased import Biased
from erg.samplers.brackets import Bracket, bracket
from erg.samplers.chain import advance, chain, sample
from erg.samplers.compiled import Compiled
from erg.samplers.cyclical import AutomaticCycles, CyclicalLangevin, acs
from erg.samplers.discrete import DiscreteLangevin, dmala, dula
from erg.samplers.gibbs import BlockGibbs, Conditionals, Gibbs, gibbs
from erg.samplers.hamiltonian import HMC, hmc
from erg.samplers.informed import GibbsWithGradients, gwg
from erg.samplers.ladder import ladder
from erg.samplers.langevin import Descent, ImageLangevin, Langevin, descent, mala, sgld, temperature, ula
from erg.samplers.mams import MAMS, mams
from erg.samplers.microcanonical import MCLMC, mclmc
from erg.samplers.nuts import NUTS, nuts
from erg.samplers.parallel import Parallel
from erg.samplers.population import Population, smc
from erg.samplers.precision import LowPrecision
from erg.samplers.preconditioned import Preconditioned
from erg.samplers.rules import Metropolis, Unadjusted
from erg.samplers.schedules import Constant, Cyclical, Growing, Polynomial, Scheduled, with_setting
from erg.samplers.tempering import ReplicaExchange, replica_exchange
from erg.samplers.transitions import TemperedTransitions, tempered_transitions
from erg.samplers.underdamped import Underdamped, underdamped
from erg.samplers.walk import Independence, RandomWalk, Samplable, independence, random_walk
from erg.samplers.warmup import warmup

__all__ = [
    "HMC",
    "MAMS",
    "MCLMC",
    "NUTS",
    "Annealed",
    "AutomaticCycles",
    "Biased",
    "BlockGibbs",
    "Bracket",
    "Compiled",
    "Conditionals",
    "Constant",
    "Cooling",
    "Cyclical",
    "CyclicalLangevin",
    "Descent",
    "DiscreteLangevin",
    "Gibbs",
    "GibbsWithGradients",
    "Growing",
    "ImageLangevin",
    "ImportanceSamples",
    "Independence",
    "Langevin",
    "LowPrecision",
    "Metropolis",
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
    "acs",
    "advance",
    "ais",
    "annealed",
    "bracket",
    "chain",
    "descent",
    "dmala",
    "dula",
    "gibbs",
    "gwg",
    "hmc",
    "independence",
    "ladder",
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
    "ula",
    "underdamped",
    "warmup",
    "with_setting",
]
