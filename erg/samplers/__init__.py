"""Samplers move a state."""

from erg.samplers.chain import advance, chain, sample
from erg.samplers.compiled import Compiled
from erg.samplers.cyclical import AutomaticCycles, CyclicalLangevin, acs
from erg.samplers.discrete import DiscreteLangevin, dmala, dula
from erg.samplers.gibbs import BlockGibbs, Conditionals, Gibbs, gibbs
from erg.samplers.informed import GibbsWithGradients, gwg
from erg.samplers.langevin import (
    Descent,
    ImageLangevin,
    Langevin,
    descent,
    mala,
    sgld,
    temperature,
    ula,
)
from erg.samplers.parallel import Parallel
from erg.samplers.precision import LowPrecision
from erg.samplers.preconditioned import Preconditioned
from erg.samplers.rules import Metropolis, Unadjusted
from erg.samplers.schedules import (
    Constant,
    Cyclical,
    Growing,
    Polynomial,
    Scheduled,
    with_setting,
)
from erg.samplers.walk import (
    Independence,
    RandomWalk,
    Samplable,
    independence,
    random_walk,
)

__all__ = [
    "AutomaticCycles",
    "BlockGibbs",
    "Compiled",
    "Conditionals",
    "Constant",
    "Cyclical",
    "CyclicalLangevin",
    "Descent",
    "DiscreteLangevin",
    "Gibbs",
    "GibbsWithGradients",
    "Growing",
    "ImageLangevin",
    "Independence",
    "Langevin",
    "LowPrecision",
    "Metropolis",
    "Parallel",
    "Polynomial",
    "Preconditioned",
    "RandomWalk",
    "Samplable",
    "Scheduled",
    "Unadjusted",
    "acs",
    "advance",
    "chain",
    "descent",
    "dmala",
    "dula",
    "gibbs",
    "gwg",
    "independence",
    "mala",
    "random_walk",
    "sample",
    "sgld",
    "temperature",
    "ula",
    "with_setting",
]
