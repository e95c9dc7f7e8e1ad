"""Is the law right? Exact kernels keep exact samples exact; unadjusted Langevin has its known bias."""

import pytest
import torch

from erg.energies import Neural
from erg.samplers import descent, mala, random_walk, sample, sgld, temperature, ula
from tests.statistical.laws import SIGMAS, TARGETS, Target, departures, gaussian, keeps

EVENTS = [(1,), (2,), (3,), (1, 2, 2)]
KERNELS = {
    "mala": mala(0.4),
    "mala-large": mala(0.8),
    "mala-per-chain": mala(torch.linspace(0.05, 1.2, 20_000)),
    "random_walk": random_walk(1.2),
}


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_exact_kernels_keep_the_law(kernel, target, event):
    seed = 7 + len(event) + event[-1]
    found = departures(KERNELS[kernel], TARGETS[target](event), seed=seed)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize("target", TARGETS)
def test_each_targets_samples_have_its_mean(target):
    rng = torch.Generator().manual_seed(3)
    target = TARGETS[target]((1,))
    x = target.exact(200_000, rng).double()
    assert abs(x.mean() - target.mean) < SIGMAS * x.std() / len(x) ** 0.5


def test_a_temperature_for_each_chain_is_the_law_of_each_chain():
    temperatures = torch.tensor([0.3, 2.5]).repeat(10_000)
    unit = gaussian((2,), temperature=1.0)

    def exact(n, rng):
        return 0.5 + (unit.exact(n, rng) - 0.5) * temperatures.sqrt()[:, None]

    assert keeps(mala(0.5), Target(unit.energy / temperatures, exact, 0.5), seed=11)


def ar1(variance: float) -> Target:
    """E = x^2 / 2 with starts of the given variance."""
    return Target(
        Neural(lambda x: x.square().flatten(1).sum(1) / 2),
        lambda n, rng: variance**0.5 * torch.randn(n, 2, generator=rng),
        0.0,
    )


@pytest.mark.parametrize("h", [0.25, 0.5, 1.2])
def test_unadjusted_langevin_has_the_variance_of_its_recursion(h):
    # x' = (1 - h) x + sqrt(2h) noise is stationary at the variance 2h / (1 - (1 - h)^2) = 1 / (1 - h/2).
    assert keeps(ula(h), ar1(1 / (1 - h / 2)), seed=5)
    assert not keeps(ula(h), ar1(1.0), seed=5)


def test_the_image_recipe_has_the_variance_of_its_temperature():
    step, noise = 0.4, 0.5
    tempered = temperature(step, noise)
    assert tempered == pytest.approx(0.3125)
    # Langevin with h = a T on E / T, whose curvature is 1 / T: variance T / (1 - a / 2).
    assert keeps(sgld(step, noise), ar1(tempered / (1 - step / 2)), seed=6)


def test_descent_is_the_cold_limit():
    rng = torch.Generator().manual_seed(0)
    assert departures(descent(0.1), ar1(1.0), seed=1)["variance"] > SIGMAS
    x = torch.randn(50, 2, generator=rng)
    cold = Neural(lambda x: x.square().sum(1) / 2) / 1e-12
    # Langevin at h = 0.1 T on E / T moves as descent with step 0.1, but for noise of size sqrt(0.2 T).
    torch.testing.assert_close(sample(ula(0.1 * 1e-12), cold, x, 5, rng), x * 0.9**5, atol=1e-5, rtol=0)
