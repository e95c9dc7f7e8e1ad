"""Thermodynamics by enumeration against closed forms, by chains against enumeration, and Kaufman's torus."""

import math

import pytest
import torch

from benchmarks.boltzmann.torus import kaufman_log_z, torus
from erg.energies import BoltzmannMachine, Ising, Lattice, Neural, Potts
from erg.evaluation.thermodynamics import thermodynamics
from erg.samplers import Compiled, chromatic, dula, gwg
from erg.support import Binary, Spin

TEMPERATURES = [3.0, 1.2, 2.0]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_ring_has_its_closed_form():
    """Z = (2 cosh 1/T)^n + (2 sinh 1/T)^n, and u = -T^2 d(log Z)/dT / n by differences."""
    n, t, h = 7, 1.7, 1e-4

    def log_z(t):
        return math.log((2 * math.cosh(1 / t)) ** n + (2 * math.sinh(1 / t)) ** n)

    found = thermodynamics(Ising(Lattice((n,))), (n,), [t])
    derivative = [t**2 * (log_z(t + h) - log_z(t - h)) / (2 * h) for t in (t - h, t, t + h)]
    assert found.free_energy[0].value == pytest.approx(-t * log_z(t) / n, abs=1e-6)
    assert found.energy[0].value == pytest.approx(derivative[1] / n, abs=1e-6)
    assert found.heat_capacity[0].value == pytest.approx((derivative[2] - derivative[0]) / (2 * h) / n, abs=1e-5)
    assert found.entropy[0].value == pytest.approx((derivative[1] / n + t * log_z(t) / n) / t, abs=1e-6)


def test_free_spins_in_a_field():
    h, t, n = 0.8, 1.3, 3
    energy = Neural(lambda x: -h * x.sum(1), support=Spin())
    found = thermodynamics(energy, (n,), [t])
    states = [sum(s) for s in [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]]
    weights = [math.exp(h * m / t) for m in states]
    m, m2 = (sum(w * f for w, f in zip(weights, fs, strict=True)) / sum(weights)
             for fs in ([abs(s) for s in states], [s * s for s in states]))  # fmt: skip
    assert found.magnetisation[0].value == pytest.approx(m / n, abs=1e-6)
    assert found.susceptibility[0].value == pytest.approx((m2 - m**2) / n / t, abs=1e-6)
    assert found.entropy[0].value == pytest.approx(
        math.log(2 * math.cosh(h / t)) - h / t * math.tanh(h / t), abs=1e-6
    )


@pytest.mark.parametrize(
    ("energy", "event", "kernel"),
    [
        (Ising(Lattice((3, 3)), field=0.1), (3, 3), chromatic()),
        pytest.param(Ising(Lattice((3, 3)), field=0.1), (3, 3), Compiled(chromatic()), marks=pytest.mark.slow),
        (Potts(Lattice((2, 3)), 3), (2, 3, 3), chromatic()),
        (BoltzmannMachine((6,), support=Binary(), scale=1.0), (6,), gwg()),
    ],
    ids=["Ising", "compiled", "Potts", "gwg"],
)
def test_chains_agree_with_enumeration(energy, event, kernel):
    exact = thermodynamics(energy, event, TEMPERATURES)
    found = thermodynamics(
        energy, event, TEMPERATURES, kernel=kernel, chains=64, cooling=15, settling=20, steps=30, rng=seeded(2)
    )
    assert found.temperatures == exact.temperatures == tuple(TEMPERATURES)
    for name in ("energy", "heat_capacity", "free_energy", "entropy", "magnetisation", "susceptibility"):
        if getattr(exact, name) is None:
            assert getattr(found, name) is None and not isinstance(energy, Ising)
            continue
        for truth, estimate in zip(getattr(exact, name), getattr(found, name), strict=True):
            assert truth.standard_error == 0 < estimate.standard_error < 0.05
            assert abs(estimate.value - truth.value) < 5 * estimate.standard_error, name


def test_the_torus_of_kaufman_is_that_of_enumeration():
    for sides in ((4, 4), (3, 5), (2, 4)):
        truth = thermodynamics(Ising(Lattice(sides)), sides, TEMPERATURES)
        n = math.prod(sides)
        for index, t in enumerate(TEMPERATURES):
            assert -t * kaufman_log_z(*sides, 1 / t) / n == pytest.approx(truth.free_energy[index].value, abs=1e-6)
            closed = torus(*sides, t)
            assert closed["energy"] == pytest.approx(truth.energy[index].value, abs=1e-5)
            assert closed["heat_capacity"] == pytest.approx(truth.heat_capacity[index].value, abs=1e-4)
            assert closed["entropy"] == pytest.approx(truth.entropy[index].value, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda: thermodynamics(lambda x: x.sum(1), (2,), [1.0]), TypeError, "but this one lives on Real"),
        (lambda: thermodynamics(Ising(Lattice((4,))), (4,), [0.0]), ValueError, "positive, finite temperatures"),
        (lambda: thermodynamics(Ising(Lattice((4,))), (4,), []), ValueError, "positive, finite temperatures"),
        (lambda: thermodynamics(Ising(Lattice((6, 6))), (6, 6), [1.0]), ValueError, r"at most 2\^24 states"),
        (
            lambda: thermodynamics(Ising(Lattice((4,))), (4,), [1.0], kernel=chromatic(), chains=2),
            ValueError,
            "chains >= 4",
        ),
        (
            lambda: thermodynamics(Ising(Lattice((4,))), (4,), [1.0], kernel=dula(0.1)),
            TypeError,
            "does not|bias",
        ),
        (
            lambda: thermodynamics(Ising(Lattice((2,))).clamp(torch.tensor([True, False]), 1.0), (2,), [1.0]),
            ValueError,
            "holds some entries",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()


def test_a_single_bit_is_a_system():
    machine = BoltzmannMachine(())
    machine.bias.data.fill_(1.0)
    (found,) = thermodynamics(machine, (), [2.0]).energy
    assert found.value == pytest.approx(-1 / (1 + math.exp(-0.5)), abs=1e-6)
