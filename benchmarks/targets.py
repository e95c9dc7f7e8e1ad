"""Targets on which samplers are compared, with the exact moments of the squares.

Definitions and parameters are those of inference-gym and of the sampler-benchmarks repository; every moment here
is computed, in closed form or by quadrature. `python -m benchmarks.targets` sets the Brownian motion's beside what
inference-gym publishes from 20,000 Stan samples: those are up to 18 of their standard errors off, towards the narrow
neck at small observation noise, where the Stan chains stayed too long.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from erg.energies import Energy, Funnel, Gaussian, GaussianMixture, Neural, Rosenbrock


@dataclass(frozen=True)
class Target:
    """An energy on the real vectors, and what chains on it should estimate.

    Attributes:
        energy: In nats.
        dimensions: Of x.
        start: How many chains, generator -> where chains start before warm-up.
        values: x -> what is squared, one column a statistic.
        mean: Of the squares.
        variance: Of the squares.
    """

    energy: Energy
    dimensions: int
    start: Callable[[int, torch.Generator], Tensor]
    values: Callable[[Tensor], Tensor]
    mean: Tensor
    variance: Tensor


def banana() -> Target:
    """x0 ~ N(0, 10^2), x1 | x0 ~ N(0.03 (x0^2 - 100), 1): inference-gym's `Banana`."""

    def energy(x: Tensor) -> Tensor:
        return (x[:, 0] / 10).square() / 2 + (x[:, 1] - 0.03 * (x[:, 0].square() - 100)).square() / 2

    # x1 = 3 (c - 1) + z with c chi-squared of one degree: E (c - 1)^2 = 2 and E (c - 1)^4 = 60.
    second, fourth = 9 * 2 + 1, 81 * 60 + 6 * 9 * 2 + 3
    return Target(
        Neural(energy), 2, _normal(2), _same, torch.tensor([100.0, second]), torch.tensor([2e4, fourth - second**2])
    )


def gaussian() -> Target:
    """100 independent normal entries, variances from 0.1 to 10 in equal ratios: condition number 100."""
    variances = torch.logspace(-1, 1, 100, dtype=torch.float64)
    energy = Gaussian(torch.zeros(100), variances.float())
    return Target(energy, 100, _normal(100), _same, variances, 2 * variances.square())


def rosenbrock() -> Target:
    """18 pairs x ~ N(1, 1), y | x ~ N(x^2, 0.1)."""
    moments = [1.0, 1.0, 2.0, 4.0, 10.0, 26.0, 76.0, 232.0, 764.0]  # of N(1, 1)
    q = 0.1
    squares = moments[4] + q
    fourth = moments[8] + 6 * q * moments[4] + 3 * q**2
    mean = torch.tensor([moments[2], squares]).repeat(18)
    variance = torch.tensor([moments[4] - moments[2] ** 2, fourth - squares**2]).repeat(18)
    return Target(Rosenbrock(36, along=0.5, across=0.5 / q), 36, _normal(36), _same, mean, variance)


def funnel() -> Target:
    """Neal's funnel in 20 dimensions, judged in the coordinates in which it is standard normal."""

    def whitened(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] / 3, x[:, 1:] * (-x[:, :1] / 2).exp()], dim=1)

    return Target(Funnel(20, scale=3.0), 20, _normal(20), whitened, torch.ones(20), torch.full((20,), 2.0))


def two_modes() -> Target:
    """3/4 N(0, 1) + 1/4 N(4 e_1, 0.6^2) in 50 dimensions."""
    far, width, share, d = 4.0, 0.6, 0.25, 50
    means = torch.zeros(2, d)
    means[1, 0] = far
    variances = torch.stack([torch.ones(d), torch.full((d,), width**2)])
    energy = GaussianMixture(means, variances, weights=torch.tensor([1 - share, share]))
    mean, fourth = (
        torch.full((d,), 1 - share + share * width**2),
        torch.full((d,), 3 * (1 - share + share * width**4)),
    )
    mean[0] = 1 - share + share * (far**2 + width**2)
    fourth[0] = 3 * (1 - share) + share * (far**4 + 6 * far**2 * width**2 + 3 * width**4)
    return Target(energy, d, _normal(d), _same, mean, fourth - mean.square())


NAN = math.nan
# fmt: off
OBSERVED = torch.tensor([
    0.21592641, 0.118771404, -0.07945447, 0.037677474, -0.27885845, -0.1484156, -0.3250906, -0.22957903, -0.44110894,
    -0.09830782, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, -0.8786016, -0.83736074, -0.7384849, -0.8939254,
    -0.7774566, -0.70238715, -0.87771565, -0.51853573, -0.6948214, -0.6202789,
])
# fmt: on


