r"""How far apart are two sets of rows, seen through features?

The *Frechet distance* is that of two Gaussians with the sets' means and covariances,

.. math:: d^2 = |\mu_a - \mu_b|^2 + \mathrm{tr}\,(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2}),

and is biased upwards at finite n, by about a constant over n: compare figures at equal n only, and
with the `floor`, which is what real held-out rows reach. The *kernel distance* is the unbiased
estimate of the squared maximum mean discrepancy with the kernel :math:`(x \cdot y / d + 1)^3`; its
mean is 0 for equal laws at any n, and single values may be negative.

Both are written here and not taken from torchmetrics: its Frechet distance takes eigenvalues of the
unsymmetric product (:math:`\Sigma_a \Sigma_b`), which loses half of the digits when features are
dependent, and neither of its metrics states an error for one pair of sets. A test compares them.

References:
    Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium,
    arXiv:1706.08500
    Bińkowski et al. (2018), Demystifying MMD GANs, arXiv:1801.01401
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from erg.estimate import Estimate
from erg.evaluation.resampling import GROUPS, groups, jackknife_variance

CHUNK = 500


class Moments(NamedTuple):
    """Row counts, sums and sums of products, one each per group: any groups can be left out at no cost."""

    rows: Float[Tensor, " groups"]
    total: Float[Tensor, "groups features"]
    outer: Float[Tensor, "groups features features"]

    def gaussian(self, keep: Float[Tensor, " groups"]) -> tuple[Tensor, Tensor]:
        """The mean of the kept groups, and R with R R^T equal to their unbiased covariance."""
        n = keep @ self.rows
        mean = keep @ self.total / n
        covariance = (torch.tensordot(keep, self.outer, 1) - n * mean.outer(mean)) / (n - 1)
        values, vectors = torch.linalg.eigh(covariance)
        return mean, vectors * values.clamp(min=0).sqrt()


def frechet_distance(a: Float[Tensor, "rows_a features"], b: Float[Tensor, "rows_b _features"]) -> Estimate:
    """The squared Frechet distance between the Gaussians of two sets of features, with a jackknife error.

    The error is that of chance in both sets. It does not hold the bias at finite n, and it is too
    large rather than too small where the two laws are equal.

    Raises:
        ValueError: If the sets are not matrices of equal width, or a set has fewer than three rows.
    """
    a, b = _checked(a, b, least=3)
    # Centred together: sums of squares of features far from 0 would lose digits.
    centre = b.mean(0)
    moments_a, moments_b = _moments(a - centre), _moments(b - centre)

    def estimate(keep_a: Tensor, keep_b: Tensor) -> Tensor:
        mean_a, root_a = moments_a.gaussian(keep_a)
        mean_b, root_b = moments_b.gaussian(keep_b)
        # tr (S_a S_b)^(1/2) is the sum of the singular values of R_a^T R_b: no square root of a
        # product of covariances, whose small eigenvalues would drown in rounding.
        overlap = torch.linalg.svdvals(root_a.T @ root_b).sum()
        return (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * overlap

    return _with_error(estimate, moments_a.rows, moments_b.rows)


def kernel_distance(a: Float[Tensor, "rows_a features"], b: Float[Tensor, "rows_b _features"]) -> Estimate:
    """The unbiased squared maximum mean discrepancy of two sets of features, with a jackknife error.

    All pairs are used, a block at a time, so memory does not grow with their number. The error is
    that of chance in both sets; where the two laws are equal it is too large rather than too small.

    Raises:
        ValueError: If the sets are not matrices of equal width, or a set has fewer than four rows.
    """
    a, b = _checked(a, b, least=4)
    member_a, member_b = _membership(a), _membership(b)
    sizes_a, sizes_b = member_a.sum(0), member_b.sum(0)
    within_a = _pair_sums(a, member_a, a, member_a) - _self_sums(a, member_a)
    within_b = _pair_sums(b, member_b, b, member_b) - _self_sums(b, member_b)
    between = _pair_sums(a, member_a, b, member_b)

    def estimate(keep_a: Tensor, keep_b: Tensor) -> Tensor:
        n_a, n_b = keep_a @ sizes_a, keep_b @ sizes_b
        same_a = keep_a @ within_a @ keep_a / (n_a * (n_a - 1))
        same_b = keep_b @ within_b @ keep_b / (n_b * (n_b - 1))
        return same_a + same_b - 2 * (keep_a @ between @ keep_b) / (n_a * n_b)

    return _with_error(estimate, sizes_a, sizes_b)


def floor(train: Float[Tensor, "train features"], held_out: Float[Tensor, "held_out _features"], n: int) -> Estimate:
    """The Frechet distance that `n` real held-out rows reach against the training rows.

    A model whose `n` samples come as near as this cannot be told from the data by this distance.

    Raises:
        ValueError: If there are fewer than `n` held-out rows: the bias would differ.
    """
    if len(held_out) < n:
        raise ValueError(
            f"A floor at n={n} needs as many held-out rows, but got {len(held_out)}; compare fewer samples."
        )
    return frechet_distance(held_out[:n], train)


def _with_error(estimate: Callable[[Tensor, Tensor], Tensor], sizes_a: Tensor, sizes_b: Tensor) -> Estimate:
    """A figure of the kept groups of both sets, with the variances of leaving out a group of either."""
    all_a, all_b = torch.ones_like(sizes_a), torch.ones_like(sizes_b)
    without_a = [estimate(keep, all_b) for keep in 1 - all_a.diag()]
    without_b = [estimate(all_a, keep) for keep in 1 - all_b.diag()]
    variance = jackknife_variance(torch.stack(without_a)) + jackknife_variance(torch.stack(without_b))
    return Estimate(estimate(all_a, all_b).item(), variance**0.5)


def _moments(x: Float[Tensor, "rows features"]) -> Moments:
    member = _membership(x)
    outer = torch.stack([x[chosen].T @ x[chosen] for chosen in member.T.bool()])
    return Moments(member.sum(0), member.T @ x, outer)


def _membership(x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows groups"]:
    """Which jackknife group each row is in, one-hot, with two rows or more in a group."""
    return one_hot(groups(len(x), min(GROUPS, len(x) // 2))).to(x.dtype)


def _pair_sums(a: Tensor, member_a: Tensor, b: Tensor, member_b: Tensor) -> Float[Tensor, "groups_a groups_b"]:
    """Sums of the kernel over the pairs of each two groups, `CHUNK` rows of `a` at a time."""
    chunks = zip(a.split(CHUNK), member_a.split(CHUNK), strict=True)
    products = (member.T @ _kernel(rows @ b.T / a.shape[1]) @ member_b for rows, member in chunks)
    return torch.stack(list(products)).sum(0)


def _self_sums(x: Tensor, member: Tensor) -> Float[Tensor, "groups groups"]:
    """The share of the pair sums that comes from rows paired with themselves."""
    return (member.T @ _kernel(x.square().sum(1) / x.shape[1])).diag()


def _kernel(product: Tensor) -> Tensor:
    return (product + 1) ** 3


def _checked(a: Tensor, b: Tensor, *, least: int) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Two sets of features are matrices of equal width, but got shapes {tuple(a.shape)} and {tuple(b.shape)}."
        )
    if min(len(a), len(b)) < least:
        raise ValueError(f"A distance needs at least {least} rows in each set, but got {len(a)} and {len(b)}.")
    return a.detach().to("cpu", torch.float64), b.detach().to("cpu", torch.float64)
