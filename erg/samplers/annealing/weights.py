r"""Importance weights: the log of their mean with an honest error, and how many of them count.

The log of a mean of n weights is biased and skewed when the weights spread, and its error is itself an estimate.
Both are worst where few weights carry the sum. What `log_mean` does was chosen by measuring, over thousands of
sets of log-normal weights and of weights with exponential tails, how often the interval of 1.96 standard errors
holds the truth: the *jackknife* removes the bias of order 1/n, and the error is stretched by the quantile of
Student's law for as many degrees of freedom as the variance of these weights is worth,
:math:`\nu = 2n / (k - 1 + 2 / (n - 1))` with their kurtosis k. For normal log weights of standard deviation 1.5
(effective sample size n / 10, n = 256) 94 % of the intervals hold the truth, against 92 % by the delta method;
for a standard deviation of 2 (n / 50) 89 % and 83 %: there are then too few weights for any such interval. Fitting a
log-normal law holds its 95 % there and loses them (81 %) as soon as the law is another one. For a standard deviation
of 3 the jackknife removes half of the bias (-0.23 nats are left of -0.42) and adds more variance than that: its root
mean square error is 1.01, that of the plain log 0.85, and 76 % of the intervals hold the truth (44,000 sets).

References:
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11
    Kong (1992), A note on importance sampling using standardized weights (the effective sample size)
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg.estimate import Estimate


def log_mean(log_weights: Float[Tensor, " n"]) -> Estimate:
    """The log of the mean weight, without its bias of order 1/n.

    Raises:
        ValueError: If there are fewer than two weights.
    """
    log_weights = _two_or_more(log_weights)
    n, largest = len(log_weights), log_weights.max()
    if largest == -torch.inf:
        return Estimate(-torch.inf, torch.inf)
    weights = (log_weights - largest).exp()
    without = ((weights.sum() - weights) / (n - 1)).log()
    value = n * weights.mean().log() - (n - 1) * without.mean() + largest
    variance = (n - 1) / n * (without - without.mean()).square().sum()
    if not bool(without.isfinite().all()):  # one weight carries all
        return Estimate(log_mean_bound(log_weights), torch.inf)
    return Estimate(value.item(), variance.sqrt().item() * _stretch(weights))


def log_mean_bound(log_weights: Float[Tensor, " n"]) -> float:
    """The log of the mean weight as it is: in expectation at most the log of what the weights estimate."""
    return (log_weights.double().logsumexp(0) - torch.tensor(len(log_weights)).log()).item()


def effective_sample_size(log_weights: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r""":math:`(\sum_i w_i)^2 / \sum_i w_i^2`, between 1 and n; 0 when no weight is positive."""
    log_weights = log_weights.double()
    size = (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()
    return size.nan_to_num(nan=0.0)


def stretch(degrees: float) -> float:
    """How many times wider the 95 % interval of Student's law is than that of a normal law."""
    from scipy.special import stdtrit

    return float(stdtrit(max(degrees, 1.0), 0.975)) / 1.959964


def described(of: type, log_z: Estimate, log_weights: Float[Tensor, " n"], *, biased: bool) -> str:
    """An estimate with its chains in one line, without their states."""
    worth = effective_sample_size(log_weights).item()
    told = f"{len(log_weights)} chains, log_z={log_z}, effective_sample_size={worth:.4g}"
    return f"{of.__name__}({told}, biased)" if biased else f"{of.__name__}({told})"


def _stretch(weights: Tensor) -> float:
    n = len(weights)
    centred = weights - weights.mean()
    variance = centred.square().mean()
    if variance == 0:
        return stretch(n - 1)
    kurtosis = (centred**4).mean() / variance.square()
    return stretch(min(2 * n / (kurtosis - 1 + 2 / (n - 1)).clamp(min=1e-9).item(), n - 1))


def _two_or_more(log_weights: Tensor) -> Tensor:
    if len(log_weights) < 2:
        raise ValueError(f"An error needs at least two chains, but got {len(log_weights)}; run more of them.")
    return log_weights.double()
