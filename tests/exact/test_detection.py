"""Detection figures, against loops over pairs and thresholds, and against scikit-learn."""

import time

import numpy as np
import pytest
import torch

from erg.evaluation.detection import aupr, auroc, fpr_at_tpr


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairwise_auroc(inlier: torch.Tensor, outlier: torch.Tensor) -> float:
    gap = outlier[:, None] - inlier[None]
    return ((gap > 0).double() + 0.5 * (gap == 0).double()).mean().item()


class TestDetection:
    def test_auroc_counts_pairs_and_halves_ties(self):
        inlier = torch.randint(0, 6, (70,), generator=rng(1)).double()
        outlier = torch.randint(2, 9, (50,), generator=rng(2)).double()
        assert auroc(inlier, outlier).value == pytest.approx(pairwise_auroc(inlier, outlier), rel=1e-12)
        assert auroc(outlier, inlier).value == pytest.approx(1 - pairwise_auroc(inlier, outlier), rel=1e-12)

    def test_higher_energy_is_the_outlier(self):
        inlier, outlier = torch.tensor([0.0, 1, 2]), torch.tensor([3.0, 4, 5, torch.inf])
        assert auroc(inlier, outlier) == (1.0, 0.0)
        assert aupr(inlier, outlier).value == 1.0
        assert fpr_at_tpr(inlier, outlier).value == 0.0

    def test_against_scikit_learn_with_ties(self):
        from sklearn.metrics import average_precision_score, roc_auc_score

        inlier = torch.randn(300, generator=rng(3)).round(decimals=1)
        outlier = (torch.randn(200, generator=rng(4)) + 1).round(decimals=1)
        truth, scores = np.r_[np.zeros(300), np.ones(200)], torch.cat([inlier, outlier]).numpy()
        assert auroc(inlier, outlier).value == pytest.approx(roc_auc_score(truth, scores), rel=1e-12)
        expected = average_precision_score(truth, scores)
        assert aupr(inlier, outlier).value == pytest.approx(expected, rel=1e-12)

    def test_fpr_at_tpr_by_trying_every_threshold(self):
        inlier = torch.randint(0, 30, (40,), generator=rng(5)).double()
        outlier = torch.randint(10, 50, (60,), generator=rng(6)).double()
        for tpr in (0.5, 0.9, 0.95, 1.0):
            thresholds = [t for t in inlier.unique() if (inlier <= t).double().mean() >= tpr - 1e-12]
            expected = min((outlier <= t).double().mean().item() for t in thresholds)
            assert fpr_at_tpr(inlier, outlier, tpr=tpr).value == pytest.approx(expected)

    @pytest.mark.parametrize("figure", [auroc, aupr, fpr_at_tpr])
    def test_error_is_the_spread_over_repeats(self, figure):
        def once(i):
            return figure(torch.randn(150, generator=rng(i)), torch.randn(100, generator=rng(5000 + i)) + 1)

        repeats = [once(i) for i in range(80)]
        spread = np.std([one.value for one in repeats], ddof=1)
        assert np.mean([one.standard_error for one in repeats]) == pytest.approx(spread, rel=0.25)

    def test_100_000_scores_take_less_than_a_second(self):
        inlier, outlier = torch.randn(50_000, generator=rng(1)), torch.randn(50_000, generator=rng(2)) + 1
        started = time.perf_counter()
        estimate = auroc(inlier, outlier)
        assert time.perf_counter() - started < 1
        # Two Gaussians a standard deviation apart: Phi(1 / sqrt 2).
        assert abs(estimate.value - 0.7602499) < 4 * estimate.standard_error < 0.01

    @pytest.mark.parametrize("figure", [auroc, aupr, fpr_at_tpr])
    def test_refuses_nan(self, figure):
        with pytest.raises(ValueError, match="1 of them NaN"):
            figure(torch.tensor([0.0, 1.0]), torch.tensor([torch.nan, 1.0]))

    def test_refuses_a_tpr_that_is_no_share(self):
        with pytest.raises(ValueError, match="share"):
            fpr_at_tpr(torch.zeros(3), torch.zeros(3), tpr=95)
