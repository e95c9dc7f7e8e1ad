"""Features, coverage, memorisation and shifts, against formulas written another way."""

import hashlib
import os
from importlib.resources import files

import numpy as np
import pytest
import torch

from erg.data import load
from erg.evaluation import memorisation
from erg.evaluation.coverage import class_kl, mean_confidence
from erg.evaluation.features import NAMES, classifier_for
from erg.evaluation.memorisation import nearest_distance, nearest_distances
from erg.evaluation.shifts import shifted


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestFeatures:
    @pytest.mark.parametrize("shape", NAMES)
    def test_hash_is_that_of_the_file(self, shape):
        content = files("erg.evaluation").joinpath(f"{NAMES[shape]}.safetensors").read_bytes()
        assert classifier_for(shape).sha256 == hashlib.sha256(content).hexdigest()
        assert len(content) < 600_000

    def test_recognises_held_out_digits(self):
        held_out = load("digits").held_out
        right = classifier_for((1, 8, 8)).probabilities(held_out.x).argmax(1) == held_out.y
        assert right.double().mean() > 0.97

    @pytest.mark.skipif("ERG_DATA" not in os.environ, reason="needs MNIST under ERG_DATA")
    def test_recognises_mnist(self):
        held_out = load("mnist").held_out
        right = classifier_for((1, 28, 28)).probabilities(held_out.x).argmax(1) == held_out.y
        assert right.double().mean() > 0.985

    @pytest.mark.parametrize("shape", NAMES)
    def test_is_unsure_about_noise(self, shape):
        noise = 2 * torch.rand(500, *shape, generator=rng()) - 1
        assert mean_confidence(classifier_for(shape).probabilities(noise)).value < 0.2

    def test_rows_do_not_see_each_other(self):
        x = load("digits").held_out.x[:30]
        classifier = classifier_for((1, 8, 8))
        alone = torch.cat([classifier.features(row[None]) for row in x])
        torch.testing.assert_close(classifier.features(x), alone)

    def test_loading_leaves_the_random_numbers_alone(self):
        classifier_for.cache_clear()
        torch.manual_seed(1)
        before = torch.get_rng_state()
        classifier_for((1, 8, 8))
        assert torch.equal(torch.get_rng_state(), before)

    def test_other_shapes(self):
        assert classifier_for((3, 32, 32)) is None
        with pytest.raises(ValueError, match="shape"):
            classifier_for((1, 8, 8)).features(torch.zeros(2, 1, 28, 28))


class TestCoverage:
    def test_kl_of_a_known_mixture(self):
        rows = torch.eye(4)[[0, 0, 0, 0, 0, 1, 1, 2]]
        p = np.array([5, 2, 1]) / 8
        assert class_kl(rows).value == pytest.approx((p * np.log(4 * p)).sum(), rel=1e-12)

    def test_ends_of_the_scale(self):
        assert class_kl(torch.eye(10).repeat(5, 1)).value == pytest.approx(0, abs=1e-12)
        assert class_kl(torch.eye(10)[[3] * 20]).value == pytest.approx(np.log(10))

    def test_error_is_the_spread_over_repeats(self):
        weights = torch.tensor([5.0, 3, 1, 1])

        def once(i):
            labels = torch.multinomial(weights, 200, replacement=True, generator=rng(i))
            return class_kl(torch.eye(4)[labels])

        repeats = [once(i) for i in range(80)]
        spread = np.std([one.value for one in repeats], ddof=1)
        assert np.mean([one.standard_error for one in repeats]) == pytest.approx(spread, rel=0.2)

    def test_mean_confidence(self):
        confidence = mean_confidence(torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]]))
        assert confidence.value == pytest.approx(2 / 3)
        assert confidence.standard_error == pytest.approx(np.std([0.7, 0.8, 0.5], ddof=1) / 3**0.5)

    def test_refuses_logits(self):
        with pytest.raises(ValueError, match="softmax"):
            class_kl(torch.randn(10, 4, generator=rng()))


class TestMemorisation:
    def test_against_every_pair(self, monkeypatch):
        samples, train = torch.randn(17, 2, 3, generator=rng(1)), torch.randn(41, 2, 3, generator=rng(2))
        expected = torch.stack([(train - row).flatten(1).norm(dim=1).min() for row in samples]).double()
        torch.testing.assert_close(nearest_distances(samples, train), expected, rtol=1e-6, atol=0)
        monkeypatch.setattr(memorisation, "ENTRIES", 100)
        torch.testing.assert_close(nearest_distances(samples, train), expected, rtol=1e-6, atol=0)
        assert nearest_distance(samples, train).value == pytest.approx(expected.mean().item(), rel=1e-6)

    def test_a_copy_has_distance_zero(self):
        train = torch.rand(50, 1, 28, 28, generator=rng()) * 2 - 1
        assert nearest_distance(train[10:20], train) == (0.0, 0.0)

    def test_refuses_other_shapes(self):
        with pytest.raises(ValueError, match="event shape"):
            nearest_distance(torch.zeros(3, 4), torch.zeros(3, 5))


class TestShifts:
    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12), (1, 28, 28)])
    def test_images_keep_shape_and_range(self, shape):
        x = torch.rand(6, *shape, generator=rng()) * 2 - 1
        versions = shifted(x, rng(1))
        assert list(versions) == ["noise", "blurred", "flipped", "shrunk"]
        for version in versions.values():
            assert version.shape == x.shape and version.dtype == x.dtype
            assert version.abs().max() <= 1
            assert not torch.equal(version, x)

    def test_noise_is_uniform_and_follows_the_seed(self):
        x = torch.zeros(400, 1, 8, 8)
        noise = shifted(x, rng(1))["noise"]
        assert torch.equal(noise, shifted(x, rng(1))["noise"])
        # Variance 1/3; 25,600 entries.
        assert abs(noise.mean()) < 5 * (1 / 3 / 25_600) ** 0.5
        assert noise.var().item() == pytest.approx(1 / 3, rel=0.03)

    def test_blur_is_the_product_of_two_gaussians(self):
        x = torch.full((1, 1, 28, 28), -1.0)
        x[0, 0, 14, 14] = 1
        offsets = torch.arange(28.0) - 14
        row = torch.exp(-(offsets**2) / 8) * (offsets.abs() <= 6)
        row = row / row.sum()
        torch.testing.assert_close(shifted(x)["blurred"][0, 0], 2 * row.outer(row) - 1, atol=1e-6, rtol=0)

    def test_flip_mirrors_left_and_right(self):
        x = torch.rand(2, 1, 8, 8, generator=rng())
        assert torch.equal(shifted(x)["flipped"][:, :, 2, 1], x[:, :, 2, 6])

    def test_shrinking_keeps_a_quarter_of_the_ink_in_the_middle(self):
        x = torch.full((1, 1, 28, 28), -1.0)
        x[:, :, 6:22, 8:20] = 1
        small = shifted(x)["shrunk"]
        ink, less = (x + 1).sum(), (small + 1).sum()
        assert less.item() == pytest.approx(ink.item() / 4, rel=0.02)
        assert (small[:, :, :7] == -1).all() and (small[:, :, 21:] == -1).all()
        assert small[0, 0, 14, 14] == 1

    def test_rows_of_a_table_give_noise_in_the_range_of_each_column(self):
        x = torch.randn(500, 3, generator=rng()) * torch.tensor([1.0, 10.0, 0.0]) + 5
        versions = shifted(x, rng(1))
        assert list(versions) == ["noise"]
        assert (versions["noise"] >= x.amin(0)).all() and (versions["noise"] <= x.amax(0)).all()
        assert versions["noise"][:, 1].std() > 5
