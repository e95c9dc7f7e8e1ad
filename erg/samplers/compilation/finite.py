"""What is not finite, replaced by comparisons, for graphs that are compiled to fused code.

The compiler asks entry by entry whether a number is NaN, outside of its vector units; a comparison asks sixteen at
once. Every kernel with a gradient asks, so that on a small energy this is most of a step's time. The function has
the signature of the operation it replaces.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def nan_to_num(
    x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """`torch.nan_to_num`, by comparisons that are false for NaN."""
    if not x.is_floating_point():
        return x.clone()
    largest = torch.finfo(x.dtype).max
    nan, high, low = nan or 0.0, largest if posinf is None else posinf, -largest if neginf is None else neginf
    if nan == high == low:
        return torch.where(x.abs() < math.inf, x, nan)
    finite = torch.where(x == math.inf, high, torch.where(x == -math.inf, low, x))
    return torch.where(x == x, finite, nan)


def isnan(x: Tensor) -> Tensor:
    """`torch.isnan`: only NaN differs from itself."""
    return x != x


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.nan_to_num.default: nan_to_num,
    torch.ops.aten.isnan.default: isnan,
}
