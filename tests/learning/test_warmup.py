"""Does warm-up find what is known to be right, and do tuned kernels mix better?"""

import pytest
import torch

from erg.energies import Counted, Gaussian
from erg.evaluation.convergence import convergence
from erg.samplers import advance, chain, hmc, mala, random_walk, warmup
from erg.samplers.schedules import with_setting
from erg.samplers.tuning.tunable import tuning_of

KERNELS = {"mala": mala(1.0), "random_walk": random_walk(1.0), "hmc": hmc(1.0, 3)}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("deviation", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("event", [(2,), (3, 6, 6)], ids=str)
def test_the_wanted_acceptance_is_reached_at_any_scale_and_dimension(name, deviation, event, rng):
    energy = Gaussian.isotropic(torch.zeros(event), variance=deviation**2)
    x = energy.exact_samples(64, rng)
    kernel = warmup(KERNELS[name], energy, x, 200, rng)
    acceptance = advance(kernel, energy, x, 60, rng)[1].mean()
    assert abs(acceptance - tuning_of(kernel).acceptance) < 0.05


def test_another_acceptance_can_be_wanted(rng):
    energy = Gaussian.standard(5)
    x = energy.exact_samples(64, rng)
    kernel = warmup(hmc(0.1, 3), energy, x, 200, rng, acceptance=0.95)
    assert abs(advance(kernel, energy, x, 60, rng)[1].mean() - 0.95) < 0.02


@pytest.mark.parametrize("name", KERNELS)
def test_the_scale_of_a_badly_scaled_law_is_right(name, rng):
    deviations = torch.logspace(-1.5, 1.5, 10)
    energy = Gaussian(torch.zeros(10), deviations.square())
    kernel = warmup(KERNELS[name], energy, torch.randn(64, 10, generator=rng), 600, rng)
    assert ((kernel.scale / deviations - 1).abs() < 0.2).all()


def worst_size_per_gradient(kernel, law, rng):
    energy, x = Counted(law), law.exact_samples(16, rng)
    steps = chain(kernel, energy, x, rng)
    states = torch.stack([next(steps)[0].x for _ in range(300)], 1)
    sizes = convergence(torch.cat([states, states.square()], -1)).bulk
    return float(sizes.min()) / energy.gradients


@pytest.mark.parametrize("name, at_least", [("mala", 10), ("hmc", 10)])
def test_a_tuned_kernel_mixes_better_per_gradient(name, at_least, rng):
    """Against one with the same acceptance and no scale, and for HMC the trajectory that was guessed."""
    law = Gaussian(torch.zeros(6), torch.logspace(-1.5, 1.5, 6).square())
    x = law.exact_samples(32, rng)
    plain = warmup(KERNELS[name], law, x, 300, rng, mass=False)
    if name == "hmc":
        plain = with_setting(plain, "leapfrogs", lambda _: 3)
    tuned = warmup(KERNELS[name], law, x, 300, rng)
    assert worst_size_per_gradient(tuned, law, rng) > at_least * worst_size_per_gradient(plain, law, rng)


def test_hmc_gets_a_length_that_pays(rng):
    kernel = warmup(hmc(1e-3, 8), Gaussian.standard(4), torch.randn(64, 4, generator=rng), 300, rng)
    # A quarter of the period, pi / 2, forgets everything; half of it would come back.
    assert 0.9 < kernel.step_size * kernel.leapfrogs < 2.2
