"""What both microcanonical kernels do alike to find their settings, row by row."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import rows
from erg.samplers.microcanonical import moments
from erg.samplers.microcanonical.isokinetic import per_row

# Blocks of the second half of a search.
BLOCKS = 8


def settings(kernel: Any, search: Any, x: Float[Tensor, "batch *event"]) -> tuple[Tensor, Tensor]:
    """The step size and the length of each row: those of the search while there is one."""
    if search is not None:
        return search.step_size, search.length
    return per_row(kernel.step_size, x), per_row(kernel.length, x)


def first(kernel: Any, x: Float[Tensor, "batch *event"]) -> tuple[Tensor, Tensor]:
    """Where a search begins: what is given, and otherwise steps of sqrt(d) / 4 and ten of them."""
    size = x[:1].numel() ** 0.5 / 4
    step_size = per_row(size if kernel.step_size is None else kernel.step_size, x)
    return step_size, 10 * step_size if kernel.length is None else per_row(kernel.length, x)


def fixed(kernel: Any, search: Any) -> Any:
    """The kernel with the medians over rows in place of what it had to find."""
    if search is None:
        return kernel
    found = {name: float(getattr(search, name).median()) for name in ("step_size", "length")}
    return replace(kernel, **{name: value for name, value in found.items() if getattr(kernel, name) is None})


def lengthened(
    search: Any,
    steps: Float[Tensor, " batch"],
    x: Float[Tensor, "batch *event"],
    going: Bool[Tensor, " batch"],
    *,
    total: int,
    unit: Float[Tensor, " batch"],
) -> Any:
    """A fifth of the search for the start to be forgotten, then the variances, then the autocorrelation.

    Args:
        search: Holds `step_size`, `length` and `moments`.
        steps: Made so far, this one included.
        x: Where the step ended.
        going: Which rows still search.
        total: Steps of the whole search.
        unit: The length that goes with an autocorrelation time of one step.
    """
    settled, half = total // 5, total // 2
    block = (total - half) // BLOCKS
    gathered = moments.gathered(search.moments, x, block=block, here=going & (steps > settled))
    across = rows.total(moments.variance(gathered)).sqrt()
    correlated = unit * moments.correlation_time(gathered, block=block)
    early = 10 * search.step_size
    length = torch.where(going & (steps <= half), early, search.length)
    length = torch.where(steps == half, across, length)
    length = torch.where(steps == half + block * BLOCKS, correlated.clamp(across / 2, 4 * across), length)
    length = torch.where(length > 0, length, early)  # a row that never moved has no variance
    anew = moments.Moments(*(rows.where(steps == half, torch.zeros_like(part), part) for part in gathered))
    return search._replace(length=length, moments=anew)
