"""Laws of the figures, for any input that hypothesis finds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erg.evaluation.coverage import class_kl, mean_confidence
from erg.evaluation.detection import aupr, auroc, fpr_at_tpr
from erg.evaluation.memorisation import nearest_distances
from erg.evaluation.shifts import shifted
from erg.evaluation.two_sample import frechet_distance, kernel_distance

scores = st.lists(st.integers(-20, 20), min_size=2, max_size=30).map(lambda xs: torch.tensor(xs, dtype=torch.float64))
seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@few
@given(scores, scores)
def test_exchanging_the_sides_reverses_auroc(inlier, outlier):
    forth, back = auroc(inlier, outlier), auroc(outlier, inlier)
    assert forth.value + back.value == pytest.approx(1)
    assert forth.standard_error == pytest.approx(back.standard_error)


@few
@given(scores, scores)
def test_detection_depends_on_the_order_only(inlier, outlier):
    for figure in (auroc, aupr, fpr_at_tpr):
        # Cubes of whole numbers are exact, so that ties stay ties.
        plain, bent = figure(inlier, outlier), figure(inlier**3 - 7, outlier**3 - 7)
        assert plain.value == pytest.approx(bent.value)
        assert 0 <= plain.value <= 1 + 1e-12


@few
@given(seeds, st.integers(6, 40), st.integers(6, 40))
def test_distances_are_symmetric_and_ignore_the_order_of_rows(seed, n, m):
    a, b = normal(seed, n, 4), normal(seed + 1, m, 4) * 1.5 + 0.3
    for distance in (frechet_distance, kernel_distance):
        there = distance(a, b).value
        assert distance(b, a).value == pytest.approx(there, rel=1e-7, abs=1e-9)
        assert distance(a.flip(0), b.roll(3, 0)).value == pytest.approx(there, rel=1e-7, abs=1e-9)
    assert frechet_distance(a, b).value >= -1e-9


@few
@given(seeds, st.floats(0.1, 10))
def test_frechet_ignores_rotation_and_origin_and_scales_with_the_square(seed, scale):
    a, b = normal(seed, 30, 4), normal(seed + 1, 25, 4) + 1
    rotation = torch.linalg.qr(normal(seed + 2, 4, 4)).Q
    moved = frechet_distance(scale * a @ rotation + 100, scale * b @ rotation + 100)
    plain = frechet_distance(a, b)
    assert moved.value == pytest.approx(scale**2 * plain.value, rel=1e-6)
    assert moved.standard_error == pytest.approx(scale**2 * plain.standard_error, rel=1e-5)


@few
@given(seeds, st.integers(2, 12), st.integers(2, 50))
def test_coverage_stays_on_its_scale(seed, classes, rows):
    probabilities = (3 * normal(seed, rows, classes)).softmax(1)
    kl = class_kl(probabilities)
    assert -1e-12 <= kl.value <= math.log(classes)
    assert class_kl(probabilities.flip(0).roll(1, 1)).value == pytest.approx(kl.value)
    assert 1 / classes <= mean_confidence(probabilities).value <= 1


@few
@given(seeds, st.integers(1, 20), st.integers(1, 20))
def test_a_training_row_among_the_samples_has_distance_zero(seed, n, m):
    samples, train = normal(seed, n, 3).float(), normal(seed + 1, m, 3).float()
    distances = nearest_distances(torch.cat([samples, train[:1]]), train)
    assert distances[-1] == 0 and (distances >= 0).all()
    more = nearest_distances(samples, torch.cat([train, normal(seed + 2, 5, 3).float()]))
    assert (more <= distances[:-1] + 1e-6).all()


@few
@given(seeds, st.integers(4, 17), st.integers(4, 17), st.sampled_from([1, 3]))
def test_shifts_keep_their_input_and_treat_rows_alone(seed, height, width, channels):
    x = normal(seed, 3, channels, height, width).clamp(-1, 1).float()
    before = x.clone()
    together, alone = shifted(x), shifted(x[1:2])
    assert torch.equal(x, before)
    for name in ("blurred", "flipped", "shrunk"):
        torch.testing.assert_close(together[name][1:2], alone[name])
