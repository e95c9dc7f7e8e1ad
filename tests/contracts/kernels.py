"""A case for every public kernel: the contract suite, the properties and the exact tests share them."""

import inspect
import typing

import torch

import erg.samplers
from erg import draws
from erg.roles import Kernel
from erg.samplers import (
    Compiled,
    Constant,
    Descent,
    Growing,
    ImageLangevin,
    Langevin,
    LowPrecision,
    Metropolis,
    Parallel,
    RandomWalk,
    Scheduled,
    Unadjusted,
    chain,
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
    "Scheduled": Scheduled(mala(0.1), {"step_size": Growing(0.05, 0.4, steps=4)}),
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
    "Scheduled-sgld": Scheduled(sgld(0.2, 0.3), {"step_size": Constant(0.2), "noise": Growing(0.1, 0.3, steps=3)}),
}
EXACT = {name for name in KERNELS if name.startswith(("Metropolis", "mala", "random_walk")) or name == "Scheduled"}
DETERMINISTIC = {"descent", "Unadjusted-Descent"}


def public_kernels() -> set[str]:
    """Names in `erg.samplers` that are kernels, or functions that return one."""
    found = set()
    for name in erg.samplers.__all__:
        what = getattr(erg.samplers, name)
        if not inspect.isclass(what):
            what = typing.get_type_hints(inspect.unwrap(what)).get("return")
        if inspect.isclass(what) and issubclass(what, Kernel):
            found.add(name)
    return found


def public_moves() -> set[type]:
    """Classes in `erg.samplers` that propose."""
    public = [getattr(erg.samplers, name) for name in erg.samplers.__all__]
    return {what for what in public if inspect.isclass(what) and hasattr(what, "propose")}


def run(kernel, energy, x, steps, rng=None):
    """The states and acceptances of `steps` steps."""
    iterator = chain(kernel, energy, x, rng)
    return [next(iterator) for _ in range(steps)]


def noise_of(kernel, energy, x, steps, seed=0):
    """What `steps` steps draw, as tensors that can be cut, permuted and replayed."""
    record = draws.Record(torch.Generator().manual_seed(seed))
    run(kernel, energy, x, steps, record)
    return draws.repeat(record.draws, torch.Generator().manual_seed(seed))
