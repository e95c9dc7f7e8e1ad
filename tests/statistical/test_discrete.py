"""Do discrete kernels keep their law? Chains start at exact samples, and states are counted after ten steps."""

import pytest
import torch

from erg.draws import Rng
from erg.energies import Independent
from erg.samplers import CyclicalLangevin, chain, dmala, gibbs, gwg, independence
from tests.exact.discrete_spaces import WORLDS, World

CHAINS, STEPS, SIGMAS = 20_000, 10, 5.0
KERNELS = {
    "dmala": dmala(0.9),
    "gwg": gwg(),
    "gibbs": gibbs(),
    "gibbs, blocks": gibbs(2),
    "cycle": CyclicalLangevin(torch.tensor([2.0, 0.8, 0.3]), torch.tensor([0.9, 0.7, 0.5])),
}


def departure(kernel, world: World, rng: Rng) -> float:
    """By how many standard errors the frequency of a state left the law, worst state; never moving is a departure."""
    start = world.law.multinomial(CHAINS, replacement=True, generator=rng)
    x, steps = world.states[start].float(), chain(kernel, world.energy, world.states[start].float(), rng)
    for _ in range(STEPS):
        state, _ = next(steps)
    if torch.equal(state.x, x):
        return float("inf")
    same = state.x.flatten(1).double()[:, None] == world.states.flatten(1)
    found, law = same.all(-1).double().mean(0), world.law
    return float(((found - law).abs() / (law * (1 - law) / CHAINS).sqrt()).max())


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_law_is_kept(name, world, rng):
    assert departure(KERNELS[name], world, rng) < SIGMAS


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_independent_proposals_keep_the_law(world, rng):
    kernel = independence(Independent.uniform(world.event, world.support))
    assert departure(kernel, world, rng) < SIGMAS
