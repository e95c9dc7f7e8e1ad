r"""Standard errors of figures that are not means.

The *jackknife* leaves one group of rows out at a time and looks at how the figure moves; the bias
that a figure has at a finite number of rows cancels in it. It suits smooth functions of moments. The
*bootstrap* draws rows with replacement. It suits figures with kinks: quantiles, and functions at
their own minimum, where the first derivative that the jackknife sees vanishes.

Both use fixed random numbers of their own: the same rows always have the same error, and looking at
a figure during training does not change what training draws next.

References:
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapters 6 and 11
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

GROUPS = 20
REPEATS = 200


def groups(rows: int, count: int = GROUPS) -> Int[Tensor, " rows"]:
    """Which group each row belongs to; at most one group per row.

    The assignment is shuffled, the same at every call: rows of a data set often come in a periodic or
    sorted order of their classes, and a group must not be one class.
    """
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(rows))
    return shuffled % min(count, rows)


def jackknife_variance(left_out: Float[Tensor, " groups"]) -> float:
    """The variance of a figure, from its values with one group left out at a time."""
    g = len(left_out)
    return ((g - 1) / g * (left_out - left_out.mean()).square().sum()).item()


def bootstrap_counts(*rows: int, repeats: int = REPEATS) -> Iterator[tuple[Float[Tensor, " rows"], ...]]:
    """How often each row was drawn when each set is drawn from with replacement, `repeats` times.

    Args:
        rows: The number of rows of each set. Sets are drawn independently.
        repeats: How many bootstrap samples.
    """
    rng = torch.Generator().manual_seed(0)
    for _ in range(repeats):
        drawn = [torch.randint(count, (count,), generator=rng) for count in rows]
        yield tuple(torch.bincount(d, minlength=count).double() for d, count in zip(drawn, rows, strict=True))
