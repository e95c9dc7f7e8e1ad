"""Memories against their formulas, written out pattern by pattern in float64."""

import math

import pytest
import torch

from benchmarks.boltzmann.hopfield import told_apart
from erg.energies import (
    ContinuousMemory,
    DenseMemory,
    Exponential,
    Hopfield,
    Polynomial,
    Rectified,
    evaluate,
    hopfield,
)
from erg.evaluation.partition import log_partition
from erg.support import Binary, Box, Spin

SHAPE = (2, 3)
SEPARATIONS = [Polynomial(2), Polynomial(3), Rectified(3), Rectified(4), Exponential(0.7)]
EVERY = torch.cat(list(Spin().enumerate(SHAPE))).double()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def spins(count, shape=SHAPE, seed=1):
    return Spin().initial((count, *shape), rng(seed)).double()


def written_out(patterns, s, separation):
    """The energy of one state, in plain numbers."""
    overlaps = [sum(a * b for a, b in zip(p, s, strict=True)) / len(s) for p in patterns.flatten(1).tolist()]
    if isinstance(separation, Exponential):
        beta = separation.sharpness
        return -math.log(sum(math.exp(beta * len(s) * m) for m in overlaps)) / beta
    if isinstance(separation, Rectified):
        overlaps = [max(m, 0.0) for m in overlaps]
    return -len(s) * sum(m**separation.power / separation.power for m in overlaps)


@pytest.mark.parametrize("separation", SEPARATIONS, ids=str)
class TestDense:
    def test_energies_are_the_formula(self, separation, monkeypatch):
        monkeypatch.setattr(hopfield, "CHUNK", 3)
        patterns = spins(7)
        expected = torch.tensor(
            [written_out(patterns, s.flatten().tolist(), separation) for s in EVERY], dtype=torch.float64
        )
        torch.testing.assert_close(DenseMemory(patterns, separation)(EVERY), expected, atol=1e-12, rtol=1e-12)

    def test_bits_are_read_as_spins(self, separation):
        patterns = spins(7)
        bits = DenseMemory((patterns + 1) / 2, separation, support=Binary())
        torch.testing.assert_close(bits((EVERY + 1) / 2), DenseMemory(patterns, separation)(EVERY))
        assert bits.support == Binary()

    def test_the_gradient_is_the_slope(self, separation):
        memory, x = DenseMemory(spins(7), separation), torch.rand(4, *SHAPE, generator=rng(), dtype=torch.float64)
        gradient = evaluate(memory, x).gradient
        step = torch.zeros_like(x)
        step[:, 1, 2] = 1e-5
        slope = (memory(x + step) - memory(x - step)) / 2e-5
        torch.testing.assert_close(gradient[:, 1, 2], slope, atol=1e-8, rtol=1e-7)

    def test_what_is_called_convex_lies_below_its_tangents(self, separation):
        """Over the whole cube, as recall with all spins at once needs; an odd power is caught."""
        memory = DenseMemory(spins(7), separation)
        x = 2 * torch.rand(200, *SHAPE, generator=rng(), dtype=torch.float64) - 1
        at = evaluate(memory, x)
        other = x.roll(1, 0)
        tangent = at.energy + (at.gradient * (other - x)).flatten(1).sum(1)
        below = memory(other) <= tangent + 1e-12
        assert bool(below.all()) == separation.convex


class TestClassical:
    def test_hebb_is_the_dense_memory_of_power_two(self):
        """Up to the energy of the self-couplings, P / 2."""
        patterns = spins(5)
        dense = DenseMemory(patterns, Polynomial(2))(EVERY)
        torch.testing.assert_close(Hopfield.hebbian(patterns)(EVERY), dense + 5 / 2)

    @pytest.mark.parametrize("support", [Spin(), Binary()], ids=str)
    def test_energies_and_gaps_are_sums_over_pairs(self, support):
        low, high = support.values
        patterns = low + (high - low) * (spins(3) + 1) / 2
        energy = Hopfield.hebbian(patterns, support=support)
        J, x = energy.couplings, low + (high - low) * (EVERY + 1) / 2
        s = EVERY.flatten(1)
        pairs = sum(J[i, j] * s[:, i] * s[:, j] for i in range(6) for j in range(i))
        torch.testing.assert_close(energy(x), -pairs)
        lower, higher = x.clone(), x.clone()
        lower[:, 1, 0], higher[:, 1, 0] = low, high
        torch.testing.assert_close(energy.gap(x, 3), energy(higher) - energy(lower))

    def test_the_pseudo_inverse_projects(self):
        patterns = spins(4, (12,))
        patterns[3] = patterns[0]  # A repeated pattern changes nothing.
        J = Hopfield.pseudo_inverse(patterns).couplings
        projection = torch.linalg.pinv(patterns) @ patterns
        torch.testing.assert_close(J, projection - projection.diagonal().diag(), atol=1e-12, rtol=0)

    def test_the_pseudo_inverse_holds_as_many_as_it_has_spins_less_one(self):
        patterns = spins(39, (40,))
        fields = patterns @ Hopfield.pseudo_inverse(patterns).couplings
        assert bool((fields.sign() == patterns).all())
        assert not bool(((patterns @ Hopfield.hebbian(patterns).couplings).sign() == patterns).all(1).any())

    def test_log_z_is_that_of_a_boltzmann_machine(self):
        J = Hopfield.hebbian(spins(3))
        direct = (-J(EVERY) / 0.6).logsumexp(0)
        assert log_partition(J.double() / 0.6, SHAPE).value == pytest.approx(float(direct), rel=1e-5)


