"""Sums, temperatures, conditions, clamps, mixtures and paths against formulas written out in float64."""

import math

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from erg.energies import Clamped, Energy, Gaussian, Given, Mixture, Neural, Path, WeightedSum, as_energy
from erg.energies.algebra import intersect
from erg.samplers import sample, ula
from erg.support import Binary, Box, Real, Spin


def bowl(x: Tensor) -> Tensor:
    return (x - 0.3).square().sum(1)


def wave(x: Tensor) -> Tensor:
    return torch.sin(1.7 * x[:, 0]) + 0.4 * x[:, 1].pow(3)


def pair(x: Tensor, y: Tensor) -> Tensor:
    return (x * y[:, None]).sum(1) + y.square()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 2, dtype=torch.float64)


@pytest.fixture
def per_row() -> Tensor:
    return torch.tensor([0.4, 0.8, 1.3, 2.1, 5.0], dtype=torch.float64)


class TestSums:
    def test_arithmetic(self, x: Tensor) -> None:
        first, second = as_energy(bowl), as_energy(wave)
        combined = 2.5 * first + second * 0.3 - 0.7 * first - second
        assert torch.allclose(combined(x), 1.8 * bowl(x) - 0.7 * wave(x), rtol=1e-14, atol=1e-14)
        assert torch.equal((-first)(x), -bowl(x))

    def test_plain_functions_combine_on_either_side(self, x: Tensor) -> None:
        assert torch.equal((bowl + as_energy(wave))(x), bowl(x) + wave(x))
        assert torch.equal((as_energy(wave) + bowl)(x), bowl(x) + wave(x))
        assert torch.equal((as_energy(wave) - bowl)(x), wave(x) - bowl(x))

    def test_temperature_divides(self, x: Tensor, per_row: Tensor) -> None:
        assert torch.allclose((as_energy(wave) / 0.7)(x), wave(x) / 0.7, rtol=1e-15)
        assert torch.allclose((as_energy(wave) / per_row)(x), wave(x) / per_row, rtol=1e-15)

    def test_temperature_divides_the_slope(self, x: Tensor, per_row: Tensor) -> None:
        x.requires_grad_()
        (gradient,) = torch.autograd.grad((as_energy(bowl) / per_row)(x).sum(), x)
        torch.testing.assert_close(gradient, 2 * (x.detach() - 0.3) / per_row[:, None])

    def test_weights_keep_the_dtype_of_x(self, x: Tensor, per_row: Tensor) -> None:
        assert (as_energy(bowl) * per_row)(x.float()).dtype == torch.float32
        assert (as_energy(bowl) * torch.tensor(0.3))(x).dtype == torch.float64
        assert Path(bowl, wave)(per_row / 10)(x.float()).dtype == torch.float32
        assert Mixture([bowl, wave], per_row[:2])(x.float()).dtype == torch.float32

    def test_product_of_gaussians_is_the_gaussian_with_added_precisions(self, x: Tensor) -> None:
        one = Gaussian(torch.tensor([0.5, -1.0]).double(), torch.tensor([[1.0, 0.3], [0.3, 2.0]]).double())
        two = Gaussian(torch.tensor([-0.2, 0.4]).double(), torch.tensor([0.7, 0.3]).double())
        precisions = [torch.tensor([[1.0, 0.3], [0.3, 2.0]]).double().inverse(), torch.diag(1 / two.factor.square())]
        covariance = (precisions[0] + precisions[1]).inverse()
        mean = covariance @ (precisions[0] @ one.mean + precisions[1] @ two.mean)
        difference = (one + two)(x) - Gaussian(mean, covariance)(x)
        torch.testing.assert_close(difference, difference[0].expand(5))

    def test_a_parameter_as_weight_is_learned(self, x: Tensor) -> None:
        weight = nn.Parameter(torch.tensor(0.6, dtype=torch.float64))
        energy = as_energy(wave) * weight
        assert list(energy.parameters()) == [weight]
        energy(x).sum().backward()
        torch.testing.assert_close(weight.grad, wave(x).sum())

    def test_weights_of_chains_are_not_saved(self, per_row: Tensor) -> None:
        assert (as_energy(bowl) / per_row).state_dict() == {}

    def test_to_moves_the_weights(self, per_row: Tensor) -> None:
        assert (as_energy(bowl) / per_row).to(torch.float32).weights[0].dtype == torch.float32

    @pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, torch.tensor([1.0, 0.0]), torch.tensor(math.nan)])
    def test_a_temperature_is_positive(self, temperature: float | Tensor) -> None:
        with pytest.raises(ValueError, match="temperature is positive"):
            as_energy(bowl) / temperature

    def test_one_weight_an_expert(self) -> None:
        with pytest.raises(ValueError, match="2 energies and 1 weights"):
            WeightedSum([bowl, wave], [1.0])
        with pytest.raises(ValueError, match="at least one"):
            WeightedSum([], [])

    def test_one_weight_a_row(self, x: Tensor, per_row: Tensor) -> None:
        with pytest.raises(ValueError, match=r"shape \(4,\), but got shape \(5,\)"):
            (as_energy(bowl) * per_row)(x[:4])


