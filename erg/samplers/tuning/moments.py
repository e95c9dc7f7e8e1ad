r"""Variances and autocorrelation of every chain, gathered step by step in memory that does not grow.

A chain's n steps are cut into blocks of m. If m is well above the autocorrelation time, the means of the blocks are
nearly independent, and for each entry

.. math:: \tau = m\,\frac{\operatorname{Var}(\text{block means})}{\operatorname{Var}(x)}

is the number of steps that are worth one independent draw. A time beyond m shows as about m.

References:
    Flegal & Jones (2010), Batch means and spectral variance estimators in Markov chain Monte Carlo,
    arXiv:0811.1729
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import rows
from erg.samplers.rules import precise


class Moments(NamedTuple):
    """What is known of each chain so far.

    Attributes:
        seen: Steps gathered.
        mean: Of the steps.
        squares: Sum of squared deviations from the mean.
        block: Sum of the steps in the block that is not complete.
        blocks: Complete blocks.
        centre: Mean of their means.
        scatter: Sum of squared deviations of their means.
    """

    seen: Float[Tensor, " batch"]
    mean: Float[Tensor, "batch *event"]
    squares: Float[Tensor, "batch *event"]
    block: Float[Tensor, "batch *event"]
    blocks: Float[Tensor, " batch"]
    centre: Float[Tensor, "batch *event"]
    scatter: Float[Tensor, "batch *event"]


def nothing(x: Float[Tensor, "batch *event"]) -> Moments:
    """Before the first step, for chains shaped like `x`."""
    empty = torch.zeros_like(precise(x))
    none = empty.new_zeros(len(x))
    return Moments(none, empty, empty, empty, none, empty, empty)


def gathered(
    moments: Moments, x: Float[Tensor, "batch *event"], *, block: int, here: Bool[Tensor, " batch"]
) -> Moments:
    """One more step at `x` for the rows where `here` is true; the others stay as they are."""
    x = x.to(moments.mean.dtype)
    weight = here.to(moments.seen.dtype)
    count, mean, squares = _with(moments.seen, moments.mean, moments.squares, x, weight)
    total = moments.block + rows.spread(weight, x) * x
    full = here & (count.remainder(block) == 0)
    complete = full.to(weight.dtype)
    blocks, centre, scatter = _with(moments.blocks, moments.centre, moments.scatter, total / block, complete)
    return Moments(count, mean, squares, rows.spread(1 - complete, total) * total, blocks, centre, scatter)


def variance(moments: Moments) -> Float[Tensor, "batch *event"]:
    """Of each entry of each chain, over its own steps."""
    return moments.squares / rows.spread((moments.seen - 1).clamp(min=1), moments.squares)


def correlation_time(moments: Moments, *, block: int) -> Float[Tensor, " batch"]:
    """The mean over entries of tau, in steps; 1 for independent steps."""
    between = moments.scatter / rows.spread((moments.blocks - 1).clamp(min=1), moments.scatter)
    within = variance(moments).clamp(min=torch.finfo(between.dtype).tiny)
    return block * rows.flat(between / within).mean(1)


def _with(
    count: Tensor, mean: Tensor, squares: Tensor, x: Tensor, weight: Tensor
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch *event"], Float[Tensor, "batch *event"]]:
    """Welford's update; a row of weight 0 stays as it is."""
    count = count + weight
    away = x - mean
    mean = mean + rows.spread(weight / count.clamp(min=1), x) * away
    return count, mean, squares + rows.spread(weight, x) * away * (x - mean)
