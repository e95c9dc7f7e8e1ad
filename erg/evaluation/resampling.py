r"""Standard errors of figures that are not means.

The *jackknife* leaves one group of rows out at a time and looks at how the figure moves. It draws
nothing, so it neither needs nor disturbs a random number generator, and the bias that a figure has
at a finite number of rows cancels in it. It suits smooth functions of moments.

The *bootstrap* draws rows with replacement. It suits figures with kinks: quantiles, and functions at
their own minimum, where the first derivative that the jackknife sees vanishes.

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
    """Which group each row belongs to; at most one group a row.

    The assignment is shuffled, the same at every call: rows of a data set often come in a periodic or
    sorted order of their classes, and a group must not be one class.
    """
    shuffled = torch.randperm(rows, generator=torch.Generator().manual_seed(rows))
    return shuffled % min(count, rows)


def jackknife_variance(left_out: Float[Tensor, " groups"]) -> float:
    """The variance of a figure, from its values with one group left out at a time."""
    g = len(left_out)
    return ((g - 1) / g * (left_out - left_out.mean()).square().sum()).item()


def bootstrap_counts(
    rows: int, rng: torch.Generator | None = None, *, repeats: int = REPEATS
) -> Iterator[Float[Tensor, " rows"]]:
    """How often each row was drawn, for each of `repeats` samples of `rows` rows with replacement."""
    for _ in range(repeats):
        drawn = torch.randint(rows, (rows,), generator=rng)
        yield torch.bincount(drawn, minlength=rows).double()
