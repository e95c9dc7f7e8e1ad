"""Kernels with smaller steps, wherever the step size is nested."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any


def scaled(kernel: Any, factor: float) -> Any:
    """A copy of `kernel` with its step size, or the schedule of it, multiplied by `factor`.

    Where the noise is a setting of its own it is multiplied by the root of `factor`: the temperature that step and
    noise set together, noise^2 / (2 step_size), stays.
    """
    if not dataclasses.is_dataclass(kernel) or isinstance(kernel, type) or factor == 1:
        return kernel
    factors = {"step_size": factor, "noise": math.sqrt(factor)}
    changes = {}
    for field in dataclasses.fields(kernel):
        old = getattr(kernel, field.name)
        if field.name in factors:
            changes[field.name] = old * factors[field.name]
        elif isinstance(old, Mapping):
            changes[field.name] = {name: ScaledSchedule(value, factors.get(name, 1.0)) for name, value in old.items()}
        elif (new := scaled(old, factor)) is not old:
            changes[field.name] = new
    return dataclasses.replace(kernel, **changes) if changes else kernel


@dataclasses.dataclass(frozen=True)
class ScaledSchedule:
    """A schedule multiplied by a factor."""

    schedule: Callable[[int], float]
    factor: float

    def __call__(self, step: int) -> float:
        """The scaled value at `step`."""
        return self.schedule(step) * self.factor
