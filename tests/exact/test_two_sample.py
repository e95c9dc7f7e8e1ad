"""Distances between two sets of features, against closed forms, scipy and loops over pairs."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from erg.evaluation.two_sample import floor, frechet_distance, kernel_distance


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated(rows: int, seed: int, *, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    """Gaussian rows with a fixed dense covariance, times `scale`, moved by `shift`."""
    mixing = torch.randn(5, 5, generator=rng(77), dtype=torch.float64)
    return torch.randn(rows, 5, generator=rng(seed), dtype=torch.float64) @ mixing * scale + shift


class TestFrechet:
    def test_against_the_square_root_of_the_product(self):
        a, b = correlated(300, 1).numpy(), correlated(400, 2, shift=0.3, scale=1.7).numpy()
        cov_a, cov_b = np.cov(a.T), np.cov(b.T)
        gap = a.mean(0) - b.mean(0)
        expected = gap @ gap + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
        assert frechet_distance(torch.tensor(a), torch.tensor(b)).value == pytest.approx(expected, rel=1e-9)

    def test_scaled_and_moved_copy(self):
        # With b = s a + t the covariances commute: d^2 = |(s - 1) mean + t|^2 + (s - 1)^2 tr S.
        a = correlated(200, 3, shift=2.0)
        b = 1.5 * a + 0.7
        expected = (0.5 * a.mean(0) + 0.7).square().sum() + 0.25 * torch.cov(a.T).trace()
        assert frechet_distance(a, b).value == pytest.approx(expected.item(), rel=1e-9)

    def test_zero_for_a_set_and_itself_even_when_features_are_dependent(self):
        a = correlated(200, 4)
        dependent = torch.cat([a, a.sum(1, keepdim=True), torch.zeros(200, 2)], 1) + 1000
        assert abs(frechet_distance(dependent, dependent).value) < 1e-9

    def test_agrees_with_torchmetrics(self):
        from torchmetrics.image.fid import FrechetInceptionDistance

        class Flat(torch.nn.Module):
            num_features = 5

            def forward(self, x):
                return x.flatten(1)

        a, b = correlated(300, 5), correlated(300, 6, shift=0.2)
        peer = FrechetInceptionDistance(feature=Flat(), normalize=False).set_dtype(torch.float64)
        peer.update(a[:, :, None, None], real=True)
        peer.update(b[:, :, None, None], real=False)
        assert frechet_distance(a, b).value == pytest.approx(peer.compute().item(), rel=1e-6)

    def test_error_is_the_spread_over_repeats(self):
        pairs = [(correlated(200, 10 + i), correlated(300, 500 + i, shift=0.5, scale=1.3)) for i in range(100)]
        far = [frechet_distance(a, b) for a, b in pairs]
        spread = np.std([one.value for one in far], ddof=1)
        assert np.mean([one.standard_error for one in far]) == pytest.approx(spread, rel=0.2)

    def test_floor_is_at_equal_n(self):
        train, held_out = correlated(500, 7), correlated(300, 8)
        assert floor(train, held_out, 100) == frechet_distance(held_out[:100], train)
        assert floor(train, held_out, 100).value > floor(train, held_out, 300).value
        with pytest.raises(ValueError, match="held-out rows"):
            floor(train, held_out, 301)

    @pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
    def test_refuses_other_shapes(self, distance):
        with pytest.raises(ValueError, match="equal width"):
            distance(torch.zeros(10, 3), torch.zeros(10, 4))
        with pytest.raises(ValueError, match="rows in each set"):
            distance(torch.zeros(2, 3), torch.zeros(10, 3))


class TestKernelDistance:
    def test_against_all_pairs(self):
        a, b = correlated(23, 1), correlated(31, 2, shift=0.4)

        def kernel(x, y):
            return float((x @ y / 5 + 1) ** 3)

        same_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
        same_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
        between = np.mean([kernel(x, y) for x in a for y in b])
        assert kernel_distance(a, b).value == pytest.approx(same_a + same_b - 2 * between, rel=1e-9)

    def test_unbiased_for_one_law_at_small_n(self):
        pairs = [(correlated(20, 2 * i), correlated(30, 2 * i + 1)) for i in range(300)]
        values = torch.tensor([kernel_distance(a, b).value for a, b in pairs])
        assert abs(values.mean()) < 4 * values.std() / 300**0.5

    def test_error_is_the_spread_over_repeats(self):
        far = [kernel_distance(correlated(150, i), correlated(200, 900 + i, shift=1.0)) for i in range(100)]
        spread = np.std([one.value for one in far], ddof=1)
        assert np.mean([one.standard_error for one in far]) == pytest.approx(spread, rel=0.2)
