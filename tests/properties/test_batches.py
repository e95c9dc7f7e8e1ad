"""Batches are a function of (seed, step), whatever the sizes, and their noise has the law it claims."""

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erg.data import batches
from erg.errors import UserError
from erg.support import Binary, Box, Real

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: (max(pair), min(pair)))
seeds = st.integers(0, 2**63 - 1)


def numbered(n: int) -> torch.Tensor:
    """Rows that know their number."""
    return torch.arange(n, dtype=torch.float32).reshape(n, 1)


def take(iterator, k: int) -> list[torch.Tensor]:
    return list(islice(iterator, k))


@settings(deadline=None, max_examples=50)
@given(sizes, seeds, st.integers(0, 100), st.booleans())
def test_a_batch_depends_on_seed_and_step_only(size, seed, start, noisy):
    n, batch_size = size
    noise = {"noise": 0.5 * noisy, "support": Real()}
    from_the_start = take(batches(numbered(n), batch_size, seed=seed, **noise), start + 3)
    resumed = take(batches(numbered(n), batch_size, seed=seed, start=start, **noise), 3)
    for one, other in zip(from_the_start[start:], resumed, strict=True):
        assert torch.equal(one, other)


@settings(deadline=None, max_examples=50)
@given(sizes, seeds, st.integers(0, 5))
def test_an_epoch_has_no_row_twice_and_batches_do_not_straddle(size, seed, epoch):
    n, batch_size = size
    per_epoch = n // batch_size
    rows = torch.cat(take(batches(numbered(n), batch_size, seed=seed, start=epoch * per_epoch), per_epoch))
    assert rows.shape == (per_epoch * batch_size, 1)
    assert len(rows.unique()) == len(rows)


@settings(deadline=None, max_examples=25)
@given(sizes, seeds, st.booleans())
def test_labels_stay_with_their_rows(size, seed, noisy):
    n, batch_size = size
    pairs = batches(numbered(n), batch_size, seed=seed, labels=torch.arange(n), noise=1e-3 * noisy, support=Real())
    for x, y in take(pairs, 5):
        assert torch.equal(x.squeeze(1).round().long(), y)


def test_labels_do_not_change_the_rows():
    plain = take(batches(numbered(20), 4, seed=3), 12)
    paired = take(batches(numbered(20), 4, seed=3, labels=torch.zeros(20, dtype=torch.long)), 12)
    assert all(torch.equal(x, other) for x, (other, _) in zip(plain, paired, strict=True))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [
        tuple(next(batches(numbered(50), 50, seed=seed, start=epoch)).flatten().tolist())
        for seed in range(20)
        for epoch in range(20)
    ]
    assert len(set(orders)) == 400


def test_no_two_draws_share_their_noise():
    x = torch.zeros(8, 4)
    draws = [
        tuple(batch.flatten().tolist())
        for seed in (0, 1, 2**32, 2**32 + 1, 2**63)
        for batch in take(batches(x, 8, seed=seed, noise=0.1), 40)
    ]
    assert len(set(draws)) == 200


def test_every_row_comes_up_over_epochs_even_when_the_last_do_not_fill_a_batch():
    rows = torch.cat(take(batches(numbered(10), 4, seed=0), 40))
    assert len(rows.unique()) == 10


def test_the_callers_random_state_and_data_are_left_alone():
    x, state = torch.zeros(6, 2), torch.get_rng_state()
    take(batches(x, 3, seed=0, noise=0.3, dequantise=True), 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, torch.zeros(6, 2))


def test_noise_has_the_scale_asked_for():
    x = torch.zeros(20_000, 2)
    noisy = next(batches(x, 20_000, seed=5, noise=0.2))
    # The standard error of a standard deviation from m normal draws is sigma / sqrt(2 m).
    assert abs(noisy.std() - 0.2) < 5 * 0.2 / (2 * noisy.numel()) ** 0.5
    assert abs(noisy.mean()) < 5 * 0.2 / noisy.numel() ** 0.5


def test_noise_is_cut_at_the_faces_of_a_box_and_nowhere_on_the_reals():
    x = torch.ones(4000, 1)
    assert next(batches(x, 4000, seed=0, noise=0.1)).max() == 1
    assert next(batches(x, 4000, seed=0, noise=0.1, support=Real())).max() > 1.2


@pytest.mark.parametrize("box", [Box(-1.0, 1.0), Box(0.0, 3.0)])
def test_dequantised_levels_fill_their_own_share_of_the_box_and_no_other(box):
    levels = torch.arange(256).repeat(100)
    x = box.low + levels[:, None] / 255 * (box.high - box.low)
    spread, y = next(batches(x, len(x), seed=0, dequantise=True, support=box, labels=levels))
    share = (spread.squeeze(1).double() - box.low) / (box.high - box.low) * 256 - y
    assert share.min() > -1e-4 and share.max() < 1 + 1e-4
    # Uniform on [0, 1): mean 1/2 and variance 1/12, whose own standard error is sqrt(1/180 / m).
    assert abs(share.mean() - 0.5) < 5 * (1 / 12 / len(x)) ** 0.5
    assert abs(share.var() - 1 / 12) < 5 * (1 / 180 / len(x)) ** 0.5


def test_too_few_rows_are_refused_with_the_size_that_fits():
    with pytest.raises(UserError, match="set the batch size to 7 or less"):
        batches(numbered(7), 8, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"start": -1}, "start >= 0"),
        ({"seed": -1}, "seed >= 0"),
        ({"noise": -0.1}, "zero or positive"),
        ({"noise": float("nan")}, "zero or positive"),
        ({"noise": 0.1, "support": Binary()}, "Box or Real"),
        ({"dequantise": True, "support": Real()}, "grey levels on a Box"),
        ({"noise": 0.1, "support": Box(-1.0, -0.5)}, "some do not"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "one label per row"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        batches(torch.zeros(10, 2), **{"batch_size": 2, "seed": 0} | options)
