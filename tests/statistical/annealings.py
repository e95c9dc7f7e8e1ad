"""One test of an annealing's weights, shared by those who trust it and by those who check that it notices bugs."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from erg.energies import Energy, Gaussian, Independent, Neural, Path
from erg.roles import Kernel
from erg.samplers import gibbs, mala
from erg.support import Spin

SIGMAS = 5.0
TEMPERATURE = 0.6
CHAINS = 20_000
BETAS = torch.tensor([0.0, 0.15, 0.4, 0.7, 1.0], dtype=torch.float64)


class Case(NamedTuple):
    """A reference, a target before and after tempering, the truth, and exact samples of the tempered target."""

    reference: Gaussian | Independent
    energy: Energy
    kernel: Kernel
    log_z: float
    exact: Callable[[int, torch.Generator], torch.Tensor]

    @property
    def path(self) -> Path:
        """To the tempered target."""
        return Path(self.reference, self.energy / TEMPERATURE)


def gaussian() -> Case:
    """Two dimensions, another mean and variance."""
    mean, variance = torch.tensor([0.6, -0.4]), 0.5
    tempered = Gaussian.isotropic(mean, variance=variance * TEMPERATURE)
    energy = Gaussian.isotropic(mean, variance=variance)
    log_z = math.log(2 * math.pi * variance * TEMPERATURE)
    return Case(Gaussian.standard(2), energy, mala(0.3), log_z, tempered.exact_samples)


def ring() -> Case:
    """Five spins in a ring and a field."""

    def score(x: torch.Tensor) -> torch.Tensor:
        return -(0.25 * x * x.roll(1, 1) + 0.3 * x).sum(1)

    states = torch.cat(list(Spin().enumerate((5,))))
    energies = score(states).double() / TEMPERATURE
    log_z = (-energies).logsumexp(0).item()

    def exact(n: int, rng: torch.Generator) -> torch.Tensor:
        return states[torch.multinomial((-energies).softmax(0), n, replacement=True, generator=rng)]

    coins = Independent(torch.tensor([0.6, 0.1, 0.4, 0.8, 0.0]), Spin())
    return Case(coins, Neural(score, support=Spin()), gibbs(), log_z, exact)


CASES = {"gaussian": gaussian, "ring": ring}


def departure(log_weights: torch.Tensor, log_truth: float) -> float:
    """By how many standard errors the mean weight left the truth."""
    relative = (log_weights.double() - log_truth).exp()
    return ((relative.mean() - 1).abs() / (relative.std() / len(relative) ** 0.5)).item()
