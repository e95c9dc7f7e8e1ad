"""A case for every public kernel: the contract suite, the properties and the exact tests share them.

`KERNELS` move on the real numbers, and in a box unless they are `REAL_ONLY`; `DISCRETE` ones on Binary, Spin
and OneHot. Events of `AT_LEAST_TWO` have two entries or more. Those in `APART` need an energy of their own, and a
suite of their own.
"""

import importlib
import inspect
import pkgutil
import typing

import torch

import erg.samplers
from erg import draws
from erg.roles import Kernel
from erg.samplers import chain
from tests.contracts import kernel_cases

CASES = [
    importlib.import_module(f"{kernel_cases.__name__}.{file.name}")
    for file in pkgutil.iter_modules(kernel_cases.__path__)
]
KERNELS = {name: kernel for cases in CASES for name, kernel in cases.KERNELS.items()}
EXACT = {name for cases in CASES for name in cases.EXACT}
DETERMINISTIC = {name for cases in CASES for name in cases.DETERMINISTIC}
MOVING = {name for cases in CASES for name in getattr(cases, "MOVING", ())}
REAL_ONLY = {name for cases in CASES for name in getattr(cases, "REAL_ONLY", ())}
AT_LEAST_TWO = {name for cases in CASES for name in getattr(cases, "AT_LEAST_TWO", ())}
DISCRETE = {name: kernel for cases in CASES for name, kernel in getattr(cases, "DISCRETE", {}).items()}
APART = {name: kernel for cases in CASES for name, kernel in getattr(cases, "APART", {}).items()}


# They return the kernel that they are given, with other settings.
TUNERS = {"warmup"}


def public_kernels() -> set[str]:
    """Names in `erg.samplers` that are kernels, or functions that return one."""
    found = set()
    for name in set(erg.samplers.__all__) - TUNERS:
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
