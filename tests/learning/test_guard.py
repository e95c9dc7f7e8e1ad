"""Planted divergences: training recovers and learns as much as if nothing had happened, or stops cleanly."""

import pytest

from benchmarks.faults import FAULTS, NONE, UNRECOVERABLE, run

QUICK = {"one batch of NaN", "weights x1000", "learning rate x1000 from update 300"}


@pytest.fixture(scope="module")
def undisturbed():
    return run(NONE, guarded=False)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.name, marks=[] if fault.name in QUICK else [pytest.mark.slow]) for fault in FAULTS],
)
def test_training_recovers(fault, undisturbed):
    outcome = run(fault)
    assert not outcome.stopped
    assert outcome.gain >= 0.9 * undisturbed.gain


def test_training_stops_cleanly_when_every_batch_is_bad():
    (fault,) = UNRECOVERABLE
    outcome = run(fault)
    assert "batches in a row could not be used" in outcome.stopped
    assert outcome.gain == outcome.gain  # the weights that are left in place are finite


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_run_is_left_alone(seed):
    guarded, alone = run(NONE, seed=seed), run(NONE, seed=seed, guarded=False)
    assert guarded.recoveries == guarded.skips == 0
    assert guarded.gain == alone.gain


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["weights x1000", "learning rate x1000 from update 300", "all chains in a corner"])
def test_the_same_divergences_are_fatal_without_the_guard(fault, undisturbed):
    (planted,) = [each for each in FAULTS if each.name == fault]
    assert not run(planted, guarded=False).gain >= 0.9 * undisturbed.gain
