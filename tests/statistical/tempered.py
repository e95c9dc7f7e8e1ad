"""Exact starts at several temperatures: replicas of continuous targets, two unequal modes, and enumerated spins."""

import itertools

import torch

from erg.energies import Neural
from erg.samplers import chain
from erg.support import Spin
from tests.statistical.laws import CHAINS, STEPS, TARGETS, TEMPERATURE, Target, z_score

LADDER = (1.0, 1.5, 2.6)


def rung_departures(kernel, target, event, *, seed, chains=CHAINS, steps=STEPS):
    """By how many standard errors the mean and variance of each replica left the law of its temperature."""
    rng = torch.Generator().manual_seed(seed)
    laws = [TARGETS[target](event, TEMPERATURE * temperature) for temperature in LADDER]
    start = torch.stack([law.exact(chains, rng) for law in laws], dim=1)
    energy = TARGETS[target](event).energy
    end, _ = next(itertools.islice(chain(kernel.with_replicas(), energy, start, rng), steps - 1, None))
    found = {}
    for rung, law in enumerate(laws):
        before, after = ((x[:, rung].flatten(1).double() - law.mean) for x in (start, end.x))
        found[f"mean {rung}"] = z_score(after - before)
        found[f"variance {rung}"] = z_score(after.square() - before.square())
    swaps = 1 - end.inner.rejection
    found["stuck"] = 0.0 if bool((swaps > 0.05).all()) else float("inf")
    return found


def unequal() -> Target:
    """A broad mode and a narrow one in one dimension, tempered; exact samples by inversion on a fine grid."""

    def energy(x):
        broad = 0.5 * ((x - 1.5) / 0.9).square()
        narrow = 0.5 * ((x + 1.5) / 0.25).square() - 0.4
        return -torch.logsumexp(torch.cat([-broad, -narrow], dim=1), dim=1)

    grid = torch.linspace(-8, 10, 40_001, dtype=torch.float64)
    mass = (-energy(grid[:, None]) / TEMPERATURE).exp()
    mass /= mass.sum()
    below = mass.cumsum(0)

    def exact(n, rng):
        u = torch.rand(n, generator=rng, dtype=torch.float64)
        place = torch.searchsorted(below, u).clamp(max=len(grid) - 1)
        jitter = torch.rand(n, generator=rng, dtype=torch.float64) - 0.5
        return (grid[place] + jitter * (grid[1] - grid[0])).float()[:, None]

    return Target(Neural(energy) / TEMPERATURE, exact, float((grid * mass).sum()))


def couplings() -> torch.Tensor:
    """Of three spins, with a field: no symmetry left."""
    return torch.tensor([[0.3, 0.8, -0.5], [0.8, -0.4, 0.2], [-0.5, 0.2, 0.6]])


def spins(matrix: torch.Tensor) -> Neural:
    """E = -sum of fields and couplings."""
    fields, pairs = matrix.diagonal(), matrix - matrix.diagonal().diag()
    return Neural(lambda x: -(x @ fields) - ((x @ pairs) * x).sum(1) / 2, support=Spin())


def state_departures(kernel, *, seed, temperatures, chains=CHAINS, steps=6):
    """By how many standard errors the frequency of any state left its probability, worst state and temperature."""
    rng, energy = torch.Generator().manual_seed(seed), spins(couplings())
    states = torch.cat(list(Spin().enumerate((3,))))
    rungs = temperatures or (1.0,)
    laws = [(-energy(states).double() / temperature).softmax(0) for temperature in rungs]
    places = torch.stack([torch.multinomial(law, chains, replacement=True, generator=rng) for law in laws], dim=1)
    start = states[places] if temperatures else states[places[:, 0]]
    end, _ = next(itertools.islice(chain(kernel, energy, start, rng), steps - 1, None))
    now = ((end.x + 1) / 2 @ torch.tensor([1.0, 2.0, 4.0])).round().long().reshape(chains, len(rungs))
    code = ((states + 1) / 2 @ torch.tensor([1.0, 2.0, 4.0])).round().long()
    before = code[places]
    worst = 0.0
    for rung in range(len(rungs)):
        was, became = (torch.nn.functional.one_hot(x[:, rung], 8).double() for x in (before, now))
        worst = max(worst, z_score(became - was))
    assert (now != before).double().mean() > 0.2
    return worst
