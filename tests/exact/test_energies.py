"""Formulas, partition functions, gradients and exact samples of the analytic energies, in float64.

The references are written in numpy from the docstrings, and integrated on grids.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

from erg.energies import DoubleWell, Energy, Funnel, Gaussian, GaussianMixture, MuellerBrown, Rings, Rosenbrock

Array = np.ndarray
MEAN = np.array([0.4, -0.7])
COVARIANCE = np.array([[1.3, 0.5], [0.5, 0.6]])
MEANS = np.array([[1.0, 0.5], [-1.2, 0.2]])
COVARIANCES = np.stack([COVARIANCE, np.diag([0.3, 0.8])])
WEIGHTS = np.array([0.5, 1.5])


class Target(NamedTuple):
    """An energy, its formula, and a quadrature: points (n, 2) and their weights."""

    energy: Callable[[], Energy]
    formula: Callable[[Array], Array]
    quadrature: Callable[[], tuple[Array, Array]]


def tensor(values: Array) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def line(low: float, high: float, points: int) -> tuple[Array, Array]:
    x = np.linspace(low, high, points)
    weights = np.full(points, x[1] - x[0])
    weights[[0, -1]] /= 2
    return x, weights


def grid(first: tuple[float, float, int], second: tuple[float, float, int]) -> tuple[Array, Array]:
    (x, of_x), (y, of_y) = line(*first), line(*second)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.outer(of_x, of_y).ravel()


def polar() -> tuple[Array, Array]:
    # Gauss-Legendre: the trapezoid rule is only of second order at r = 0, where the integrand has a slope.
    nodes, of_nodes = np.polynomial.legendre.leggauss(200)
    r, of_r, angle = 3 * (nodes + 1), 3 * of_nodes, np.arange(64) * 2 * np.pi / 64
    points = np.stack([np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))], axis=-1).reshape(-1, 2)
    return points, np.repeat(of_r * r, 64) * 2 * np.pi / 64


def funnel_grid() -> tuple[Array, Array]:
    (v, of_v), (u, of_u) = line(-12, 12, 601), line(-9, 9, 201)
    width = np.exp(v / 2)
    points = np.stack([np.repeat(v, 201), np.outer(width, u).ravel()], axis=-1)
    return points, np.outer(of_v * width, of_u).ravel()


def rosenbrock_grid() -> tuple[Array, Array]:
    (x, of_x), (u, of_u) = line(-8, 10, 801), line(-4, 4, 201)
    points = np.stack([np.repeat(x, 201), (x[:, None] ** 2 + u).ravel()], axis=-1)
    return points, np.outer(of_x, of_u).ravel()


def gaussian_formula(x: Array, mean: Array = MEAN, covariance: Array = COVARIANCE) -> Array:
    return np.einsum("ni,ij,nj->n", x - mean, np.linalg.inv(covariance), x - mean) / 2


def mixture_formula(x: Array) -> Array:
    density = 0
    for weight, mean, covariance in zip(WEIGHTS / WEIGHTS.sum(), MEANS, COVARIANCES, strict=True):
        volume = 2 * np.pi * np.sqrt(np.linalg.det(covariance))
        density = density + weight * np.exp(-gaussian_formula(x, mean, covariance)) / volume
    return -np.log(density)


def mueller_brown_formula(p: Array) -> Array:
    x, y = p.T
    return (
        -200 * np.exp(-((x - 1) ** 2) - 10 * y**2)
        - 100 * np.exp(-(x**2) - 10 * (y - 0.5) ** 2)
        - 170 * np.exp(-6.5 * (x + 0.5) ** 2 + 11 * (x + 0.5) * (y - 1.5) - 6.5 * (y - 1.5) ** 2)
        + 15 * np.exp(0.7 * (x + 1) ** 2 + 0.6 * (x + 1) * (y - 1) + 0.7 * (y - 1) ** 2)
    )


def rings_formula(x: Array) -> Array:
    r = np.hypot(*x.T)
    return -np.logaddexp(-((r - 0.6) ** 2) / (2 * 0.35**2), -((r - 2.0) ** 2) / (2 * 0.35**2))


TARGETS = {
    "Gaussian": Target(
        lambda: Gaussian(tensor(MEAN), tensor(COVARIANCE)),
        gaussian_formula,
        lambda: grid((-12, 12, 401), (-12, 12, 401)),
    ),
    "Gaussian, variances": Target(
        lambda: Gaussian(tensor(MEAN), tensor(np.array([1.7, 0.2]))),
        lambda x: gaussian_formula(x, MEAN, np.diag([1.7, 0.2])),
        lambda: grid((-14, 14, 401), (-8, 8, 401)),
    ),
    "GaussianMixture": Target(
        lambda: GaussianMixture(tensor(MEANS), tensor(COVARIANCES), weights=tensor(WEIGHTS)),
        mixture_formula,
        lambda: grid((-12, 12, 401), (-9, 9, 401)),
    ),
    "DoubleWell": Target(
        lambda: DoubleWell(barrier=1.7, well=1.3),
        lambda x: 1.7 * ((x[:, 0] / 1.3) ** 2 - 1) ** 2 + x[:, 1] ** 2 / 2,
        lambda: grid((-5, 5, 401), (-10, 10, 401)),
    ),
    "MuellerBrown": Target(MuellerBrown, mueller_brown_formula, lambda: grid((-2.5, 1.7, 801), (-1, 3, 801))),
    "Funnel": Target(
        lambda: Funnel(2, scale=1.4),
        lambda x: x[:, 0] ** 2 / (2 * 1.4**2) + np.exp(-x[:, 0]) * x[:, 1] ** 2 / 2 + x[:, 0] / 2,
        funnel_grid,
    ),
    "Rings": Target(lambda: Rings((0.6, 2.0), width=0.35), rings_formula, polar),
    "Rosenbrock": Target(
        lambda: Rosenbrock(along=0.7, across=3.0),
        lambda x: 0.7 * (x[:, 0] - 1) ** 2 + 3.0 * (x[:, 1] - x[:, 0] ** 2) ** 2,
        rosenbrock_grid,
    ),
}
every_target = pytest.mark.parametrize("target", [pytest.param(target, id=name) for name, target in TARGETS.items()])


def some_states(n: int = 40) -> Array:
    return np.random.default_rng(7).uniform([-1.5, -0.5], [1.2, 2.0], size=(n, 2))


@every_target
def test_energy_is_the_formula(target: Target) -> None:
    x = some_states()
    np.testing.assert_allclose(target.energy()(tensor(x)).numpy(), target.formula(x), rtol=1e-12, atol=1e-12)


@every_target
def test_gradient_is_the_finite_difference_of_the_formula(target: Target) -> None:
    x, h = some_states(), 1e-5
    states = tensor(x).requires_grad_()
    (gradient,) = torch.autograd.grad(target.energy()(states).sum(), states)
    for axis, step in enumerate(h * np.eye(2)):
        slope = (target.formula(x + step) - target.formula(x - step)) / (2 * h)
        np.testing.assert_allclose(gradient[:, axis].numpy(), slope, rtol=1e-6, atol=1e-6)


@every_target
def test_log_z_is_the_integral(target: Target) -> None:
    points, weights = target.quadrature()
    energies = target.formula(points)
    lowest = energies.min()
    integral = np.log(np.sum(weights * np.exp(lowest - energies))) - lowest
    assert float(target.energy().log_z) == pytest.approx(integral, abs=1e-9)


@every_target
def test_exact_samples_follow_the_density(target: Target) -> None:
    energy = target.energy()
    if isinstance(energy, MuellerBrown):
        pytest.skip("no exact sampler is known for this surface")
    n, rng = 20_000, torch.Generator().manual_seed(11)
    like = torch.zeros((), dtype=torch.float64)
    gaussian = isinstance(energy, Gaussian | GaussianMixture)
    x = energy.exact_samples(n, rng) if gaussian else energy.exact_samples(n, rng, like=like)
    assert x.dtype == torch.float64
    points, weights = target.quadrature()
    density = weights * np.exp(-target.formula(points) - float(energy.log_z))
    for statistic in STATISTICS:
        at_points = statistic(points)
        mean = density @ at_points
        error = math.sqrt((density @ at_points**2 - mean**2) / n)
        assert abs(statistic(x.numpy()).mean() - mean) < 5 * error


# Bounded, so that their errors are known even for heavy tails; together they see every half plane and scale.
STATISTICS: tuple[Callable[[Array], Array], ...] = (
    lambda x: np.tanh(x[:, 0]),
    lambda x: np.tanh(x[:, 1]),
    lambda x: np.cos(x[:, 0]),
    lambda x: np.cos(2 * x[:, 1]),
    lambda x: np.tanh(x[:, 0] * x[:, 1]),
    lambda x: np.exp(-np.hypot(x[:, 0], x[:, 1])),
)


class TestHigherDimensions:
    """What two dimensions cannot show: flattening, repeated pairs and every further coordinate."""

    def test_gaussian_on_matrices(self) -> None:
        random = np.random.default_rng(0)
        root, mean, x = random.normal(size=(6, 6)), random.normal(size=(2, 3)), random.normal(size=(7, 2, 3))
        covariance = root @ root.T + 0.5 * np.eye(6)
        energy = Gaussian(tensor(mean), tensor(covariance))
        expected = gaussian_formula(x.reshape(7, 6), mean.ravel(), covariance)
        np.testing.assert_allclose(energy(tensor(x)).numpy(), expected, rtol=1e-11)
        log_z = 3 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] / 2
        assert energy.log_z.item() == pytest.approx(log_z, rel=1e-12)

    @pytest.mark.parametrize("count", [6, 500])
    def test_gaussian_samples_have_its_covariance(self, count: int) -> None:
        """Six draws on six dimensions too: batch and event axes must not be confused."""
        covariance = np.diag([1.0, 2, 3, 4, 5, 6]) + 0.7
        energy = Gaussian(tensor(np.arange(6.0)), tensor(covariance))
        rng = torch.Generator().manual_seed(2)
        x = torch.cat([energy.exact_samples(count, rng) for _ in range(6_000 // count)]) - energy.mean
        white = np.linalg.solve(np.linalg.cholesky(covariance), x.numpy().T)
        products = white @ white.T / len(x)
        errors = np.sqrt((1 + np.eye(6)) / len(x))
        assert (np.abs(products - np.eye(6)) < 5 * errors).all()

    @pytest.mark.parametrize("count", [2, 500])
    def test_diagonal_mixture_samples_have_its_moments(self, count: int) -> None:
        variances = np.array([[0.2, 3.0], [1.5, 0.4]])
        energy = GaussianMixture(tensor(MEANS), tensor(variances), weights=tensor(WEIGHTS))
        rng = torch.Generator().manual_seed(2)
        x = torch.cat([energy.exact_samples(count, rng) for _ in range(4_000 // count)]).numpy()
        mean = np.array([0.25, 0.75]) @ MEANS
        second = np.array([0.25, 0.75]) @ (MEANS**2 + variances)
        np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * np.sqrt((second - mean**2) / 4_000))
        np.testing.assert_array_less(np.abs((x**2).mean(0) - second), 5 * (x**2).std(0) / math.sqrt(4_000))

    @pytest.mark.parametrize("barrier", [0.05, 0.9, 40.0, 5000.0])
    def test_double_well_log_z_is_its_bessel_formula(self, barrier: float) -> None:
        from scipy.special import ive

        bessel = ive(-0.25, barrier / 2) + ive(0.25, barrier / 2)
        expected = math.log(math.pi / 2 * 1.6 * bessel) + math.log(2 * math.pi)
        assert DoubleWell(3, barrier=barrier, well=1.6).log_z == pytest.approx(expected, abs=1e-11)

    def test_further_coordinates_are_independent_copies(self) -> None:
        x = tensor(some_states(6))
        wide = torch.cat([x, x.flip(0)], dim=1)
        pairs = Rosenbrock(2, along=0.7, across=3.0)
        four = Rosenbrock(4, along=0.7, across=3.0)
        torch.testing.assert_close(four(wide), pairs(x) + pairs(x.flip(0)))
        assert four.log_z == pytest.approx(2 * pairs.log_z)
        well = DoubleWell(4, barrier=1.7)
        torch.testing.assert_close(well(wide), DoubleWell(1, barrier=1.7)(x[:, :1]) + wide[:, 1:].square().sum(1) / 2)
        assert well.log_z == pytest.approx(DoubleWell(1, barrier=1.7).log_z + 1.5 * math.log(2 * math.pi))

    def test_funnel_of_four(self) -> None:
        x = some_states(6)
        wide = np.concatenate([x, x[::-1]], axis=1)
        v, rest = wide[:, 0], wide[:, 1:]
        expected = v**2 / (2 * 1.4**2) + np.exp(-v) * (rest**2).sum(1) / 2 + 1.5 * v
        np.testing.assert_allclose(Funnel(4, scale=1.4)(tensor(wide)).numpy(), expected, rtol=1e-12)
        assert Funnel(4, scale=1.4).log_z == pytest.approx(math.log(1.4) + 2 * math.log(2 * math.pi))
        draws = Funnel(4, scale=1.4).exact_samples(20_000, torch.Generator().manual_seed(1)).numpy()
        white = draws[:, 1:] * np.exp(-draws[:, :1] / 2)
        assert (np.abs((white**2).mean(0) - 1) < 5 * math.sqrt(2 / 20_000)).all()

    def test_rings_have_no_slope_at_the_origin(self) -> None:
        x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(Rings()(x).sum(), x)
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(
    ("minimum", "depth"), [((-0.558, 1.442), -146.70), ((0.623, 0.028), -108.17), ((-0.050, 0.467), -80.77)]
)
def test_mueller_brown_minima_are_where_they_are_published(minimum: tuple[float, float], depth: float) -> None:
    x = torch.tensor([minimum], dtype=torch.float64, requires_grad=True)
    energy = MuellerBrown()(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    assert energy.item() == pytest.approx(depth, abs=0.01)
    # The published digits are within 0.0005 of the minimum, and the curvature is below 4,000.
    assert gradient.abs().max() < 2
    hessian = torch.autograd.functional.hessian(lambda p: MuellerBrown()(p[None]).sum(), x[0].detach())
    assert (torch.linalg.eigvalsh(hessian) > 0).all()
