"""Annealing against matrices, closed forms, and itself without what it remembers."""

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from scipy.stats import t as student

from erg.energies import Counted, Gaussian, GaussianMixture, Independent, Neural, Path
from erg.estimate import Estimate
from erg.roles import Kernel
from erg.samplers import Preconditioned, ais, bracket, dmala, gibbs, gwg, hmc, mala, random_walk, reverse_ais, smc
from erg.samplers.annealing.importance import ImportanceSamples
from erg.samplers.annealing.population import systematic
from erg.samplers.annealing.weights import effective_sample_size, log_mean, log_mean_bound
from erg.support import Spin

TEMPERATURE = 0.7
BETAS = torch.tensor([0.0, 0.1, 0.35, 0.6, 1.0], dtype=torch.float64)
COUPLING = torch.tensor([[0.0, 0.9, -0.4], [0.0, 0.0, 0.6], [0.0, 0.0, 0.0]])
FIELD = torch.tensor([0.3, -0.5, 0.2])
COINS = Independent(torch.tensor([0.4, -0.3, 0.8]), Spin())


def spins(x):
    return -torch.einsum("bi,ij,bj->b", x, COUPLING.to(x), x) - x @ FIELD.to(x)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Enumerated(NamedTuple):
    """E[w] and E[w^2] of annealing by products of matrices."""

    first: float
    second: float


def enumerated(temperature: float, *, down: bool = False) -> Enumerated:
    """Gibbs sampling of one site of three at each beta, over all eight states."""
    states = torch.cat(list(Spin().enumerate((3,)))).double()
    target, reference = spins(states) / temperature, COINS(states)
    betas = BETAS.flip(0) if down else BETAS
    start = target if down else reference
    first = second = (-start).softmax(0)
    for former, beta in itertools.pairwise(betas):
        weight = (-(beta - former) * (target - reference)).exp()
        first, second = first * weight, second * weight.square()
        if 0 < beta < 1:
            matrix = site_by_site(states, (1 - beta) * reference + beta * target)
            first, second = first @ matrix, second @ matrix
    return Enumerated(first.sum().item(), second.sum().item())


def site_by_site(states, energies):
    """The transition matrix: choose one of three sites, draw it given the others."""
    matrix = torch.zeros(len(states), len(states), dtype=torch.float64)
    for i, state in enumerate(states):
        for site in range(3):
            flipped = state.clone()
            flipped[site] *= -1
            j = int((states == flipped).all(1).nonzero())
            p = (energies[i] - energies[j]).sigmoid()
            matrix[i, j] += p / 3
            matrix[i, i] += (1 - p) / 3
    return matrix


def within(draws, truth, sigmas=5.0):
    return abs(draws.mean() - truth) < sigmas * draws.std() / len(draws) ** 0.5


class TestMatrices:
    def test_the_mean_of_the_matrices_is_the_ratio_of_partition_functions(self):
        states = torch.cat(list(Spin().enumerate((3,)))).double()
        log_z = (-spins(states) / TEMPERATURE).logsumexp(0)
        assert enumerated(TEMPERATURE).first == pytest.approx((log_z - COINS.log_z).exp().item())
        assert enumerated(TEMPERATURE, down=True).first == pytest.approx((COINS.log_z - log_z).exp().item())

    @pytest.mark.parametrize("temperature", [TEMPERATURE, 2.5])
    def test_forward_weights_have_the_moments_of_the_matrices(self, temperature):
        path = Path(COINS, Neural(spins, support=Spin()) / temperature)
        found = ais(path, gibbs(), betas=BETAS, chains=100_000, rng=rng())
        w = (found.log_weights - float(COINS.log_z)).exp()
        expected = enumerated(temperature)
        assert within(w, expected.first) and within(w.square(), expected.second)

    def test_reverse_weights_have_the_moments_of_the_matrices(self):
        energy = Neural(spins, support=Spin()) / TEMPERATURE
        states = torch.cat(list(Spin().enumerate((3,))))
        exact = states[torch.multinomial((-energy(states)).softmax(0), 100_000, replacement=True, generator=rng(1))]
        found = reverse_ais(Path(COINS, energy), gibbs(), exact, betas=BETAS, rng=rng())
        w = (found.log_weights + float(COINS.log_z)).exp()
        expected = enumerated(TEMPERATURE, down=True)
        assert within(w, expected.first) and within(w.square(), expected.second)

    def test_each_population_is_right_on_average(self):
        path = Path(COINS, Neural(spins, support=Spin()) / TEMPERATURE)
        truth = (enumerated(TEMPERATURE).first * COINS.log_z.exp()).item()
        found = smc(path, gibbs(), chains=64_000, populations=1000, keep=0.9, rng=rng())
        assert within(found.log_weights.reshape(1000, 64).exp().mean(1), truth)
        assert len(found.betas) > 3


