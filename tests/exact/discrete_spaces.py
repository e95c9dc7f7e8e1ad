"""Small discrete worlds with everything written out: states, energies, gradients, laws, transition matrices."""

import itertools
import math
from dataclasses import dataclass

import torch

from erg.energies import Energy, Neural
from erg.roles import Evaluated
from erg.samplers import Metropolis
from erg.support import Binary, OneHot, Spin

T = 0.7


def energy(x):
    """Fields, couplings and a cubic term: the gradient is not exact anywhere."""
    x = x.reshape(len(x), -1)
    fields = torch.linspace(-1.1, 0.9, x.shape[1], dtype=x.dtype)
    return (x * fields).sum(1) - 0.8 * x[:, 0] * x[:, -1] + 0.5 * x.prod(1) + 0.15 * x.sum(1) ** 3


@dataclass(frozen=True)
class World:
    """All states of a support, in float64, with the tempered energy."""

    support: Binary | Spin | OneHot
    event: tuple[int, ...]

    @property
    def energy(self) -> Energy:
        return Neural(energy, support=self.support) / T

    @property
    def states(self) -> torch.Tensor:
        if isinstance(self.support, OneHot):
            sites, values = self.event
            words = itertools.product(torch.eye(values, dtype=torch.float64), repeat=sites)
            return torch.stack([torch.stack(word) for word in words])
        return torch.tensor(list(itertools.product(self.support.values, repeat=self.event[0])), dtype=torch.float64)

    @property
    def law(self) -> torch.Tensor:
        weights = (-energy(self.states) / T).exp()
        return weights / weights.sum()

    def gradients(self) -> torch.Tensor:
        """By central differences of a high order, which are exact for this polynomial up to rounding."""
        x = self.states.reshape(len(self.states), -1)
        columns = []
        for i in range(x.shape[1]):
            h = torch.zeros_like(x)
            h[:, i] = 1.0
            first, second = (energy(x + s * h) - energy(x - s * h) for s in (1.0, 2.0))
            columns.append((8 * first - second) / 12 / T)
        return torch.stack(columns, 1).reshape(self.states.shape)

    def sites(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The value of each site, as a vector."""
        return list(x) if isinstance(self.support, OneHot) else list(x[:, None])

    def values(self) -> list[torch.Tensor]:
        """What a site can be, as vectors."""
        if isinstance(self.support, OneHot):
            return list(torch.eye(self.event[1], dtype=torch.float64))
        return [torch.tensor([value], dtype=torch.float64) for value in self.support.values]


WORLDS = {
    "binary": World(Binary(), (3,)),
    "spin": World(Spin(), (3,)),
    "one-hot": World(OneHot(), (2, 3)),
}


def langevin_matrix(world: World, step_size: float, balance: float) -> torch.Tensor:
    """q of the discrete Langevin proposal: a loop over states and sites, straight from its definition."""
    states, gradients = world.states, world.gradients()
    q = torch.ones(len(states), len(states), dtype=torch.float64)
    for a, (x, g) in enumerate(zip(states, gradients, strict=True)):
        for i, (site, slope) in enumerate(zip(world.sites(x), world.sites(g), strict=True)):
            weight = [
                math.exp(-balance * float(slope @ (v - site)) - float((v - site) @ (v - site)) / (2 * step_size))
                for v in world.values()
            ]
            for b, y in enumerate(states):
                chosen = [torch.equal(world.sites(y)[i], v) for v in world.values()].index(True)
                q[a, b] *= weight[chosen] / sum(weight)
    return q


def informed_matrix(world: World) -> torch.Tensor:
    """q of Gibbs with gradients, straight from its definition."""
    states, gradients = world.states, world.gradients()
    q = torch.zeros(len(states), len(states), dtype=torch.float64)
    for a, (x, g) in enumerate(zip(states, gradients, strict=True)):
        for b, y in enumerate(states):
            differ = [not torch.equal(s, t) for s, t in zip(world.sites(x), world.sites(y), strict=True)]
            if sum(differ) == 1:
                q[a, b] = math.exp(-float((g * (y - x)).sum()) / 2)
    return q / q.sum(1, keepdim=True)


def gibbs_matrix(world: World, block: int) -> torch.Tensor:
    """Random-scan Gibbs on blocks of sites, straight from its definition."""
    states, law = world.states, world.law
    p = torch.zeros(len(states), len(states), dtype=torch.float64)
    blocks = list(itertools.combinations(range(len(world.sites(states[0]))), block))
    for chosen in blocks:
        for a, x in enumerate(states):
            alike = [
                all(
                    torch.equal(s, t)
                    for i, (s, t) in enumerate(zip(world.sites(x), world.sites(y), strict=True))
                    if i not in chosen
                )
                for y in states
            ]
            weight = torch.where(torch.tensor(alike), law, 0.0)
            p[a] += weight / weight.sum() / len(blocks)
    return p


def metropolis_matrix(world: World, q: torch.Tensor) -> torch.Tensor:
    """The transition matrix of a Metropolis-Hastings chain with proposals q."""
    flow = world.law[:, None] * q
    p = torch.where(flow > 0, q * (flow.T / flow).clamp(max=1.0), 0.0)
    return p + torch.diag(1 - p.sum(1))


@dataclass(frozen=True)
class Led:
    """A move that proposes what it is told, with the density of the move inside."""

    move: object
    targets: torch.Tensor
    moves_on = (Binary, Spin, OneHot)
    needs_gradient = True

    def propose(self, source: Evaluated, rng: object) -> torch.Tensor:
        return self.targets

    def log_prob(self, source: Evaluated, target: Evaluated) -> torch.Tensor:
        return self.move.log_prob(source, target)


def matrix_of(move, world: World, *, adjusted: bool = True) -> torch.Tensor:
    """The transition matrix of a kernel's code: its density times its acceptance, for every pair of states."""
    states, n = world.states, len(world.states)
    sources, targets = states.repeat_interleave(n, 0), states.repeat(n, *[1] * (states.ndim - 1))
    move = move.on(world.support) if hasattr(move, "on") else move
    kernel = Metropolis(Led(move, targets))
    start = kernel.init(world.energy, sources)
    there = kernel.init(world.energy, targets)
    q = move.log_prob(start, there).exp().reshape(n, n)
    if not adjusted:
        return q
    _, acceptance = kernel.step(world.energy, start, torch.Generator().manual_seed(0))
    p = q * acceptance.reshape(n, n)
    return p + torch.diag(1 - p.sum(1))


def imbalance(world: World, p: torch.Tensor) -> float:
    """The largest violation of detailed balance."""
    flow = world.law[:, None] * p
    return float((flow - flow.T).abs().max())