class TestGiven:
    def test_one_condition_for_all_or_one_a_row(self, x: Tensor, per_row: Tensor) -> None:
        expected = 0.3 * x.sum(1) + 0.09
        torch.testing.assert_close(Neural(pair).given(0.3)(x), expected, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(Neural(pair).given(per_row)(x), x.sum(1) * per_row + per_row.square())

    def test_integer_conditions_stay_integers(self, x: Tensor) -> None:
        table = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
        energy = Neural(lambda x, y: x.sum(1) * table[y])
        torch.testing.assert_close(energy.given(2)(x), 0.7 * x.sum(1))
        labels = torch.tensor([0, 2, 1, 1, 0])
        torch.testing.assert_close(energy.given(labels)(x), x.sum(1) * table[labels])

    def test_combinations_condition_their_parts(self, x: Tensor) -> None:
        condition, energy = 0.5, Neural(pair)
        one = pair(x, torch.full((5,), 0.5).double())
        torch.testing.assert_close((energy * 0.3 + energy * 0.9).given(condition)(x), 1.2 * one)
        mixed = Mixture([energy, energy], torch.tensor([0.5, 1.5], dtype=torch.float64)).given(condition)
        torch.testing.assert_close(mixed(x), one - math.log(2))
        held = energy.clamp(torch.tensor([True, False]), 3.0).given(condition)
        torch.testing.assert_close(held(x), 0.5 * (3 + x[:, 1]) + 0.25)

    @pytest.mark.parametrize("rows", [1, 4])
    def test_another_number_of_conditions_is_refused(self, x: Tensor, rows: int) -> None:
        with pytest.raises(ValueError, match=f"has {rows} conditions for 5 rows"):
            Given(pair, torch.ones(rows))(x)


class TestClamped:
    mask = torch.tensor([True, False])

    def test_held_entries_are_read_from_the_values(self, x: Tensor) -> None:
        held = as_energy(wave).clamp(self.mask, torch.tensor([0.9, math.nan], dtype=torch.float64))
        expected = math.sin(1.7 * 0.9) + 0.4 * x[:, 1].pow(3)
        torch.testing.assert_close(held(x), expected, rtol=1e-14, atol=1e-14)

    def test_held_entries_have_no_slope(self, x: Tensor) -> None:
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(as_energy(wave).clamp(self.mask, 0.9)(x).sum(), x)
        assert (gradient[:, 0] == 0).all()
        torch.testing.assert_close(gradient[:, 1], 1.2 * x[:, 1].detach().square())

    def test_one_mask_a_row(self, x: Tensor) -> None:
        mask = torch.arange(10).reshape(5, 2) % 3 == 0
        torch.testing.assert_close(as_energy(bowl).clamp(mask, 0.8)(x), bowl(x.masked_fill(mask, 0.8)))

    def test_clamps_add_up(self, x: Tensor) -> None:
        twice = as_energy(wave).clamp(self.mask, 0.9).clamp(~self.mask, -0.5)
        full = torch.tensor([[0.9, -0.5]], dtype=torch.float64).expand(5, 2)
        assert torch.equal(twice.complete(x), full)
        torch.testing.assert_close(twice(x), wave(full))

    def test_an_entry_held_by_one_expert_is_held_for_all(self, x: Tensor) -> None:
        product = as_energy(wave).clamp(self.mask, 0.9) + bowl
        completed = torch.stack([torch.full((5,), 0.9, dtype=torch.float64), x[:, 1]], dim=1)
        assert torch.equal(product.complete(x), completed)
        torch.testing.assert_close(product(x), wave(completed) + bowl(completed))
        torch.testing.assert_close(product(x), product(completed))

    def test_samples_come_completed_through_every_wrapper(self, x: Tensor, rng: torch.Generator) -> None:
        held = as_energy(bowl).clamp(self.mask, 0.9)
        for energy in (
            held,
            held / 0.7,
            bowl + held,
            Path(bowl, held)(0.4),
            held.clamp(torch.tensor([False, False]), 0.0),
        ):
            drawn = sample(ula(0.05), energy, x, 3, rng)
            assert (drawn[:, 0] == 0.9).all()
            assert (drawn[:, 1] != x[:, 1]).all()

    @pytest.mark.parametrize("mask", [torch.ones(3, 1).bool(), torch.ones(4, 5, 2).bool(), torch.ones(7).bool()])
    def test_a_mask_of_another_shape_is_refused(self, mask: Tensor) -> None:
        with pytest.raises(ValueError, match=r"mask of shape \(.*\) does not fit x of shape \(1, 2\); give them"):
            as_energy(lambda x: x.flatten(1).sum(1)).clamp(mask, 0.0)(torch.zeros(1, 2))

    def test_values_of_another_shape_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"with values of shape \(3,\) does not fit x of shape \(4, 2\)"):
            as_energy(bowl).clamp(self.mask, torch.zeros(3))(torch.zeros(4, 2))

    def test_a_mask_is_boolean(self) -> None:
        with pytest.raises(TypeError):
            Clamped(bowl, torch.tensor([1.0, 0.0]), 0.0)

    def test_a_list_is_no_mask(self) -> None:
        # Users have no checks of annotations, which would come first.
        jaxtyping.config.update("jaxtyping_disable", True)
        with pytest.raises(TypeError, match=r"but got a list; pass torch\.tensor"):
            as_energy(bowl).clamp([True, False], 0.0)


