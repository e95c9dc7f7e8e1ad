"""Laws of the algebra of energies, for any weights, temperatures, masks and states."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from erg.energies import Energy, Gaussian, Mixture, Neural, Path, as_energy, evaluate

weights = st.floats(-3, 3).filter(lambda weight: abs(weight) > 1e-3)
temperatures = st.floats(0.05, 20)
fractions = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 6)
masks = st.lists(st.booleans(), min_size=3, max_size=3).map(torch.tensor)


def states(seed: int, rows: int = 4) -> Tensor:
    return torch.randn(rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quartic(x: Tensor) -> Tensor:
    return (x.square() - 1).square().sum(1) + x[:, 0] * x[:, 2]


def waves(x: Tensor) -> Tensor:
    return x.sin().sum(1) + 2 * x[:, 1]


def energies() -> tuple[Energy, Energy]:
    return as_energy(quartic), as_energy(waves)


def same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-11)


@given(seeds, weights, weights)
def test_sums_form_a_vector_space(seed: int, a: float, b: float) -> None:
    x, (e, f) = states(seed), energies()
    same((e + f)(x), (f + e)(x))
    same(((e + f) + e)(x), (e + (f + e))(x))
    same((a * (e + f))(x), (a * e + a * f)(x))
    same(((a + b) * e)(x), (a * e + b * e)(x))
    same((a * (b * e))(x), ((a * b) * e)(x))
    same((e - e)(x), torch.zeros(len(x), dtype=x.dtype))


@given(seeds, temperatures, temperatures)
def test_temperatures_multiply(seed: int, hot: float, cold: float) -> None:
    x, (e, _) = states(seed), energies()
    same((e / hot / cold)(x), (e / (hot * cold))(x))
    same((e / hot * hot)(x), e(x))


@given(seeds, st.lists(temperatures, min_size=1, max_size=6))
def test_a_batch_of_temperatures_is_each_row_at_its_own(seed: int, each: list[float]) -> None:
    x, (e, f) = states(seed, len(each)), energies()
    together = ((e + f) / torch.tensor(each, dtype=torch.float64))(x)
    same(together, torch.cat([((e + f) / t)(row[None]) for t, row in zip(each, x, strict=True)]))


@given(seeds, sizes.flatmap(lambda rows: st.permutations(range(rows))), temperatures)
def test_permuting_chains_with_their_temperatures_permutes_energies(seed: int, order: list[int], t: float) -> None:
    x, (e, f) = states(seed, len(order)), energies()
    each = t + torch.arange(len(order), dtype=torch.float64)
    same((e / each + f)(x)[order], (e / each[order] + f)(x[order]))


@given(seeds, masks, st.floats(-2, 2))
def test_clamping_a_gaussian_leaves_the_energy_of_the_free_entries(seed: int, mask: Tensor, value: float) -> None:
    mean, variances = torch.tensor([0.3, -1.0, 0.8]).double(), torch.tensor([0.5, 2.0, 1.3]).double()
    held = Gaussian(mean, variances).clamp(mask, value)
    x = states(seed)
    one_by_one = torch.stack([
        ((value if mask[i] else x[:, i]) - mean[i]) ** 2 / (2 * variances[i]) * torch.ones(len(x)).double()
        for i in range(3)
    ])  # fmt: skip
    same(held(x), one_by_one.sum(0))
    if not mask.all():
        gradient = evaluate(held, x).gradient
        same(gradient, torch.where(mask, 0.0, (x - mean) / variances))


@given(seeds, masks, masks, st.floats(-2, 2))
def test_completing_is_idempotent_and_keeps_the_energy(seed: int, first: Tensor, second: Tensor, v: float) -> None:
    x, (e, f) = states(seed), energies()
    for energy in (
        e.clamp(first, v),
        e.clamp(first, v).clamp(second, -v),
        e.clamp(first, v) + f,
        f - e.clamp(first, v),
    ):
        completed = energy.complete(x)
        assert torch.equal(energy.complete(completed), completed)
        same(energy(x), energy(completed))
    everywhere = e.clamp(first, v).clamp(second, -v).complete(x)
    assert torch.equal(everywhere == x, ~(first | second).expand(4, 3))


@given(seeds, st.floats(-2, 2), temperatures)
def test_conditioning_commutes_with_the_algebra(seed: int, y: float, temperature: float) -> None:
    joint = Neural(lambda x, y: (x.sum(1) - y).square())
    x, condition = states(seed), torch.tensor(y, dtype=torch.float64)
    same(joint.given(y)(x), joint.given(condition)(x))
    closed = (x.sum(1) - y).square()
    same(joint.given(condition)(x), closed)
    same((joint / temperature).given(condition)(x), closed / temperature)
    same((joint.given(condition) + waves)(x), closed + waves(x))
    same(joint.given(condition.expand(4))(x), closed)


@given(seeds, st.lists(st.floats(0.01, 10), min_size=2, max_size=2), st.floats(-50, 50))
def test_mixtures(seed: int, pair: list[float], shift: float) -> None:
    x, (e, f) = states(seed), energies()
    each = torch.tensor(pair, dtype=torch.float64)
    mixed = Mixture([e, f], each)(x)
    same(mixed, Mixture([f, e], each.flip(0))(x))
    same(Mixture([e], each[:1])(x), e(x) - math.log(pair[0]))
    same(Mixture([lambda x: quartic(x) + shift, lambda x: waves(x) + shift], each)(x), mixed + shift)
    lowest = torch.minimum(e(x) - math.log(pair[0]), f(x) - math.log(pair[1]))
    assert ((mixed <= lowest + 1e-12) & (mixed >= lowest - math.log(2) - 1e-12)).all()


@given(seeds, fractions)
def test_paths(seed: int, beta: float) -> None:
    x, (e, f) = states(seed), energies()
    same(Path(e, f)(beta)(x), (1 - beta) * e(x) + beta * f(x))
    same(Path(e, f)(beta)(x), Path(f, e)(1 - beta)(x))
    same(Path(e, e)(beta)(x), e(x))


@given(seeds, weights, temperatures)
def test_slopes_follow_the_energies(seed: int, weight: float, temperature: float) -> None:
    x, (e, f) = states(seed), energies()
    combined = evaluate((weight * e + f) / temperature, x)
    slopes = [evaluate(energy, x).gradient for energy in (e, f)]
    same(combined.gradient, (weight * slopes[0] + slopes[1]) / temperature)
