"""Is the law of compiled, rounded and divided chains right? On targets with exact samples, and on a network."""

import pytest
import torch

from erg.networks import ConvNet
from erg.samplers import Compiled, LowPrecision, Parallel, mala, sample, sgld
from erg.samplers.compilation.compiled import Bound, Running
from tests.statistical.laws import SIGMAS, TARGETS, departures

WRAPPED = {
    "compiled": Compiled(mala(0.4)),
    "low": LowPrecision(mala(0.4)),
    "compiled-low": Compiled(LowPrecision(mala(0.4))),
    "parallel": Parallel(Compiled(mala(0.4)), 2),
}

CHAINS = 1000  # Enough for 11 standard errors between the right noise and one that is 1.4 times as large.


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", WRAPPED)
def test_wrapped_kernels_keep_the_law(kernel, target):
    found = departures(WRAPPED[kernel], TARGETS[target]((2,)), seed=13)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize("target", [pytest.param("gaussian", marks=pytest.mark.slow), "gumbel"])
def test_fused_code_keeps_the_law(target, compiler):
    found = departures(Compiled(LowPrecision(mala(0.4))), TARGETS[target]((2,)), seed=17)
    assert max(found.values()) < SIGMAS, found


def steep() -> ConvNet:
    """A tutorial network, small and steep enough for chains to go downhill in 60 steps."""
    network = ConvNet((1, 8, 8), channels=(8, 16), hidden=16)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    return network


def ends(kernel, network, seed: int, chains: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(chains, 1, 8, 8, generator=rng) * 2 - 1
    with torch.no_grad():
        return network(sample(kernel, network, x, 60, rng))


def z_scores(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Standard errors between two samples' means, and between their mean squares about a common centre."""
    centre = torch.cat([a, b]).double().mean()
    pairs = [(a.double(), b.double()), ((a.double() - centre).square(), (b.double() - centre).square())]
    return [float((u.mean() - v.mean()).abs() / (u.var() / len(u) + v.var() / len(v)).sqrt()) for u, v in pairs]


def recipe(step_size: float = 0.2, noise: float = 0.1):
    return sgld(step_size, noise, clip=1.0, box=(-1.0, 1.0))


@pytest.mark.parametrize(
    "wrap", [lambda k: LowPrecision(k), lambda k: Compiled(LowPrecision(k))], ids=["low", "both"]
)
def test_energies_after_sixty_steps_follow_one_law(wrap):
    network = steep()
    eager = ends(recipe(), network, seed=1, chains=CHAINS)
    assert max(z_scores(eager, ends(wrap(recipe()), network, seed=2, chains=CHAINS))) < SIGMAS
    # Would it notice? More noise, or gradients half as large.
    for broken in (recipe(noise=0.14), recipe(step_size=0.1)):
        assert max(z_scores(eager, ends(wrap(broken), network, seed=2, chains=CHAINS))) > SIGMAS


def test_the_network_is_compiled_in_that_test():
    x = torch.zeros(4, 1, 8, 8)
    network = steep()
    kernel = Compiled(LowPrecision(recipe()))
    state, _ = kernel.step(network.requires_grad_(False).eval(), kernel.init(network, x), None)
    assert isinstance(state, Running) and isinstance(state.bound, Bound)