class TestMixture:
    weights = torch.tensor([0.3, 1.9], dtype=torch.float64)

    def test_densities_add(self, x: Tensor) -> None:
        density = 0.3 * (-bowl(x)).exp() + 1.9 * (-wave(x)).exp()
        torch.testing.assert_close(Mixture([bowl, wave], self.weights)(x), -density.log(), rtol=1e-13, atol=1e-13)
        equal = ((-bowl(x)).exp() + (-wave(x)).exp()) / 2
        torch.testing.assert_close(Mixture([bowl, wave])(x), -equal.log(), rtol=1e-13, atol=1e-13)

    def test_large_energies_do_not_overflow(self) -> None:
        energy = Mixture([lambda x: 1e4 + bowl(x), lambda x: -1e4 + wave(x)], self.weights)
        x = torch.zeros(1, 2, dtype=torch.float64)
        torch.testing.assert_close(energy(x), wave(x) - 1e4 - math.log(1.9))

    def test_a_clamped_component_is_refused(self) -> None:
        with pytest.raises(ValueError, match="clamp the mixture instead"):
            Mixture([bowl, as_energy(wave).clamp(torch.tensor([True, False]), 0.0) / 2.0])

    @pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, math.nan]])
    def test_one_positive_weight_a_component(self, weights: list[float]) -> None:
        with pytest.raises(ValueError, match="one positive weight per component"):
            Mixture([bowl, wave], torch.tensor(weights))
        with pytest.raises(ValueError, match="0 components"):
            Mixture([])


class TestPath:
    @pytest.mark.parametrize("beta", [0.0, 0.25, 0.8, 1.0])
    def test_is_a_straight_line(self, x: Tensor, beta: float) -> None:
        expected = (1 - beta) * bowl(x) + beta * wave(x)
        at = torch.tensor(beta, dtype=torch.float64)
        torch.testing.assert_close(Path(bowl, wave)(beta)(x), expected, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(Path(bowl, wave)(at)(x), expected, rtol=1e-14, atol=1e-14)

    def test_one_place_a_chain(self, x: Tensor, per_row: Tensor) -> None:
        beta = per_row / 5
        torch.testing.assert_close(Path(bowl, wave)(beta)(x), (1 - beta) * bowl(x) + beta * wave(x))

    @pytest.mark.parametrize("beta", [-0.1, 1.5, math.nan, torch.tensor([0.5, 1.1])])
    def test_ends_at_the_energies(self, beta: float | Tensor) -> None:
        with pytest.raises(ValueError, match="from beta = 0 to beta = 1"):
            Path(bowl, wave)(beta)


class Flat(Energy):
    def __init__(self, support: Real | Box | Binary | Spin) -> None:
        super().__init__()
        self.support = support

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.sum(1)


class TestSupports:
    @pytest.mark.parametrize(
        ("first", "second", "both"),
        [
            (Real(), Real(), Real()),
            (Real(), Box(0.0, 2.0), Box(0.0, 2.0)),
            (Box(-1.0, 1.0), Box(0.0, 2.0), Box(0.0, 1.0)),
            (Box(-1.0, 1.0), Box(-0.5, 0.5), Box(-0.5, 0.5)),
            (Binary(), Binary(), Binary()),
        ],
    )
    def test_meet(self, first: Real, second: Real, both: Real) -> None:
        for one, other in ((first, second), (second, first)):
            assert intersect(one, other) == both
            assert (Flat(one) + Flat(other)).support == both
            assert Mixture([Flat(one), Flat(other)]).support == both
            assert Path(Flat(one), Flat(other))(0.3).support == both

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (Binary(), Spin()),
            (Real(), Binary()),
            (Box(), Spin()),
            (Box(0.0, 1.0), Box(2.0, 3.0)),
            (Box(0, 1), Box(1, 2)),
        ],
    )
    def test_refuse(self, first: Real, second: Real) -> None:
        for one, other in ((first, second), (second, first)):
            for combine in (lambda a, b: a + b, lambda a, b: Mixture([a, b]), lambda a, b: Path(a, b)(0.3)):
                with pytest.raises(ValueError, match="combined on one support"):
                    combine(Flat(one), Flat(other))

    def test_survive_every_wrapper(self) -> None:
        box = Flat(Box(-1.0, 1.0))
        for energy in (
            box / 2.0,
            box.given(1),
            box.clamp(torch.tensor([True]), 0.0),
            Neural(bowl, support=box.support),
        ):
            assert energy.support == Box(-1.0, 1.0)
