"""Do replicas, tours and stages keep the law? Chains start at exact samples of every temperature."""

import itertools
import math

import pytest
import torch

from erg.energies import Gaussian, GaussianMixture, Neural
from erg.samplers import (
    Cyclical,
    Geometric,
    Scheduled,
    Stage,
    annealed,
    chain,
    descent,
    dmala,
    gibbs,
    hmc,
    ladder,
    mala,
    random_walk,
    replica_exchange,
    run_stages,
    sample,
    tempered_transitions,
    ula,
)
from erg.support import Spin
from tests.statistical.laws import SIGMAS, TARGETS, TEMPERATURE, departures, keeps, z_score
from tests.statistical.tempered import LADDER, couplings, rung_departures, spins, state_departures, unequal

CHAINS = 8_000


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("event", [(1,), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("inner", [mala(0.4), random_walk(1.0), hmc(0.4, 3)], ids=["mala", "random_walk", "hmc"])
def test_replica_exchange_keeps_the_law_of_every_temperature(inner, event, target):
    found = rung_departures(replica_exchange(inner, LADDER), target, event, seed=3, chains=CHAINS)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("inner", [mala(0.4), random_walk(1.0), hmc(0.4, 3)], ids=["mala", "random_walk", "hmc"])
def test_tempered_transitions_keep_the_law(inner, target):
    kernel = tempered_transitions(inner, (1.0, 1.4, 1.4, 2.0))
    found = departures(kernel, TARGETS[target]((2,)), seed=4, chains=CHAINS, steps=5)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize(
    "kernel",
    [tempered_transitions(random_walk(0.6), (1.0, 2.0, 4.0)), tempered_transitions(mala(0.2), (1.0, 2.0, 4.0))],
    ids=["random_walk", "mala"],
)
def test_tours_keep_two_modes_of_unequal_width(kernel):
    assert keeps(kernel, unequal(), seed=5)


@pytest.mark.parametrize("inner", [dmala(1.5), gibbs()], ids=["dmala", "gibbs"])
def test_discrete_replicas_keep_the_law_of_every_temperature(inner):
    found = state_departures(replica_exchange(inner, LADDER).with_replicas(), seed=6, temperatures=LADDER)
    assert found < SIGMAS


def test_discrete_tours_keep_the_law():
    found = state_departures(tempered_transitions(dmala(1.5), (1.0, 1.5, 2.5)), seed=7, temperatures=None)
    assert found < SIGMAS


def test_cooling_finds_the_global_minimum_where_descent_does_not():
    def rugged(x):  # one global minimum, of energy 0, among dozens of local ones, of energy 2 and more
        return (2 * x.square() + 4 * (1 - (2 * math.pi * x).cos())).sum(1)

    x = torch.empty(200, 2).uniform_(-4.5, 4.5, generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    cooled = sample(annealed(random_walk(1.2), Geometric(20.0, 0.02, steps=800)), rugged, x, 800, rng)
    downhill = sample(descent(0.004), rugged, x, 300, rng)
    found, missed = (float((rugged(end) < 0.5).float().mean()) for end in (cooled, downhill))
    assert found > 0.8 and missed < 0.1, (found, missed)


def test_a_cooled_gaussian_has_the_variance_of_its_temperature():
    # Slow enough: at a constant temperature the chain forgets where it was, and the scale follows the root of T.
    kernel = annealed(mala(0.5), Geometric(4.0, 0.3, steps=20))
    x = sample(kernel, Gaussian.standard(2), torch.zeros(20_000, 2), 60, torch.Generator().manual_seed(2))
    assert z_score(x.double().square() - 0.3) < SIGMAS


def test_noise_levels_in_stages_follow_their_recursion():
    """Langevin on a Gaussian at falling noise levels: mean and variance after every stage in closed form."""
    mean, spread = 1.5, 0.4
    levels = [(2.0, 0.5, 4), (0.7, 0.1, 6), (0.1, 0.02, 25)]
    stages = [
        Stage(Gaussian(torch.tensor([mean]), torch.tensor([spread**2 + noise**2])), ula(step), steps)
        for noise, step, steps in levels
    ]
    x = torch.full((20_000, 1), -3.0)
    m, v = -3.0, 0.0
    ends = list(run_stages(stages, x, torch.Generator().manual_seed(3)))
    for (noise, step, steps), (end, acceptance) in zip(levels, ends, strict=True):
        pull = 1 - step / (spread**2 + noise**2)
        for _ in range(steps):
            m, v = mean + pull * (m - mean), pull**2 * v + 2 * step
        assert z_score(end.double() - m) < SIGMAS and z_score((end.double() - m).square() - v) < SIGMAS
        assert (acceptance == 1).all()
    assert abs(m - mean) < 0.1 and v < 0.3
    assert (x == -3.0).all()


def test_cyclical_steps_serve_discrete_kernels():
    kernel = Scheduled(dmala(1.5), {"step_size": Cyclical(4.0, 0.8, period=4)})
    assert state_departures(kernel, seed=8, temperatures=None) < SIGMAS
    assert spins(couplings()).support == Spin()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_replicas_find_the_weights_of_nine_modes_where_single_chains_do_not():
    centres = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=2))) * 13.5
    weights = torch.arange(1.0, 10.0) / 45
    energy = GaussianMixture.isotropic(centres, weights=weights)
    barrier = float((energy(centres[:2].mean(0, keepdim=True)) - energy(centres[:2]).max()).squeeze())
    assert barrier > 20
    start = centres[4].expand(600, 2)

    def error(kernel, steps):
        counts, rng = torch.zeros(9), torch.Generator().manual_seed(0)
        for step, (state, _) in enumerate(itertools.islice(chain(kernel, energy, start, rng), steps)):
            if step >= steps // 2:
                counts += torch.cdist(state.x, centres).argmin(1).bincount(minlength=9)
        return float((counts / counts.sum() / weights - 1).abs().max())

    assert error(replica_exchange(mala(0.5), ladder(60.0, 8)), 2000) < 0.05
    assert error(mala(0.5), 2000) > 0.9


def test_law_of_the_frame():
    """The exact starts have the temperatures they claim: the same starts on a wrong ladder are noticed."""
    found = rung_departures(replica_exchange(mala(0.4), (1.0, 2.0, 3.0)), "gumbel", (1,), seed=3, chains=CHAINS)
    assert max(found.values()) > SIGMAS
    assert TEMPERATURE != 1 and isinstance(spins(couplings()), Neural)
