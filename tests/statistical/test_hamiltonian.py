"""Is the law of Hamiltonian samplers right? Exact ones keep exact samples exact; BAOAB has its known bias."""

import pytest
import torch

from erg.energies import Neural
from erg.samplers import Preconditioned, chain, hmc, nuts, underdamped
from tests.statistical.laws import CHAINS, SIGMAS, TARGETS, departures, gaussian, keeps

EVENTS = [(1,), (3,), (1, 2, 2)]
KERNELS = {
    "hmc": hmc(0.5, 3),
    "hmc-large": hmc(1.1, 2, jitter=0.4),
    "hmc-per-chain": hmc(torch.linspace(0.05, 1.5, CHAINS), 2),
}
# Trees cost many small operations a leaf: fewer chains.
TREES = {
    "nuts": nuts(0.9, max_depth=4),
    "nuts-small": nuts(0.35, max_depth=3),
    "nuts-per-chain": nuts(torch.linspace(0.2, 1.7, CHAINS // 4), max_depth=3),
}


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_hmc_keeps_the_law(kernel, target, event):
    found = departures(KERNELS[kernel], TARGETS[target](event), seed=7 + len(event) + event[-1])
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize(
    "target, event", [("gaussian", (1, 2, 2)), ("gumbel", (3,)), ("half_line", (1,)), ("slope", (2,))], ids=str
)
@pytest.mark.parametrize("kernel", TREES)
def test_nuts_keeps_the_law(kernel, target, event):
    found = departures(TREES[kernel], TARGETS[target](event), seed=7 + len(event) + event[-1], chains=CHAINS // 4)
    assert max(found.values()) < SIGMAS, found


@pytest.mark.slow
@pytest.mark.parametrize("event", [*EVENTS, (6,)], ids=str)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", [nuts(0.9), nuts(0.3), Preconditioned(nuts(0.4), torch.tensor(1.7))], ids=str)
def test_nuts_keeps_the_law_at_full_depth(kernel, target, event):
    if target == "slope" and isinstance(kernel, Preconditioned):
        pytest.skip("a box has no other coordinates")
    found = departures(kernel, TARGETS[target](event), seed=3 + len(event) + event[-1])
    assert max(found.values()) < SIGMAS, found


@pytest.mark.parametrize("target", ["gumbel", "slope"])
def test_underdamped_is_close_at_small_steps(target):
    assert keeps(underdamped(0.1, 1.0), TARGETS[target]((2,)), seed=4)


@pytest.mark.parametrize("h", [0.5, 1.0])
def test_underdamped_positions_have_the_exact_variance_at_large_steps(h):
    # E = x^2 / 2, from far too narrow a start: what is forgotten is forgotten after 40 steps.
    energy = Neural(lambda x: x.square().flatten(1).sum(1) / 2)
    rng = torch.Generator().manual_seed(2)
    states = chain(underdamped(h, 1.0), energy, torch.zeros(CHAINS, 2, 2), rng)
    for _ in range(40):
        state, _ = next(states)
    x, v = state.x.double().flatten(), state.velocity.double().flatten()
    error = (2 / len(x)) ** 0.5
    assert abs(x.square().mean() - 1) < SIGMAS * error
    assert abs(v.square().mean() - (1 - h**2 / 4)) < SIGMAS * error
    assert abs((x * v).mean()) < SIGMAS * error
    assert not abs(v.square().mean() - 1) < SIGMAS * error


def test_the_walls_of_a_box_hold_no_mass():
    # E = 1.4 sum(x) is densest at the lower wall; a projection would leave a good part of the rows exactly there.
    target = TARGETS["slope"]((2,))
    states = chain(underdamped(0.3, 1.0), target.energy, target.exact(2000, torch.Generator().manual_seed(1)))
    for _ in range(10):
        state, _ = next(states)
    assert (state.x.abs() < 1).all()


@pytest.mark.parametrize("kernel", [hmc(0.5, 3), nuts(0.7, max_depth=3)], ids=["hmc", "nuts"])
def test_a_temperature_for_each_chain_is_the_law_of_each_chain(kernel):
    temperatures = torch.tensor([0.3, 2.5]).repeat(CHAINS // 4)
    unit = gaussian((2,), temperature=1.0)

    def exact(n, rng):
        return 0.5 + (unit.exact(n, rng) - 0.5) * temperatures.sqrt()[:, None]

    target = type(unit)(unit.energy / temperatures, exact, 0.5)
    found = departures(kernel, target, seed=11, chains=len(temperatures))
    assert max(found.values()) < SIGMAS, found