@dataclass(frozen=True)
class Perfect(Kernel):
    """Draws afresh from N(m, v)."""

    mean: float
    variance: float

    def init(self, energy, x):
        return mala(1.0).init(energy, x)

    def step(self, energy, state, rng):
        x = self.mean + self.variance**0.5 * torch.randn(state.x.shape, generator=rng, dtype=state.x.dtype)
        return mala(1.0).init(energy, x), torch.ones(len(x))


class TestClosedForm:
    """A Gaussian path with kernels that forget: increments are independent, with known mean and variance."""

    MEAN, VARIANCE = 0.8, 0.3

    def law(self, beta):
        precision = (1 - beta) + beta / (self.VARIANCE * TEMPERATURE)
        return beta * self.MEAN / (self.VARIANCE * TEMPERATURE) / precision, 1 / precision

    def moments(self, beta):
        """Mean and variance of (E_1 - E_0)(x) under the law at beta."""
        m, v = self.law(beta)
        a = (1 / (self.VARIANCE * TEMPERATURE) - 1) / 2
        b = -self.MEAN / (self.VARIANCE * TEMPERATURE)
        c = self.MEAN**2 / (2 * self.VARIANCE * TEMPERATURE)
        return a * (m * m + v) + b * m + c, 2 * (a * v) ** 2 + v * (2 * a * m + b) ** 2

    def path(self):
        mean = torch.tensor([self.MEAN], dtype=torch.float64)
        target = Gaussian.isotropic(mean, variance=self.VARIANCE) / TEMPERATURE
        return Path(Gaussian.standard(1), target)

    @pytest.mark.parametrize("down", [False, True], ids=["forward", "reverse"])
    def test_mean_and_variance_of_the_log_weights(self, down):
        betas = BETAS.flip(0) if down else BETAS
        sign = -1 if down else 1
        log_z0 = math.log(2 * math.pi) / 2
        parts = [(abs(b - a), *self.moments(float(a))) for a, b in itertools.pairwise(betas)]
        mean = -sign * sum(float(change) * m for change, m, _ in parts) + sign * log_z0
        variance = sum(float(change) ** 2 * v for change, _, v in parts)
        path, kernel = self.path(), lambda beta: Perfect(*self.law(beta))
        if down:
            m, v = self.law(1.0)
            x = m + v**0.5 * torch.randn(50_000, 1, generator=rng(1), dtype=torch.float64)
            found = reverse_ais(path, kernel, x, betas=BETAS, rng=rng())
        else:
            found = ais(path, kernel, betas=BETAS, chains=50_000, rng=rng())
        assert within(found.log_weights, mean)
        assert within((found.log_weights - mean).square(), variance)

    def test_log_z_at_a_temperature(self):
        truth = math.log(2 * math.pi * self.VARIANCE * TEMPERATURE) / 2
        found = ais(self.path(), lambda beta: Perfect(*self.law(beta)), betas=100, chains=2000, rng=rng())
        assert abs(found.log_z.value - truth) < 5 * found.log_z.standard_error < 0.05
        assert abs(found.x.mean() - self.MEAN) < 0.1