class TestContinuous:
    def test_energies_are_the_formula(self, monkeypatch):
        monkeypatch.setattr(hopfield, "CHUNK", 2)
        patterns = torch.randn(5, 3, generator=rng(), dtype=torch.float64)
        x, beta = torch.randn(8, 3, generator=rng(1), dtype=torch.float64), 1.7
        total = sum((beta * x @ p).exp() for p in patterns)
        longest = max(float(p @ p) for p in patterns)
        expected = -total.log() / beta + (x**2).sum(1) / 2 + math.log(5) / beta + longest / 2
        memory = ContinuousMemory(patterns, sharpness=beta)
        torch.testing.assert_close(memory(x), expected)
        assert bool((memory(x) >= 0).all())

    def test_one_step_down_is_attention(self):
        patterns = torch.randn(5, 3, generator=rng(), dtype=torch.float64)
        x = torch.randn(8, 3, generator=rng(1), dtype=torch.float64)
        attention = (1.7 * x @ patterns.mT).softmax(1) @ patterns
        torch.testing.assert_close(x - evaluate(ContinuousMemory(patterns, sharpness=1.7), x).gradient, attention)

    def test_the_law_is_a_mixture_of_gaussians(self):
        patterns, beta = torch.tensor([[1.0], [-0.4]], dtype=torch.float64), 1.7
        energy = ContinuousMemory(patterns, sharpness=beta) * beta
        x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
        mixture = sum((-(x - p).square() * beta / 2 + beta * p * p / 2).exp() for p in patterns).squeeze(1)
        ratio = (-energy(x)).exp() / mixture
        torch.testing.assert_close(ratio, ratio[:1].expand(9))


class TestBenchmark:
    def test_what_cannot_be_told_apart_is_counted(self):
        """Two different rows and a copy of one share what is visible: two of these three can be right."""
        rows = torch.tensor([[0.0, 1, 0], [0.0, 1, 1], [0.0, 1, 1], [1.0, 0, 0], [1.0, 1, 0], [1.0, 1, 0]])
        unlike, bound = told_apart(rows, torch.tensor([True, True, False]))
        assert unlike.tolist() == [True, True, True, False, False, False] and bound == pytest.approx(5 / 6)


class TestBadInput:
    def test_patterns_off_the_support_are_refused(self):
        with pytest.raises(ValueError, match="1 of 3 are not there; binarise"):
            DenseMemory(torch.tensor([[1.0, -1.0], [1.0, 1.0], [0.0, 1.0]]))
        with pytest.raises(ValueError, match="at least one"):
            Hopfield.hebbian(torch.zeros(0, 4))
        with pytest.raises(ValueError, match="are not there"):
            ContinuousMemory(torch.tensor([[torch.inf, 1.0]]))
        with pytest.raises(TypeError, match="use ContinuousMemory"):
            DenseMemory(torch.ones(2, 2), support=Box())

    def test_unfit_couplings_are_refused(self):
        with pytest.raises(ValueError, match="symmetric"):
            Hopfield(torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
        with pytest.raises(ValueError, match="finite"):
            Hopfield(torch.full((2, 2), torch.inf))
        with pytest.raises(ValueError, match="couples 6 spins"):
            Hopfield(torch.zeros(5, 5), shape=(2, 3))

    def test_unfit_numbers_are_refused(self):
        with pytest.raises(ValueError, match="power of at least 2"):
            Polynomial(1)
        with pytest.raises(ValueError, match="positive, finite sharpness"):
            Exponential(0.0)
        with pytest.raises(ValueError, match=r"events of shape \(2, 3\)"):
            DenseMemory(spins(2))(torch.ones(4, 6))
