"""Samplers move a state."""

from erg.samplers.chain import advance, chain, sample
from erg.samplers.compiled import Compiled
from erg.samplers.langevin import Descent, ImageLangevin, Langevin, descent, mala, sgld, temperature, ula
from erg.samplers.parallel import Parallel
from erg.samplers.precision import LowPrecision
from erg.samplers.preconditioned import Preconditioned
from erg.samplers.rules import Metropolis, Unadjusted
from erg.samplers.schedules import Constant, Cyclical, Growing, Polynomial, Scheduled, with_setting
from erg.samplers.walk import RandomWalk, random_walk

__all__ = [
    "Compiled",
    "Constant",
    "Cyclical",
    "Descent",
    "Growing",
    "ImageLangevin",
    "Langevin",
    "LowPrecision",
    "Metropolis",
    "Parallel",
    "Polynomial",
    "Preconditioned",
    "RandomWalk",
    "Scheduled",
    "Unadjusted",
    "advance",
    "chain",
    "descent",
    "mala",
    "random_walk",
    "sample",
    "sgld",
    "temperature",
    "ula",
    "with_setting",
]
