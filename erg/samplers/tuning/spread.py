r"""How far every entry of a state spreads, learned from chains.

Each chain keeps a running mean and sum of squares (Welford); chains are pooled when asked. With n draws the
variance is shrunk towards the typical one, the median over entries,

.. math:: \log \hat v = \frac{n}{n + 5} \log v + \frac{5}{n + 5} \log \mathrm{median}(v),

so that a few draws do not give extreme scales; an entry that never moved gets the typical one. Stan shrinks the
variance itself towards 0.001: that depends on the unit of x, and hides a narrow entry among wide ones.

References:
    Welford (1962), Note on a method for calculating corrected sums of squares and products,
    doi:10.1080/00401706.1962.10490022
    Stan Reference Manual, chapter on Markov chain Monte Carlo (windows of warm-up)
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import rows

PRIOR_DRAWS = 5


class Spread(NamedTuple):
    """Where the law is, and how wide.

    Attributes:
        mean: Of every entry.
        deviation: The standard deviation of every entry.
    """

    mean: Float[Tensor, "*event"]
    deviation: Float[Tensor, "*event"]

    @property
    def uneven(self) -> bool:
        """Whether some entries are more than twice as wide as others: kernels then like to see them scaled."""
        return bool(self.deviation.max() > 2 * self.deviation.min())


class Welford:
    """Running moments of every entry, chain by chain.

    Args:
        like: States of the chains.
    """

    def __init__(self, like: Float[Tensor, "batch *event"]) -> None:
        self.steps = 0
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._mean = torch.zeros_like(like, dtype=dtype)
        self._squares = torch.zeros_like(self._mean)

    def add(self, x: Float[Tensor, "batch *event"]) -> None:
        """Take in one state per chain."""
        self.steps += 1
        difference = x.to(self._mean.dtype) - self._mean
        self._mean = self._mean + difference / self.steps
        self._squares = self._squares + difference * (x.to(self._mean.dtype) - self._mean)

    def pooled(self, chosen: Bool[Tensor, " batch"]) -> Spread | None:
        """The spread over the chosen chains, whatever their order; None if nothing moved."""
        chosen = chosen & rows.finite(self._squares)
        means, squares = self._mean[chosen].double(), self._squares[chosen].double()
        draws = self.steps * len(means)
        if draws < 2:
            return None
        mean = _sum(means) / len(means)
        variance = (_sum(squares) + self.steps * _sum((means - mean).square())) / (draws - 1)
        if not bool((variance > 0).any()):
            return None
        typical = variance[variance > 0].median()
        relative = torch.where(variance > 0, variance / typical, 1.0)
        variance = typical * relative ** (draws / (draws + PRIOR_DRAWS))
        return Spread(mean.to(self._mean.dtype), variance.sqrt().to(self._mean.dtype))


def _sum(values: Float[Tensor, "batch *event"]) -> Float[Tensor, "*event"]:
    """The sum over chains, to the same bits in every order of the chains."""
    return values.sort(0).values.sum(0)
