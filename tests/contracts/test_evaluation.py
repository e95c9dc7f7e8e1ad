"""The contract of `assess`: every figure that fits the data, numerical trouble as data, nothing changed."""

import json
import math

import pytest
import torch
from torch import Tensor, nn

from erg.data import load
from erg.errors import UserError
from erg.evaluation.assess import assess, energies
from erg.evaluation.assessment import with_goals
from erg.evaluation.detection import auroc
from erg.evaluation.features import classifier_for
from erg.evaluation.names import JUDGED, METRICS

CLASSIFIER = {"frechet_distance", "kernel_distance", "class_kl", "confidence", "confidence_held_out"}
RAW = {"frechet_distance/raw", "kernel_distance/raw"}
IMAGES = {"auroc/blurred", "auroc/flipped", "auroc/shrunk"}
ALWAYS = {
    "nearest_train_distance",
    "nearest_train_distance_held_out",
    "auroc/noise",
    "energy/train",
    "energy/held_out",
    "energy/samples",
    "energy/noise",
    "non_finite",
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1) / 2


class Dropping(nn.Module):
    """An energy that shows whether it was called in training mode, and by how many rows at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.frozen = nn.Parameter(torch.tensor(1.0), requires_grad=False)
        self.modes: list[bool] = []
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training or torch.is_grad_enabled())
        self.rows.append(len(x))
        return self.scale * self.frozen * x.flatten(1).square().sum(1)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def on_digits(digits, energy=square, samples=None, seed=1):
    samples = digits.train.x[:200] if samples is None else samples
    return assess(energy, samples, train=digits.train.x, held_out=digits.held_out.x, rng=rng(seed))


class TestNames:
    def test_digits_have_every_figure(self, digits):
        assert set(on_digits(digits).metrics) == CLASSIFIER | IMAGES | ALWAYS

    def test_pictures_that_are_no_digits_have_no_judge(self, digits):
        noise = 2 * torch.rand(80, 1, 8, 8, generator=rng()) - 1
        found = assess(square, noise[:20], train=noise[20:60], held_out=noise[60:], rng=rng())
        assert found.classifier is None
        assert set(found.metrics) == RAW | IMAGES | ALWAYS

    def test_images_of_another_shape(self):
        x = 2 * torch.rand(90, 3, 16, 12, generator=rng()) - 1
        found = assess(square, x[:30], train=x[30:60], held_out=x[60:], rng=rng())
        assert set(found.metrics) == RAW | IMAGES | ALWAYS

    def test_tables(self):
        x = torch.randn(300, 4, generator=rng())
        found = assess(square, x[:100], train=x[100:200], held_out=x[200:], rng=rng())
        assert set(found.metrics) == RAW | ALWAYS
        assert found.metrics["frechet_distance/raw"].floor is not None

    def test_rows_too_wide_for_a_distance(self):
        x = torch.randn(60, 500, generator=rng())
        found = assess(square, x[:20], train=x[20:40], held_out=x[40:], rng=rng())
        assert set(found.metrics) == ALWAYS

    def test_all_are_explained(self, digits):
        assert set(METRICS) >= CLASSIFIER | RAW | IMAGES | ALWAYS
        assert set(JUDGED) == CLASSIFIER


class TestFigures:
    def test_training_rows_as_samples_reach_the_floor(self, digits):
        metrics = on_digits(digits, samples=digits.train.x[torch.randperm(1438, generator=rng())[:359]]).metrics
        frechet = metrics["frechet_distance"]
        assert frechet.estimate.value < frechet.floor + 4 * frechet.estimate.standard_error
        assert metrics["nearest_train_distance"].estimate == (0.0, 0.0)
        assert metrics["nearest_train_distance_held_out"].estimate.value > 1

    def test_noise_as_samples_is_far_above_it(self, digits):
        metrics = on_digits(digits, samples=2 * torch.rand(200, 1, 8, 8, generator=rng()) - 1).metrics
        assert metrics["frechet_distance"].estimate.value > 20 * metrics["frechet_distance"].floor
        assert metrics["confidence"].estimate.value < 0.2

    def test_floor_does_not_depend_on_the_samples(self, digits):
        one, other = on_digits(digits), on_digits(digits, samples=digits.train.x[500:700] * 0.5)
        assert one.metrics["frechet_distance"].floor == other.metrics["frechet_distance"].floor

    def test_stored_energies_give_the_figures(self, digits):
        found = on_digits(digits)
        assert set(found.energies) == {
            "data", "held_out", "samples", "noise", "ood/blurred", "ood/flipped", "ood/shrunk",
        }  # fmt: skip
        recomputed = auroc(found.energies["held_out"], found.energies["ood/shrunk"])
        assert found.metrics["auroc/shrunk"].estimate == recomputed
        torch.testing.assert_close(found.energies["samples"], square(digits.train.x[:200]))

    def test_same_seed_same_figures(self, digits):
        assert on_digits(digits).to_json() == on_digits(digits).to_json()
        assert on_digits(digits).to_json() != on_digits(digits, seed=2).to_json()

    def test_the_judge_is_named(self, digits):
        written = json.loads(json.dumps(on_digits(digits).to_json(), allow_nan=False))
        judge = classifier_for((1, 8, 8))
        assert written["classifier"] == {"name": judge.name, "sha256": judge.sha256}
        assert written["samples"] == 200 and written["compared"] == 200 and written["held_out"] == 359


class TestTrouble:
    def test_samples_that_are_not_finite_are_counted_and_left_out(self, digits):
        samples = digits.train.x[:100].clone()
        samples[3, 0, 0, 0], samples[7] = torch.nan, torch.inf
        found, without = on_digits(digits, samples=samples), on_digits(digits, samples=samples[8:])
        assert found.metrics["non_finite"].estimate.value == 2
        assert found.samples == 100 and found.compared == 98
        assert math.isfinite(without.metrics["frechet_distance"].estimate.value)
        assert len(found.energies["samples"]) == 98

    def test_no_finite_sample(self, digits):
        found = on_digits(digits, samples=torch.full((20, 1, 8, 8), torch.nan))
        assert found.metrics["non_finite"].estimate.value == 20
        assert set(found.metrics) == IMAGES | ALWAYS - {"nearest_train_distance", "energy/samples"}
        judged = with_goals(found, {"class_kl": ("<=", 0.2)})
        assert judged.to_json()["metrics"]["class_kl"] == {
            "value": None, "standard_error": 0.0, "goal": {"op": "<=", "value": 0.2, "pass": False},
        }  # fmt: skip

    def test_an_energy_of_nothing_but_nan(self, digits):
        found = on_digits(digits, energy=lambda x: x.flatten(1).sum(1) * torch.nan)
        assert found.metrics["non_finite"].estimate.value == 200
        assert found.metrics["non_finite/held_out"].estimate.value == 359
        assert not any(name.startswith("auroc") for name in found.metrics)
        json.dumps(found.to_json(), allow_nan=False)

    def test_an_infinite_energy_of_noise_still_ranks(self, digits):
        def refuses_noise(x):
            return torch.where(x.flatten(1).mean(1) > -0.2, torch.inf, square(x))

        found = on_digits(digits, energy=refuses_noise)
        assert found.metrics["auroc/noise"].estimate.value > 0.9
        assert "energy/noise" not in found.metrics or found.metrics["non_finite/noise"].estimate.value > 300

    def test_two_samples_have_no_distances(self):
        x = torch.randn(30, 2, generator=rng())
        found = assess(square, x[:2], train=x[2:15], held_out=x[15:], rng=rng())
        assert set(found.metrics) == ALWAYS - {"nearest_train_distance"}

    @pytest.mark.parametrize("rows", [3, 27])
    def test_too_few_rows(self, rows):
        x = torch.randn(30, 2, generator=rng())
        with pytest.raises(ValueError, match="at least 4"):
            assess(square, x, train=x[:rows], held_out=x[rows:], rng=rng())

    def test_other_shapes(self, digits):
        with pytest.raises(ValueError, match="one event shape"):
            on_digits(digits, samples=torch.zeros(10, 1, 4, 4))


class TestSideEffects:
    def test_evaluation_mode_no_gradients_chunks_and_everything_restored(self, digits):
        energy = Dropping().train()
        state = torch.get_rng_state()
        on_digits(digits, energy=energy)
        assert not any(energy.modes) and max(energy.rows) <= 500
        assert energy.training and energy.scale.requires_grad and not energy.frozen.requires_grad
        assert torch.equal(torch.get_rng_state(), state)

    def test_inputs_are_left_alone(self, digits):
        samples, train = digits.train.x[:50].clone(), digits.train.x.clone()
        on_digits(digits, samples=samples)
        assert torch.equal(samples, digits.train.x[:50]) and torch.equal(train, digits.train.x)

    def test_energies_in_chunks(self):
        x = torch.randn(1203, 3, generator=rng())
        torch.testing.assert_close(energies(square, x), square(x))
        assert energies(square, x[:0]).shape == (0,)

    def test_an_energy_of_the_wrong_shape_is_refused(self):
        with pytest.raises(ValueError, match="squeeze"):
            energies(lambda x: x.sum(1, keepdim=True), torch.zeros(3, 2))


class TestGoals:
    def test_each_comparison(self, digits):
        found = on_digits(digits)
        value = found.metrics["energy/train"].estimate.value
        for comparison, bound, met in [
            ("<=", value, True), ("<", value, False), (">=", value, True), (">", value, False),
            ("<=", value - 1, False), (">=", value - 1, True),
        ]:  # fmt: skip
            judged = with_goals(found, {"energy/train": (comparison, bound)})
            goal = judged.to_json()["metrics"]["energy/train"]["goal"]
            assert goal == {"op": comparison, "value": bound, "pass": met}

    def test_goals_change_no_figure(self, digits):
        found = on_digits(digits)
        judged = with_goals(found, {"confidence": (">=", 0.8)})
        assert found.metrics["confidence"].goal is None
        assert judged.metrics["confidence"].estimate == found.metrics["confidence"].estimate

    def test_unknown_names_and_comparisons(self, digits):
        found = on_digits(digits)
        with pytest.raises(UserError, match="'confidense'"):
            with_goals(found, {"confidense": (">=", 0.8)})
        with pytest.raises(UserError, match="'=='"):
            with_goals(found, {"confidence": ("==", 0.8)})
