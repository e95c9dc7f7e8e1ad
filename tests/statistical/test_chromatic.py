"""Do sweeps in colours keep their law? Chains start at exact samples, and states are counted after ten sweeps."""

import pytest
import torch

from erg.energies import BoltzmannMachine, Graph, Ising, Lattice, Potts
from erg.samplers import chain, chromatic
from erg.support import Binary, Spin
from tests.exact.pairwise import states_of

CHAINS, STEPS, SIGMAS, T = 20_000, 10, 5.0, 0.7


def machine(support):
    a = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) * 0.5
    return BoltzmannMachine.of((a + a.T).fill_diagonal_(0), torch.linspace(-0.5, 0.4, 6), support=support)


WORLDS = {
    "lattice": (Ising(Lattice((2, 3), periodic=False), coupling=0.4, field=torch.linspace(-0.4, 0.5, 3)), (2, 3)),
    "triangle": (Potts(Graph(3, [(0, 1), (1, 2), (0, 2)]), 3, coupling=-0.7, field=torch.eye(3)), (3, 3)),
    "bits": (machine(Binary()), (6,)),
    "spins": (machine(Spin()), (6,)),
}  # fmt: skip
every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


def departure(kernel, world, rng):
    """By how many standard errors the frequency of a state left the law, worst state that is expected five times."""
    energy, event = world[0] / T, world[1]
    states = states_of(energy.support, event).float()
    law = (-energy(states).detach().double()).softmax(0)
    steps = chain(kernel, energy, states[law.multinomial(CHAINS, replacement=True, generator=rng)], rng)
    for _ in range(STEPS):
        state, _ = next(steps)
    place = torch.cdist(state.x.flatten(1), states.flatten(1)).argmin(1)
    found = place.bincount(minlength=len(states)) / CHAINS
    often = law * CHAINS > 5
    return float(((found - law).abs() / (law * (1 - law) / CHAINS).sqrt())[often].max())


@every_world
def test_the_law_is_kept(world, rng):
    assert departure(chromatic(), world, rng) < SIGMAS