class Bare(NamedTuple):
    x: torch.Tensor


@dataclass(frozen=True)
class Forgetful(Kernel):
    """Evaluates again at every step what `kernel` would have kept."""

    kernel: Kernel

    def init(self, energy, x):
        self.kernel.init(energy, x)
        return Bare(x)

    def step(self, energy, state, rng):
        state, acceptance = self.kernel.step(energy, self.kernel.init(energy, state.x), rng)
        return Bare(state.x), acceptance


REAL = {
    "mala": mala(0.2),
    "hmc": hmc(0.3, 3),
    "random_walk": random_walk(0.4),
    "preconditioned": Preconditioned(mala(0.4), torch.tensor([0.7, 1.3, 1.0])),
    "of beta": lambda beta: Preconditioned(mala(0.4), torch.tensor(1.0 - beta / 2)),
}
DISCRETE = {"gwg": gwg(), "dmala": dmala(0.8), "gibbs": gibbs()}


class TestWhatIsRemembered:
    """Energies read off the kernel's state are those that a fresh evaluation gives."""

    def same(self, path, kernel, x):
        forgetful = (lambda beta: Forgetful(kernel(beta))) if not isinstance(kernel, Kernel) else Forgetful(kernel)
        betas = torch.cat([torch.zeros(1), torch.logspace(-6, 0, 12, dtype=torch.float64)])
        for run in (
            lambda k: ais(path, k, betas=betas, chains=50, steps=2, rng=rng()),
            lambda k: reverse_ais(path, k, x, betas=betas, steps=2, rng=rng()),
            lambda k: smc(path, k, chains=64, populations=2, keep=0.8, resample_below=0.9, rng=rng()),
        ):
            one, other = run(kernel), run(forgetful)
            torch.testing.assert_close(one.log_weights, other.log_weights, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(one.x, other.x)

    @pytest.mark.parametrize("name", REAL)
    def test_on_the_real_numbers(self, name):
        means = torch.tensor([[1.0, 0.5, -0.5], [-1.0, 0.0, 0.3]], dtype=torch.float64)
        target = GaussianMixture.isotropic(means, variance=0.3)
        path = Path(Gaussian.isotropic(torch.zeros(3, dtype=torch.float64)), target / TEMPERATURE)
        self.same(path, REAL[name], target.exact_samples(50, rng()))

    @pytest.mark.parametrize("name", DISCRETE)
    def test_on_spins(self, name):
        coins = Independent(COINS.logits.double(), Spin())
        path = Path(coins, Neural(spins, support=Spin()) / TEMPERATURE)
        self.same(path, DISCRETE[name], Spin().initial((50, 3), rng()).double())

    @pytest.mark.parametrize(("name", "cost"), [("mala", 1), ("hmc", 3), ("preconditioned", 1)])
    def test_a_beta_costs_the_steps_of_its_kernel(self, name, cost):
        energy = Counted(Gaussian.isotropic(torch.ones(3), variance=0.5))
        path = Path(Gaussian.standard(3), energy)
        ais(path, REAL[name], betas=20, chains=8, steps=2, rng=rng())
        assert (energy.gradients, energy.values) == (1 + 19 * 2 * cost, 0)
        energy.gradients = 0
        reverse_ais(path, REAL[name], torch.ones(8, 3), betas=20, steps=2, rng=rng())
        assert (energy.gradients, energy.values) == (1 + 19 * 2 * cost, 0)
        energy.gradients = 0
        found = smc(path, REAL[name], chains=32, populations=2, rng=rng())
        assert (energy.gradients, energy.values) == (1 + (len(found.betas) - 2) * cost, 0)

    def test_a_leap_in_beta_evaluates_anew(self):
        energy = Counted(Gaussian.isotropic(torch.ones(3), variance=0.5))
        betas = torch.tensor([0.0, 1e-4, 0.5, 1.0])
        ais(Path(Gaussian.standard(3), energy), mala(0.2), betas=betas, chains=8, rng=rng())
        assert energy.gradients == 1 + 1 + 1 + 1


def jackknife(weights):
    """Written the long way."""
    n = len(weights)
    without = torch.stack([torch.cat([weights[:i], weights[i + 1 :]]).mean().log() for i in range(n)])
    value = n * weights.mean().log() - (n - 1) * without.mean()
    return value.item(), ((n - 1) / n * (without - without.mean()).square().sum()).sqrt().item()


class TestWeights:
    def test_log_mean_is_the_jackknife_stretched_by_students_law(self):
        w = torch.tensor([0.3, 1.1, 0.2, 2.5, 0.9], dtype=torch.float64)
        value, error = jackknife(w)
        found = log_mean(w.log() + 700)
        assert found.value == pytest.approx(value + 700, rel=1e-12)
        kurtosis = ((w - w.mean()) ** 4).mean() / (w - w.mean()).square().mean() ** 2
        degrees = min(2 * 5 / (kurtosis.item() - 1 + 2 / 4), 4)
        assert found.standard_error == pytest.approx(error * student.ppf(0.975, degrees) / 1.959964, rel=1e-6)

    def test_ends_of_the_scale(self):
        one = torch.tensor([0.0, -torch.inf, -torch.inf])
        assert log_mean(one) == Estimate(pytest.approx(-math.log(3)), math.inf)
        assert log_mean(one[1:]) == Estimate(-math.inf, math.inf)
        assert log_mean(torch.full((5,), 2.0)) == Estimate(pytest.approx(2.0), 0.0)
        assert effective_sample_size(one) == 1 and effective_sample_size(one[1:]) == 0
        assert effective_sample_size(torch.tensor([0.0, 0.0, -math.log(2)])).item() == pytest.approx(2.5**2 / 2.25)
        assert log_mean_bound(torch.tensor([0.0, math.log(3)])) == pytest.approx(math.log(2))

    def test_systematic_resampling_takes_each_as_often_as_expected_up_to_one(self):
        log_weights = torch.randn(40, 7, generator=rng(), dtype=torch.float64)
        drawn = systematic(log_weights, 50, rng(1))
        counts = torch.stack([(drawn == i).sum(1) for i in range(7)], 1)
        expected = 50 * log_weights.softmax(1)
        assert ((counts - expected).abs() < 1).all() and (counts.sum(1) == 50).all()
        assert (systematic(torch.full((1, 3), -torch.inf), 3, rng()) == torch.arange(3)).all()


def test_the_bracket_is_bennetts_ratio_on_log_normal_weights():
    # Forward l ~ N(c - s^2/2, s^2) makes reverse l ~ N(c + s^2/2, s^2): the ratio of densities is e^(l - c).
    c, s = 3.7, 1.4
    forward = c - s * s / 2 + s * torch.randn(40_000, generator=rng(0), dtype=torch.float64)
    reverse = c + s * s / 2 + s * torch.randn(10_000, generator=rng(1), dtype=torch.float64)

    def side(log_weights, log_z, bound):
        return ImportanceSamples(log_z, bound, log_weights, log_weights[:, None], torch.ones(1), False)

    up = side(forward, log_mean(forward), log_mean_bound(forward))
    down = side(-reverse, log_mean(reverse), -log_mean_bound(-reverse))
    found = bracket(up, down)
    assert abs(found.combined.value - c) < 4 * found.combined.standard_error < 0.06
    assert found.combined.standard_error < min(found.lower.standard_error, found.upper.standard_error)
    # At the solution the two sums agree.
    m = math.log(4)
    ours = (forward - found.combined.value - m).sigmoid().sum()
    assert ours.item() == pytest.approx((found.combined.value + m - reverse).sigmoid().sum().item(), rel=1e-9)
    assert found.lower.value == up.bound and found.upper.value == down.bound
    assert found.width == down.bound - up.bound
