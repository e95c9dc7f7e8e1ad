"""How the rows of a kernel find a step size and a length by themselves: what all searches do alike.

The length is how far a row goes before it forgets its direction, or the end of its trajectory, in the unit of the
step size; that unit is a distance for some kernels and a time for others.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import rows
from erg.samplers.rules import precise
from erg.samplers.tuning import moments

# Blocks of the second half of a search.
BLOCKS = 8
Setting = float | Tensor | None


def check(kernel: Any) -> None:
    """Refuse settings that are not positive, and searches too short to learn anything.

    Args:
        kernel: Names in `sought` the settings that it finds if they are None, and in `search` for how many steps.

    Raises:
        ValueError: If one of them is given and not positive, or `search` is below ten steps a block.
    """
    for name in kernel.sought:
        if getattr(kernel, name) is not None:
            rows.positive(name, getattr(kernel, name), of=type(kernel))
    rows.whole("search", kernel.search, of=type(kernel).__name__, least=10 * BLOCKS)


def given(kernel: Any) -> bool:
    """Whether a kernel that could find its settings has been given them all."""
    sought = getattr(kernel, "sought", ())
    return bool(sought) and all(getattr(kernel, name) is not None for name in sought)


def first(
    step_size: Setting, length: Setting, x: Float[Tensor, "batch *event"], *, guess: float
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Where a search begins: what is given, and otherwise steps of `guess` and ten of them."""
    size = per_row(guess if step_size is None else step_size, x)
    return size, 10 * size if length is None else per_row(length, x)


def settings(kernel: Any, search: Any, x: Float[Tensor, "batch *event"]) -> tuple[Tensor, Tensor]:
    """The step size and the length of each row: those of the search while there is one."""
    if search is not None:
        return search.step_size, search.length
    return per_row(kernel.step_size, x), per_row(kernel.length, x)


def fixed(kernel: Any, found: Mapping[str, Float[Tensor, " batch"]]) -> Any:
    """The kernel with the medians over rows in place of what it had to find."""
    missing = {name: values for name, values in found.items() if getattr(kernel, name) is None}
    return replace(kernel, **{name: float(values.median()) for name, values in missing.items()})


def lengthened(
    search: Any,
    steps: Float[Tensor, " batch"],
    x: Float[Tensor, "batch *event"],
    going: Bool[Tensor, " batch"],
    *,
    total: int,
    unit: Float[Tensor, " batch"],
    speed: float = 1.0,
) -> Any:
    """A fifth of the search for the start to be forgotten, then the variances, then the autocorrelation.

    Args:
        search: Holds `step_size`, `length` and `moments`.
        steps: Made so far, this one included.
        x: Where the step ended.
        going: Which rows still search.
        total: Steps of the whole search.
        unit: The length that goes with an autocorrelation time of one step.
        speed: How far in x a length of 1 leads.
    """
    settled, half = total // 5, total // 2
    block = (total - half) // BLOCKS
    gathered = moments.gathered(search.moments, x, block=block, here=going & (steps > settled))
    across = rows.total(moments.variance(gathered)).sqrt() / speed
    correlated = unit * moments.correlation_time(gathered, block=block)
    early = 10 * search.step_size
    length = torch.where(going & (steps <= half), early, search.length)
    length = torch.where(steps == half, across, length)
    length = torch.where(steps == half + block * BLOCKS, correlated.clamp(across / 2, 4 * across), length)
    length = torch.where(length > 0, length, early)  # a row that never moved has no variance
    anew = moments.Moments(*(rows.where(steps == half, torch.zeros_like(part), part) for part in gathered))
    return search._replace(length=length, moments=anew)


def per_row(value: float | Tensor, like: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
    """A setting as one number per row, in float32 or better.

    Raises:
        ValueError: If `value` is a tensor of another length.
    """
    scalar = precise(like.new_empty(0))
    if not isinstance(value, Tensor):
        return scalar.new_full((len(like),), value)
    rows.spread(value, like)
    return value.to(scalar.dtype).expand(len(like))
