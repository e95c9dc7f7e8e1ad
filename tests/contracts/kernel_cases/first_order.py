"""Langevin, its relatives, random walks, and the wrappers around them."""

from erg.samplers import (
    Compiled,
    Constant,
    Descent,
    Geometric,
    GibbsLangevin,
    ImageLangevin,
    Langevin,
    LowPrecision,
    Metropolis,
    Parallel,
    RandomWalk,
    Scheduled,
    Unadjusted,
    descent,
    mala,
    random_walk,
    sgld,
    ula,
)

KERNELS = {
    "Compiled": Compiled(ula(0.05)),
    "LowPrecision": LowPrecision(ula(0.05)),
    "Parallel": Parallel(ula(0.05), threads=2),
    "Metropolis-Parallel": Parallel(mala(0.2), threads=2),
    "Metropolis-Compiled-LowPrecision": Compiled(LowPrecision(mala(0.2))),
    "Metropolis": Metropolis(Langevin(0.3)),
    "Scheduled": Scheduled(mala(0.1), {"step_size": Geometric(0.05, 0.4, steps=4)}),
    "Unadjusted": Unadjusted(Langevin(0.1)),
    "descent": descent(0.1),
    "mala": mala(0.2),
    "random_walk": random_walk(0.5),
    "sgld": sgld(0.2, 0.3, clip=1.5, box=(-4.0, 4.0)),
    "ula": ula(0.05),
    "Unadjusted-RandomWalk": Unadjusted(RandomWalk(0.3)),
    "Metropolis-RandomWalk": Metropolis(RandomWalk(0.7)),
    "Unadjusted-Descent": Unadjusted(Descent(0.2)),
    "Unadjusted-ImageLangevin": Unadjusted(ImageLangevin(0.2, 0.3)),
    "Scheduled-sgld": Scheduled(sgld(0.2, 0.3), {"step_size": Constant(0.2), "noise": Geometric(0.1, 0.3, steps=3)}),
}
EXACT = {name for name in KERNELS if name.startswith(("Metropolis", "mala", "random_walk")) or name == "Scheduled"}
DETERMINISTIC = {"descent", "Unadjusted-Descent"}
APART = {"GibbsLangevin": GibbsLangevin(mala(0.2), steps=2)}