def brownian() -> Target:
    """A Brownian path with unknown scales, seen at 20 of 30 times: inference-gym's posterior, 32 dimensions.

    The scales have LogNormal(0, 2) priors and are sampled through a softplus. Columns: innovation scale,
    observation scale, 30 positions.
    """
    # A factor, and no choice of columns: a compiled step takes no boolean index.
    seen, observed = (~OBSERVED.isnan()).float(), OBSERVED.nan_to_num()

    def energy(x: Tensor) -> Tensor:
        scales, path = softplus(x[:, :2]), x[:, 2:]
        innovation, observation = scales.log().unbind(1)
        prior = (scales.log().square() / 8 + scales.log() - logsigmoid(x[:, :2])).sum(1)
        steps = torch.diff(path, dim=1, prepend=torch.zeros_like(path[:, :1]))
        walk = (steps / scales[:, :1]).square().sum(1) / 2 + 30 * innovation
        errors = seen.to(x.dtype) * (path - observed.to(x.dtype)) / scales[:, 1:]
        return prior + walk + errors.square().sum(1) / 2 + seen.sum() * observation

    def start(n: int, rng: torch.Generator) -> Tensor:
        scales = torch.tensor([0.1, 0.15]).log() + 0.1 * torch.randn(n, 2, generator=rng)
        path = (0.1 * torch.randn(n, 30, generator=rng)).cumsum(1)
        return torch.cat([torch.expm1(scales.exp()).log(), path], dim=1)

    def values(x: Tensor) -> Tensor:
        return torch.cat([softplus(x[:, :2]), x[:, 2:]], dim=1)

    _, second, fourth = brownian_moments()
    return Target(Neural(energy), 32, start, values, second, fourth - second.square())


def brownian_moments(points: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    """First, second and fourth moments, by quadrature over the two scales: given them, the path is normal."""
    seen = ~OBSERVED.isnan()
    log_scales = torch.linspace(math.log(1e-7), math.log(2.0), points, dtype=torch.float64)
    innovation, observation = (grid.flatten() for grid in torch.meshgrid(log_scales, log_scales, indexing="ij"))
    difference = torch.eye(30, dtype=torch.float64) - torch.diag(torch.ones(29, dtype=torch.float64), -1)
    walk = (difference.T @ difference)[None] * (-2 * innovation).exp()[:, None, None]
    weight = torch.diag(seen.double())[None] * (-2 * observation).exp()[:, None, None]
    precision = walk + weight
    y = torch.where(seen, OBSERVED, 0.0).double()
    pull = y * (-2 * observation).exp()[:, None]
    factor = torch.linalg.cholesky(precision)
    mean = torch.cholesky_solve(pull[..., None], factor)[..., 0]
    variance = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    # log p(y | scales) + log prior; the measure d(log scale) takes up the prior's 1/scale.
    fit = (pull * mean).sum(1) / 2 - (pull * y).sum(1) / 2
    volume = -factor.diagonal(dim1=1, dim2=2).log().sum(1) - 30 * innovation - seen.sum() * observation
    log_weights = fit + volume - innovation.square() / 8 - observation.square() / 8
    weights = log_weights.softmax(0)[:, None]
    scales = torch.stack([innovation, observation], dim=1).exp()
    first = torch.cat([scales, mean], dim=1)
    second = torch.cat([scales**2, mean**2 + variance], dim=1)
    fourth = torch.cat([scales**4, mean**4 + 6 * mean**2 * variance + 3 * variance**2], dim=1)
    return tuple((weights * moment).sum(0) for moment in (first, second, fourth))  # type: ignore[return-value]


TARGETS = {
    "banana": banana,
    "gaussian": gaussian,
    "brownian": brownian,
    "rosenbrock": rosenbrock,
    "two-modes": two_modes,
    "funnel": funnel,
}


def _normal(d: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda n, rng: torch.randn(n, d, generator=rng)


def _same(x: Tensor) -> Tensor:
    return x


def main() -> None:
    """Compare the quadrature with the published posterior of the Brownian motion."""
    first, second, _ = brownian_moments()
    finer, _, _ = brownian_moments(280)
    deviation = (second - first.square()).sqrt()
    print(f"largest change on a finer grid: {float((finer - first).abs().max()):.1e}")
    for name, place, mean, error, sd in (
        ("innovation scale", 0, 0.11984811188, 0.00062174, 0.0466820842),
        ("observation scale", 1, 0.10105278383, 0.00063717, 0.0444265165),
        ("position 0", 2, 0.10274263934, 0.00094051, 0.0862381076),
        ("position 15", 17, -0.548606013399, 0.00116204, 0.2155559326),
        ("position 29", 31, -0.6432216, 0.00025145, 0.0821309860),
    ):
        print(
            f"{name}: {float(first[place]):.5f} (published {mean:.5f} ± {error:.5f}), "
            f"deviation {float(deviation[place]):.5f} (published {sd:.5f})"
        )


if __name__ == "__main__":
    main()
