r"""Does the energy tell outliers from inliers? Higher means outlier, always.

AUROC is the probability that an outlier has the higher energy, ties counted half:

.. math:: \mathrm{AUROC} = P(E_{out} > E_{in}) + \tfrac12 P(E_{out} = E_{in}).

AUPR takes outliers as what is to be found. FPR at 95 % TPR follows the out-of-distribution literature:
of the thresholds that accept 95 % of the inliers, the lowest; the figure is the share of outliers that
it accepts too. All are sorts, not loops over pairs: 100,000 scores take a fraction of a second.

References:
    DeLong, DeLong & Clarke-Pearson (1988), Comparing the areas under two or more correlated receiver
    operating characteristic curves: a nonparametric approach, doi:10.2307/2531595
    Liu et al. (2020), Energy-based out-of-distribution detection, arXiv:2010.03759
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from erg.estimate import Estimate
from erg.evaluation.resampling import bootstrap_counts


def auroc(inlier: Float[Tensor, " inliers"], outlier: Float[Tensor, " outliers"]) -> Estimate:
    """The probability that an outlier has the higher energy, with DeLong's error.

    Raises:
        ValueError: If a side has fewer than two energies, or one is NaN.
    """
    inlier, outlier = _checked(inlier, outlier)
    below = _share_below(inlier, outlier)
    above = 1 - _share_below(outlier, inlier)
    variance = below.var() / len(outlier) + above.var() / len(inlier)
    return Estimate(below.mean().item(), variance.sqrt().item())


def aupr(inlier: Float[Tensor, " inliers"], outlier: Float[Tensor, " outliers"]) -> Estimate:
    """Average precision of finding the outliers from the highest energy down, with a bootstrap error.

    Chance reaches the share of outliers among all, not 0.5.

    Raises:
        ValueError: If a side has fewer than two energies, or one is NaN.
    """
    inlier, outlier = _checked(inlier, outlier)
    levels, place = torch.cat([inlier, outlier]).unique(return_inverse=True)
    place = len(levels) - 1 - place
    at_inlier, at_outlier = place.split([len(inlier), len(outlier)])

    def precision(weight_in: Tensor, weight_out: Tensor) -> Tensor:
        wrong = torch.zeros(len(levels), dtype=torch.float64).index_add_(0, at_inlier, weight_in).cumsum(0)
        hits = torch.zeros(len(levels), dtype=torch.float64).index_add_(0, at_outlier, weight_out)
        right = hits.cumsum(0)
        return (hits * right / (right + wrong).clamp(min=1)).sum() / len(outlier)

    return _with_bootstrap_error(precision, len(inlier), len(outlier))


def fpr_at_tpr(
    inlier: Float[Tensor, " inliers"], outlier: Float[Tensor, " outliers"], *, tpr: float = 0.95
) -> Estimate:
    """The share of outliers accepted by the lowest threshold that accepts `tpr` of the inliers.

    With a bootstrap error.

    Raises:
        ValueError: If `tpr` is not in (0, 1], a side has fewer than two energies, or one is NaN.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr is a share in (0, 1], but got {tpr}.")
    inlier, outlier = (side.sort().values for side in _checked(inlier, outlier))
    accepted_with = torch.searchsorted(outlier, inlier, right=True)

    def accepted(weight_in: Tensor, weight_out: Tensor) -> Tensor:
        # A hair of slack: 0.95 of 20 rows must not miss 19 by rounding.
        last = torch.searchsorted(weight_in.cumsum(0), tpr * len(inlier) - 1e-6).clamp(max=len(inlier) - 1)
        return weight_out[: accepted_with[last]].sum() / len(outlier)

    return _with_bootstrap_error(accepted, len(inlier), len(outlier))


def _share_below(scores: Float[Tensor, " scores"], at: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    """The share of `scores` below each point, ties counted half."""
    ordered = scores.sort().values
    below = torch.searchsorted(ordered, at) + torch.searchsorted(ordered, at, right=True)
    return below.double() / (2 * len(scores))


def _with_bootstrap_error(figure: Callable[[Tensor, Tensor], Tensor], inliers: int, outliers: int) -> Estimate:
    ones = torch.ones(inliers, dtype=torch.float64), torch.ones(outliers, dtype=torch.float64)
    draws = torch.stack([figure(*weights) for weights in bootstrap_counts(inliers, outliers)])
    return Estimate(figure(*ones).item(), draws.std().item())


def _checked(inlier: Tensor, outlier: Tensor) -> tuple[Tensor, Tensor]:
    for name, side in (("inlier", inlier), ("outlier", outlier)):
        if len(side) < 2 or side.isnan().any():
            raise ValueError(
                f"A detection figure needs two or more {name} energies that are numbers, but got {len(side)}, "
                f"{int(side.isnan().sum())} of them NaN; leave those out and say so."
            )
    return inlier.detach().double().cpu(), outlier.detach().double().cpu()
