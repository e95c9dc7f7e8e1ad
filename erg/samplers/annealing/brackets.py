r"""Both directions of annealing together: a bracket of log Z, and the best of both.

Weights of the forward process average to Z, those of the reverse process to 1/Z. With kernels that satisfy detailed
balance the two processes are each other's time reversal, and for the log weight l, counted forward,

.. math:: \frac{p_{\mathrm{reverse}}(l)}{p_{\mathrm{forward}}(l)} = e^{\,l - \log Z}.

Telling the two sets of weights apart is then a logistic regression with log Z as its only unknown, which is the
estimate of least variance (Bennett's acceptance ratio):

.. math:: \sum_{\mathrm{forward}} \sigma(l_i - c - m) = \sum_{\mathrm{reverse}} \sigma(c + m - l_j), \qquad
    m = \log (n_{\mathrm{forward}} / n_{\mathrm{reverse}}), \quad c = \log Z.

References:
    Bennett (1976), Efficient estimation of free energy differences from Monte Carlo data,
    doi:10.1016/0021-9991(76)90078-4
    Shirts et al. (2003), Equilibrium free energies from nonequilibrium measurements using maximum-likelihood
    methods, doi:10.1103/PhysRevLett.91.140601
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from erg.estimate import Estimate
from erg.samplers.annealing.importance import ImportanceSamples
from erg.samplers.annealing.weights import log_mean_bound

_HALVINGS = 200


class Bracket(NamedTuple):
    """Log Z from both sides, in nats.

    Attributes:
        lower: In expectation not above log Z.
        upper: In expectation not below log Z, if the reverse chains started at exact samples of the target.
        combined: The estimate of least variance from both, under the same condition and for kernels with detailed
            balance.
    """

    lower: Estimate
    upper: Estimate
    combined: Estimate

    @property
    def width(self) -> float:
        """How far the sides are apart: an upper limit for the error that slow chains may hide."""
        return self.upper.value - self.lower.value


def bracket(forward: ImportanceSamples, reverse: ImportanceSamples) -> Bracket:
    """Bring `ais` and `reverse_ais` on the same path together.

    Args:
        forward: What `ais` returned.
        reverse: What `reverse_ais` returned, with the same betas, kernels and steps.

    Raises:
        ValueError: If they are not one of each, in this order.

    Example:
        >>> from erg.energies import Gaussian, Path
        >>> from erg.samplers import mala
        >>> from erg.samplers.annealing.importance import ais, reverse_ais
        >>> rng, target = torch.Generator().manual_seed(0), Gaussian.isotropic(torch.ones(3), variance=0.5)
        >>> path = Path(Gaussian.standard(3), target)
        >>> up = ais(path, mala(0.3), betas=50, rng=rng)
        >>> down = reverse_ais(path, mala(0.3), target.exact_samples(256, rng), betas=50, rng=rng)
        >>> abs(bracket(up, down).combined.value - float(target.log_z)) < 0.1
        True
    """
    # The bound has the sign of the mean weight forward, and the other in reverse.
    sides = (forward, 1), (reverse, -1)
    if not all(math.isclose(found.bound, sign * log_mean_bound(found.log_weights)) for found, sign in sides):
        raise ValueError(
            "bracket() takes what ais() returned and then what reverse_ais() returned, but got another order, "
            "or two of a kind; swap them."
        )
    lower = Estimate(forward.bound, forward.log_z.standard_error)
    upper = Estimate(reverse.bound, reverse.log_z.standard_error)
    return Bracket(lower, upper, _acceptance_ratio(forward.log_weights, -reverse.log_weights))


def _acceptance_ratio(forward: Tensor, reverse: Tensor) -> Estimate:
    """Bennett's estimate from log weights of both processes, all counted forward."""
    known = torch.cat([forward, reverse])
    known = known[known.isfinite()]
    if not bool(forward.isfinite().any()) or not bool(reverse.isfinite().any()):
        return Estimate(math.nan, math.inf)
    m = math.log(len(forward) / len(reverse))

    def sides(c: Tensor) -> tuple[Tensor, Tensor]:
        return (forward - c - m).sigmoid(), (c + m - reverse).sigmoid()

    low, high = known.min() - abs(m) - 50, known.max() + abs(m) + 50
    for _ in range(_HALVINGS):
        c = (low + high) / 2
        ours, theirs = sides(c)
        low, high = (c, high) if ours.sum() > theirs.sum() else (low, c)
    ours, theirs = sides(c)
    slope = (ours * (1 - ours)).sum() + (theirs * (1 - theirs)).sum()
    variance = (len(ours) * ours.var() + len(theirs) * theirs.var()) / slope.square()
    return Estimate(c.item(), variance.sqrt().item())
