"""Are the weights right on average, and the stated errors honest?"""

import math

import pytest
import torch

from erg.energies import Gaussian, Path
from erg.samplers import ais, bracket, mala, reverse_ais, smc
from erg.samplers.annealing.weights import log_mean
from tests.statistical.annealings import BETAS, CASES, CHAINS, SIGMAS, departure


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", CASES)
def test_weights_average_to_z_and_its_inverse(name):
    case = CASES[name]()
    up = ais(case.path, case.kernel, betas=BETAS, chains=CHAINS, rng=rng())
    assert departure(up.log_weights, case.log_z) < SIGMAS
    down = reverse_ais(case.path, case.kernel, case.exact(CHAINS, rng(1)), betas=BETAS, rng=rng(2))
    assert departure(down.log_weights, -case.log_z) < SIGMAS
    both = bracket(up, down)
    assert abs(both.combined.value - case.log_z) < SIGMAS * both.combined.standard_error


@pytest.mark.parametrize("name", CASES)
def test_populations_average_to_z(name):
    case = CASES[name]()
    found = smc(case.path, case.kernel, chains=CHAINS, populations=500, keep=0.8, rng=rng())
    assert departure(found.log_weights.reshape(500, -1).logsumexp(1) - math.log(CHAINS / 500), case.log_z) < SIGMAS


@pytest.mark.parametrize("name", CASES)
def test_weighted_states_have_the_law_of_the_target(name):
    case = CASES[name]()
    exact = case.exact(CHAINS, rng(9)).double()
    up = ais(case.path, case.kernel, betas=BETAS, chains=CHAINS, rng=rng())
    mean = up.log_weights.softmax(0) @ up.x.double()
    assert up.effective_sample_size > 2000
    error = (exact.var(0) * (1 / up.effective_sample_size + 1 / CHAINS)).sqrt()
    assert ((mean - exact.mean(0)).abs() < SIGMAS * error).all()
    drawn = smc(case.path, case.kernel, chains=CHAINS, rng=rng()).resampled(5000, rng(3)).double()
    error = (exact.var(0) * (1 / 5000 + 1 / CHAINS)).sqrt()
    assert ((drawn.mean(0) - exact.mean(0)).abs() < SIGMAS * error).all()


def coverage(found, truth):
    held = [abs(each.value - truth) < 1.96 * each.standard_error for each in found]
    return sum(held) / len(held)


@pytest.mark.parametrize("deviation", [0.2, 0.8, 1.4])
def test_intervals_of_log_normal_weights_hold_the_truth(deviation):
    noise = torch.randn(1000, 256, generator=rng(), dtype=torch.float64)
    found = [log_mean(deviation * each - deviation**2 / 2) for each in noise]
    assert 0.92 <= coverage(found, 0.0) <= 0.98
    spread = torch.tensor([each.value for each in found]).std()
    assert torch.tensor([each.standard_error for each in found]).median() < 1.5 * spread


def test_intervals_of_annealing_hold_the_truth():
    """Many runs in one: chains are independent, so each part of them is a run."""
    case = CASES["gaussian"]()
    runs, chains, betas = 300, 64, 30
    up = ais(case.path, case.kernel, betas=betas, chains=runs * chains, rng=rng()).log_weights
    down = reverse_ais(case.path, case.kernel, case.exact(runs * chains, rng(1)), betas=betas, rng=rng(2)).log_weights
    assert 0.92 <= coverage([log_mean(each) for each in up.reshape(runs, chains)], case.log_z) <= 0.98
    assert 0.92 <= coverage([log_mean(each) for each in down.reshape(runs, chains)], -case.log_z) <= 0.98


@pytest.mark.slow
def test_intervals_of_populations_hold_the_truth():
    case = CASES["gaussian"]()
    found = [smc(case.path, case.kernel, chains=512, keep=0.9, rng=rng(seed)).log_z for seed in range(300)]
    assert 0.92 <= coverage(found, case.log_z) <= 0.98


def test_slow_chains_give_a_bracket_that_is_wide_and_still_holds_the_truth():
    target = Gaussian.isotropic(torch.full((8,), 1.0), variance=0.2)
    path = Path(Gaussian.standard(8), target)
    up = ais(path, mala(0.002), betas=20, chains=400, rng=rng())
    down = reverse_ais(path, mala(0.002), target.exact_samples(400, rng(1)), betas=20, rng=rng(2))
    both = bracket(up, down)
    assert both.lower.value < float(target.log_z) < both.upper.value
    assert both.width > 2
