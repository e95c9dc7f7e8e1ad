"""Kernels with smaller steps, wherever the step size is nested."""

import math
from functools import partial
from operator import mul
from typing import Any

from erg.samplers.schedules import has_setting, with_setting


def scaled(kernel: Any, factor: float) -> Any:
    """A copy of `kernel` with its step size, or the schedule of it, multiplied by `factor`.

    Where the noise is a setting of its own it is multiplied by the square root of `factor`: step and noise
    together set the temperature, noise^2 / (2 step_size), which then stays the same. A kernel without a step
    size comes back as it is.
    """
    if factor == 1:
        return kernel
    for name, multiplier in (("step_size", factor), ("noise", math.sqrt(factor))):
        if has_setting(kernel, name):
            kernel = with_setting(kernel, name, partial(mul, multiplier))
    return kernel
