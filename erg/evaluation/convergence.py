r"""Have chains forgotten where they started, and how much is a draw of theirs worth?

All figures take draws of shape (chains, steps, \*quantities), the transient at the start cut off, and give one
number a quantity. *Split R-hat* halves every chain and compares how far the halves' means are apart with how wide
each half is, on ranks of the values and of their distances from the median; 1 means that all halves tell the same.
The *effective sample size* S / (1 + 2 sum of autocorrelations) is how many independent draws would know a mean as
well (bulk), or the 5 % and 95 % quantiles (tail); draws that alternate may be worth more than their number.

A quantity that never changes says nothing: its R-hat and sizes are NaN. One that is constant in every chain, at
different values, has an infinite R-hat and an effective size of about the number of chains. R-hat compares chains:
it is NaN with one.

References:
    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization: an improved
    R-hat for assessing convergence of MCMC, arXiv:1903.08008
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg.estimate import Estimate
from erg.evaluation.resampling import groups, jackknife_variance

if TYPE_CHECKING:
    from numpy import ndarray

LEAST = 4
"""Steps that a chain needs: two to each half."""
TAILS = (0.05, 0.95)


class Convergence(NamedTuple):
    """What draws say about their chains, a number a quantity.

    Attributes:
        rhat: Split R-hat; 1 when the chains agree, to be trusted below 1.01.
        bulk: Effective sample size for means.
        tail: Effective sample size for the 5 % and 95 % quantiles, the smaller of both.
        mean: Over all draws.
        standard_error: Of the mean, the autocorrelation accounted for.
    """

    rhat: Float[Tensor, "*quantities"]
    bulk: Float[Tensor, "*quantities"]
    tail: Float[Tensor, "*quantities"]
    mean: Float[Tensor, "*quantities"]
    standard_error: Float[Tensor, "*quantities"]


class Autocorrelation(NamedTuple):
    """Correlation of draws that are 0, 1, 2 ... steps apart, with its standard error over chains.

    Chains that stay apart keep it above 0 at any lag, however fast each of them moves where it is.
    """

    value: Float[Tensor, "lags *quantities"]
    standard_error: Float[Tensor, "lags *quantities"]


def convergence(draws: Float[Tensor, "chains steps *quantities"]) -> Convergence:
    """R-hat, effective sample sizes, and means with errors.

    Raises:
        ValueError: If there are fewer than four steps, no chains, or values that are not finite.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> independent = convergence(torch.randn(4, 500, generator=rng))
        >>> bool(independent.rhat < 1.01), bool(independent.bulk > 1500)
        (True, True)
    """
    values = _checked(draws)
    rhat, bulk, tail = split_rhat(draws), bulk_size(draws), tail_size(draws)
    mean = values.mean((0, 1))
    # A quantity that never changes is known without error.
    error = torch.where(_constant(values), 0.0, values.flatten(0, 1).std(0) / bulk.sqrt())
    return Convergence(rhat, bulk, tail, mean, error)


def split_rhat(draws: Float[Tensor, "chains steps *quantities"]) -> Float[Tensor, "*quantities"]:
    """Rank-normalised split R-hat: the larger one of location and spread.

    Raises:
        ValueError: If there are fewer than four steps, no chains, or values that are not finite.
    """
    values = _checked(draws)
    stuck = (values == values[:, :1]).all(1).all(0)
    frozen = torch.where(_constant(values), torch.nan, torch.inf)
    return torch.where(stuck, frozen, _arviz("rhat", values, stuck))


def bulk_size(draws: Float[Tensor, "chains steps *quantities"]) -> Float[Tensor, "*quantities"]:
    """Effective sample size for means of all chains together.

    Raises:
        ValueError: If there are fewer than four steps, no chains, or values that are not finite.
    """
    return _size(draws, method="bulk")


def tail_size(draws: Float[Tensor, "chains steps *quantities"]) -> Float[Tensor, "*quantities"]:
    """Effective sample size for the 5 % and 95 % quantiles, the smaller one.

    Raises:
        ValueError: If there are fewer than four steps, no chains, or values that are not finite.
    """
    return _size(draws, method="tail", prob=TAILS)


def autocorrelation(draws: Float[Tensor, "chains steps *quantities"], *, lags: int | None = None) -> Autocorrelation:
    r"""How much a draw tells about the one `t` steps later, all chains taken together:

    .. math:: \rho_t = 1 - \frac{W - \frac1m \sum_c a_c(t)}{\frac{n-1}{n} W + B},

    with the chains' own autocovariances :math:`a_c(t)` around their own means, W the mean of their variances and B
    the variance of their means. With one chain, B is 0. NaN where a quantity never changes.

    Args:
        draws: m chains of n steps.
        lags: The largest t; left out, a quarter of the steps.

    Raises:
        ValueError: If there are fewer than four steps, no chains, values that are not finite, or `lags` is not
            between 1 and the number of steps less one.
    """
    values = _checked(draws)
    chains, steps = values.shape[:2]
    lags = max(1, steps // 4) if lags is None else lags
    if not 1 <= lags < steps:
        raise ValueError(f"lags is between 1 and {steps - 1} for {steps} steps, but got {lags}.")
    from arviz_stats.base import array_stats

    found = array_stats.autocov(values.numpy(), axis=1)[:, : lags + 1]
    own = torch.from_numpy(found).transpose(0, 1).reshape(lags + 1, chains, -1)
    means = values.mean(1).reshape(chains, -1)

    def combined(keep: Tensor) -> Tensor:
        count = keep.sum()
        covariance = torch.tensordot(own, keep, ([1], [0])) / count
        within = covariance[0] * steps / (steps - 1)
        deviations = means - (keep @ means) / count
        between = keep @ deviations.square() / (count - 1) if count > 1 else torch.zeros_like(within)
        return 1 - (within - covariance) / (within * (steps - 1) / steps + between)

    value, error = combined(torch.ones(chains, dtype=torch.float64)), _jackknife(combined, chains)
    shape, moves = (lags + 1, *values.shape[2:]), ~_constant(values)
    return Autocorrelation(*(part.reshape(shape).where(moves, torch.nan) for part in (value, error)))


def gradients_per_draw(draws: Float[Tensor, "chains steps *quantities"], gradients: float) -> Estimate:
    """Gradients that one effective draw costs, for the quantity that mixes worst; infinite if none ever changes.

    The error is a jackknife over chains, each of which has had its share of the gradients; NaN with one chain.

    Args:
        draws: With at least one quantity.
        gradients: All that were taken for these draws, a gradient of one row counted as one.

    Raises:
        ValueError: If `gradients` is not positive, or as for `bulk_size`.
    """
    if not 0 < gradients < float("inf"):
        raise ValueError(f"Draws cost a positive number of gradients, but got {gradients}.")
    sizes = bulk_size(draws).flatten()
    known = sizes.isfinite()
    if not known.any():
        return Estimate(float("inf"), float("nan"))
    worst = int(sizes.where(known, torch.inf).argmin())
    quantity = draws.reshape(*draws.shape[:2], -1)[..., worst]
    chains = len(draws)

    def cost(keep: Tensor) -> Tensor:
        kept = keep.bool()
        return gradients * kept.sum() / chains / bulk_size(quantity[kept])

    return Estimate((gradients / sizes[worst]).item(), _jackknife(cost, chains).item())


def nearest_mode(centres: Float[Tensor, "modes *event"]) -> Callable[[Tensor], Tensor]:
    """Assigns rows to the nearest of some centres, for `mode_jumps`.

    Example:
        >>> nearest_mode(torch.tensor([[-3.0], [3.0]]))(torch.tensor([[2.0], [-1.0]])).tolist()
        [1, 0]
    """
    flat = centres.reshape(len(centres), -1)

    def assign(x: Tensor) -> Tensor:
        return torch.cdist(x.reshape(len(x), -1).to(flat), flat).argmin(1)

    return assign


def mode_jumps(
    draws: Float[Tensor, "chains steps *event"], assign: Callable[[Tensor], Tensor]
) -> Int[Tensor, " chains"]:
    """How often each chain went from one mode to another.

    Jumps there and back between two draws are not seen, so thinned draws give a lower bound. The mean over chains
    with its error is ``Estimate.of_mean(jumps.float())``.

    Args:
        draws: States, or whatever of them tells the modes apart.
        assign: From rows (batch, *event) to the number of each row's mode, such as `nearest_mode` makes.

    Raises:
        ValueError: If there are no steps.

    Example:
        >>> walk = torch.tensor([[[-3.0], [2.5], [3.1], [-2.0]], [[3.0], [3.1], [2.9], [3.0]]])
        >>> mode_jumps(walk, nearest_mode(torch.tensor([[-3.0], [3.0]]))).tolist()
        [2, 0]
    """
    if draws.shape[1] < 1:
        raise ValueError(f"Mode jumps need at least one step, but got draws of shape {tuple(draws.shape)}.")
    # A step at a time: the distances to all modes are never held for all draws.
    labels = torch.stack([assign(draws[:, step]) for step in range(draws.shape[1])], 1)
    return (labels[:, 1:] != labels[:, :-1]).sum(1)


def _size(draws: Tensor, **options: Any) -> Tensor:
    values = _checked(draws)
    constant = _constant(values)
    return _arviz("ess", values, constant, **options).where(~constant, torch.nan)


def _arviz(name: str, values: Tensor, skipped: Tensor, **options: Any) -> Tensor:
    """A figure by arviz-stats, which divides by zero where nothing changes: such quantities come out as NaN."""
    from arviz_stats.base import array_stats

    flat, skip = values.reshape(*values.shape[:2], -1), skipped.flatten()
    out = torch.full((flat.shape[2],), torch.nan, dtype=torch.float64)
    if not skip.all():
        moving: ndarray = flat[..., ~skip].numpy()
        found = getattr(array_stats, name)(moving, chain_axis=0, draw_axis=1, **options)
        out[~skip] = torch.as_tensor(found, dtype=torch.float64)
    return out.reshape(skipped.shape)


def _constant(values: Tensor) -> Tensor:
    return (values == values[:1, :1]).all(1).all(0)


def _jackknife(figure: Callable[[Tensor], Tensor], chains: int) -> Tensor:
    """Standard errors of a figure of chosen chains, (any shape); NaN with one chain."""
    if chains < 2:
        return torch.full_like(figure(torch.ones(1, dtype=torch.float64)), torch.nan)
    member = groups(chains)
    left_out = torch.stack([figure((member != g).double()) for g in range(int(member.max()) + 1)])
    variances = [jackknife_variance(column) for column in left_out.reshape(len(left_out), -1).T]
    return torch.tensor(variances, dtype=torch.float64).sqrt().reshape(left_out.shape[1:])


def _checked(draws: Tensor) -> Float[Tensor, "chains steps *quantities"]:
    """In float64 on the CPU."""
    if draws.ndim < 2 or draws.shape[0] < 1 or draws.shape[1] < LEAST:
        raise ValueError(
            f"Diagnostics need draws of shape (chains, steps, *quantities) with at least one chain of {LEAST} steps, "
            f"but got shape {tuple(draws.shape)}; run longer chains."
        )
    values = draws.detach().double().cpu()
    if not values.isfinite().all():
        raise ValueError(
            f"Diagnostics need finite draws, but {int((~values.isfinite()).sum())} of {values.numel()} are not; "
            "leave those chains out and say so."
        )
    return values
