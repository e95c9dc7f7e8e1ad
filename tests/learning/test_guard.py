"""Planted divergences: training recovers and learns as much as if nothing had happened, or stops cleanly."""

import functools
import itertools

import pytest
import torch

from benchmarks.faults import FAULTS, NONE, UNRECOVERABLE, run
from erg.data import batches, load
from erg.energies import Neural
from erg.negatives import Persistent
from erg.networks import ConvNet
from erg.objectives import Magnitude, MaximumLikelihood
from erg.samplers import sgld
from erg.support import Box
from erg.training import train
from erg.training.guard import Guard

BY_NAME = {fault.name: fault for fault in FAULTS}


@functools.cache
def undisturbed(steps):
    return run(NONE, guarded=False, steps=steps)


def test_a_shorter_training_recovers():
    outcome = run(BY_NAME["weights x1000"], steps=450)
    assert outcome.recoveries > 0 and not outcome.stopped
    # Undisturbed, 450 updates gain 1.27 to 1.29 with seeds 0 to 2, and disturbed without the guard below -1e9.
    assert outcome.gain >= 0.9 * 1.28


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
@pytest.mark.parametrize(("learning_rate", "seed"), [(1e-3, 1), (3e-3, 2)])
def test_the_image_recipe_is_left_alone(learning_rate, seed, rng):
    torch.manual_seed(seed)
    digits = load("digits")
    energy = Neural(ConvNet(digits.shape, channels=(16, 32, 32)), support=Box(-1.0, 1.0))
    optimizer = torch.optim.Adam(energy.parameters(), learning_rate, betas=(0.0, 0.999))
    chains = Persistent(sgld(10.0, 0.005, clip=0.03, box=(-1.0, 1.0)), 5, size=1024)
    objective = MaximumLikelihood(chains, {"magnitude": (0.1, Magnitude())})
    guard = Guard(energy=energy, optimizer=optimizer, objective=objective, rng=rng)
    data = itertools.islice(batches(digits.train.x, 32, seed=seed, noise=0.03), 1000)
    assert sum(1 for _ in guard.watch(train(energy, objective, data, optimizer, rng))) == 1000
    assert guard.events == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights x1000", "learning rate x1000 from update 300", "NaN in one weight"])
def test_the_same_divergences_are_fatal_without_the_guard(name):
    assert not run(BY_NAME[name], guarded=False).gain >= 0.9 * undisturbed(1000).gain
