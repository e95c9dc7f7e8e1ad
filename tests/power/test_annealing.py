"""Would the tests notice? Annealing with a published or likely mistake must be rejected."""

import itertools

import pytest
import torch

from erg.energies import Path, evaluate_energy
from erg.samplers import Biased, ais, bracket, mala, replica_exchange, reverse_ais, sample, smc, ula
from tests.statistical.annealings import BETAS, CASES, CHAINS, SIGMAS, TEMPERATURE, departure


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weigh(path, x, change):
    return -change * (evaluate_energy(path.energy, x).energy - evaluate_energy(path.reference, x).energy).double()


def right(path, kernel, x, betas, source):
    """Weigh, then move: the frame of the mistakes below."""
    log_w = weigh(path, x, betas[1] - betas[0])
    for beta, following in itertools.pairwise(betas[1:]):
        x = sample(kernel, path(beta), x, 1, source)
        log_w = log_w + weigh(path, x, following - beta)
    return log_w


def moves_first(path, kernel, x, betas, source):
    """Moves under the new energy and pays for the change where it arrives."""
    log_w = torch.zeros(len(x), dtype=torch.float64)
    for beta, following in itertools.pairwise(betas):
        x = sample(kernel, path(following), x, 1, source)
        log_w = log_w + weigh(path, x, following - beta)
    return log_w


def skips_a_temperature(path, kernel, x, betas, source):
    """Moves at every temperature and forgets to pay for one of them."""
    log_w = weigh(path, x, betas[1] - betas[0])
    for beta, following in itertools.pairwise(betas[1:]):
        x = sample(kernel, path(beta), x, 1, source)
        if beta != betas[2]:
            log_w = log_w + weigh(path, x, following - beta)
    return log_w


def weighs_with_the_new_energy_alone(path, kernel, x, betas, source):
    """The change of the target's share without that of the reference."""
    log_w = torch.zeros(len(x), dtype=torch.float64)
    for beta, following in itertools.pairwise(betas):
        log_w = log_w - (following - beta) * evaluate_energy(path.energy, x).energy
        x = sample(kernel, path(following), x, 1, source)
    return log_w


MISTAKES = [moves_first, skips_a_temperature, weighs_with_the_new_energy_alone]


def run(annealing, case, path):
    x = case.reference.exact_samples(CHAINS, rng())
    return annealing(path, case.kernel, x, BETAS.tolist(), rng(1)) + float(case.reference.log_z)


@pytest.mark.parametrize("name", CASES)
def test_the_frame_of_the_mistakes_is_itself_right(name):
    case = CASES[name]()
    assert departure(run(right, case, case.path), case.log_z) < SIGMAS


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_noticed(name, mistake):
    case = CASES[name]()
    assert departure(run(mistake, case, case.path), case.log_z) > SIGMAS


@pytest.mark.parametrize("wrong", [1.0, TEMPERATURE**2], ids=["not applied", "applied twice"])
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_temperature_is_noticed(name, wrong):
    case = CASES[name]()
    path = Path(case.reference, case.energy / wrong)
    up = ais(path, case.kernel, betas=BETAS, chains=CHAINS, rng=rng())
    assert departure(up.log_weights, case.log_z) > SIGMAS
    down = reverse_ais(path, case.kernel, case.exact(CHAINS, rng(1)), betas=BETAS, rng=rng())
    assert departure(down.log_weights, -case.log_z) > SIGMAS
    found = smc(path, case.kernel, rng=rng())
    assert abs(found.log_z.value - case.log_z) > SIGMAS * found.log_z.standard_error


def test_the_bias_of_an_unadjusted_kernel_is_noticed():
    case = CASES["gaussian"]()
    betas = torch.linspace(0, 1, 30)
    kernel = Biased(ula(0.25))
    up = ais(case.path, kernel, betas=betas, chains=CHAINS, rng=rng())
    assert up.biased and departure(up.log_weights, case.log_z) > SIGMAS
    down = reverse_ais(case.path, kernel, case.exact(CHAINS, rng(1)), betas=betas, rng=rng(2))
    both = bracket(up, down)
    assert both.lower.value > both.upper.value  # no bracket at all


def test_the_bias_of_replicas_that_all_start_at_one_state_is_noticed():
    case = CASES["gaussian"]()
    kernel = Biased(replica_exchange(mala(0.3), [1.0, 4.0, 16.0]))
    up = ais(case.path, kernel, betas=torch.linspace(0, 1, 30), chains=CHAINS, rng=rng())
    assert up.biased and departure(up.log_weights, case.log_z) > SIGMAS
