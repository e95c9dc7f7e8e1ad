"""One test of a kernel's law, shared by those who trust it and by those who check that it notices bugs.

Chains start at exact samples, so after any number of steps of a correct kernel they are still exact
samples. Rows are independent, so the standard error of a mean over rows is exact and no burn-in is
needed. Each row is compared with its own start: that removes the noise of the starting sample.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from erg.energies import Energy, Neural
from erg.samplers import chain
from erg.support import Box

CHAINS = 20_000
STEPS = 10
SIGMAS = 5.0
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Target:
    """An energy, already tempered, with exact samples and the mean of every entry."""

    energy: Energy
    exact: Callable[[int, torch.Generator], torch.Tensor]
    mean: float


def gaussian(event: tuple[int, ...], temperature: float = TEMPERATURE) -> Target:
    """Independent N(0.5, (1.3 + 0.2 i)^2 T) entries."""
    sd = (1.3 + 0.2 * torch.arange(torch.Size(event).numel())).reshape(event)

    def energy(x):
        return ((x - 0.5) / sd).square().flatten(1).sum(1) / 2

    def exact(n, rng):
        return 0.5 + sd * temperature**0.5 * torch.randn(n, *event, generator=rng)

    return Target(Neural(energy) / temperature, exact, 0.5)


def gumbel(event: tuple[int, ...], temperature: float = TEMPERATURE) -> Target:
    """Skewed: E = sum(x + e^-x). At temperature T, e^-x follows a gamma law of shape and rate 1/T."""
    shape = torch.tensor(1 / temperature, dtype=torch.float64)

    def energy(x):
        return (x + (-x).exp()).flatten(1).sum(1)

    def exact(n, rng):
        return -(gamma(float(shape), (n, *event), rng) * temperature).log().float()

    return Target(Neural(energy) / temperature, exact, float(shape.log() - torch.digamma(shape)))


def half_line(event: tuple[int, ...], temperature: float = TEMPERATURE) -> Target:
    """Skewed, and NaN for any entry below zero: E = sum(x - 1.5 log x), a gamma law."""
    shape = 1 + 1.5 / temperature

    def energy(x):
        return (x - 1.5 * x.log()).flatten(1).sum(1)

    def exact(n, rng):
        return (gamma(shape, (n, *event), rng) * temperature).float()

    return Target(Neural(energy) / temperature, exact, shape * temperature)


def slope(event: tuple[int, ...], temperature: float = TEMPERATURE) -> Target:
    """On the box [-1, 1]: E = 1.4 sum(x), a truncated exponential law, densest at a face."""
    rate = 1.4 / temperature

    def energy(x):
        return 1.4 * x.flatten(1).sum(1)

    def exact(n, rng):
        u = torch.rand(n, *event, generator=rng, dtype=torch.float64)
        return (-1 - torch.log1p(-u * (1 - torch.exp(torch.tensor(-2 * rate)))) / rate).float()

    mean = 1 / rate - 1 / torch.tanh(torch.tensor(rate))
    return Target(Neural(energy, support=Box(-1.0, 1.0)) / temperature, exact, float(mean))


TARGETS = {"gaussian": gaussian, "gumbel": gumbel, "half_line": half_line, "slope": slope}


def gamma(shape: float, size: tuple[int, ...], rng: torch.Generator) -> torch.Tensor:
    """Exact gamma variates of unit rate, from the given generator only."""
    return torch._standard_gamma(torch.full(size, shape, dtype=torch.float64), generator=rng)


def departures(kernel, target: Target, *, seed: int, chains: int = CHAINS, steps: int = STEPS) -> dict[str, float]:
    """By how many standard errors each entry's mean and variance left the law, worst entry.

    A kernel that does not move keeps any law: at least a hundredth of the rows must have moved.
    """
    rng = torch.Generator().manual_seed(seed)
    start = target.exact(chains, rng)
    iterator = chain(kernel, target.energy, start, rng)
    for _ in range(steps):
        state, _ = next(iterator)
    moved = (state.x != start).flatten(1).any(1).double().mean()
    before, after = start.flatten(1).double() - target.mean, state.x.flatten(1).double() - target.mean
    return {
        "stuck": 0.0 if moved > 0.01 else float("inf"),
        "mean": z_score(after - before),
        "variance": z_score(after.square() - before.square()),
    }


def z_score(differences: torch.Tensor) -> float:
    """The largest |mean| over columns in standard errors; a NaN is an infinite departure."""
    z = differences.mean(0).abs() / (differences.std(0) / len(differences) ** 0.5)
    return float(z.nan_to_num(nan=float("inf")).max())


def keeps(kernel, target: Target, *, seed: int) -> bool:
    """Whether no statistic departs by more than five standard errors."""
    return max(departures(kernel, target, seed=seed).values()) < SIGMAS
