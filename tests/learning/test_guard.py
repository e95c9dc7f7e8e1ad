"""Planted divergences: training recovers and learns as much as if nothing had happened, or stops cleanly."""

import functools

import pytest

from benchmarks.faults import FAULTS, NONE, UNRECOVERABLE, run

BY_NAME = {fault.name: fault for fault in FAULTS}


@functools.cache
def undisturbed(steps):
    return run(NONE, guarded=False, steps=steps)


@pytest.mark.parametrize("name", ["weights x1000", "learning rate x1000 from update 300"])
def test_a_shorter_training_recovers(name):
    outcome = run(BY_NAME[name], steps=600)
    assert outcome.recoveries > 0 and not outcome.stopped
    assert outcome.gain >= 0.9 * undisturbed(600).gain


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_training_recovers(name):
    outcome = run(BY_NAME[name])
    assert not outcome.stopped
    assert outcome.gain >= 0.9 * undisturbed(1000).gain


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
@pytest.mark.parametrize("name", ["weights x1000", "learning rate x1000 from update 300", "NaN in one weight"])
def test_the_same_divergences_are_fatal_without_the_guard(name):
    assert not run(BY_NAME[name], guarded=False).gain >= 0.9 * undisturbed(1000).gain
