"""Partition functions against closed forms, at temperatures other than 1."""

import math

import pytest
import torch

from erg.energies import Gaussian, GaussianMixture, Independent, Neural, Uniform
from erg.estimate import Estimate
from erg.evaluation.partition import bits_per_dimension, log_likelihood, log_partition
from erg.evaluation.quadrature import Bounds
from erg.support import Binary, Box, OneHot, Spin

TEMPERATURE = 0.7
LOGITS = torch.tensor([[0.3, -1.2, 0.8], [1.5, 0.1, -0.4]])


class TestEnumeration:
    @pytest.mark.parametrize("support", [Binary(), Spin()], ids=str)
    def test_coins_at_a_temperature(self, support):
        found = log_partition(Independent(LOGITS, support) / TEMPERATURE, (2, 3))
        expected = Independent(LOGITS / TEMPERATURE, support).log_z
        assert found == Estimate(pytest.approx(float(expected), abs=1e-6), 0.0)

    def test_dice_at_a_temperature(self):
        found = log_partition(Independent(LOGITS, OneHot()) / TEMPERATURE, (2, 3))
        assert found.value == pytest.approx(float((LOGITS / TEMPERATURE).logsumexp(1).sum()), abs=1e-6)

    def test_an_ising_ring_by_its_transfer_matrix(self):
        coupling, field, sites = 0.8, 0.3, 15

        def ring(x):
            return -(coupling * x * x.roll(1, 1) + field * x).sum(1)

        s = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        matrix = ((coupling * s[:, None] * s + field * (s[:, None] + s) / 2) / TEMPERATURE).exp()
        expected = torch.linalg.matrix_power(matrix, sites).trace().log().item()
        assert log_partition(Neural(ring, support=Spin()) / TEMPERATURE, (sites,)).value == pytest.approx(expected)

    def test_impossible_states_do_not_count(self):
        def at_least_two(x):
            return torch.where(x.sum(1) >= 2, 0.0, math.inf)

        assert log_partition(Neural(at_least_two, support=Binary()), (3,)).value == pytest.approx(math.log(4))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_weights_of_any_dtype(self, dtype):
        scores = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)).to(dtype)
        weight, bias = scores[0].weight[0].double(), scores[0].bias.double()
        expected = torch.nn.functional.softplus(-weight).sum() - bias[0]
        assert log_partition(Neural(scores, support=Binary()), (3,)).value == pytest.approx(expected.item(), abs=1e-5)


CORRELATED = torch.tensor([[2.0, 0.9, 0.1], [0.9, 0.5, 0.0], [0.1, 0.0, 0.3]], dtype=torch.float64)


class TestQuadrature:
    @pytest.mark.parametrize("dimensions", [1, 2])
    @pytest.mark.parametrize("mean", [0.0, 40.0, -300.0])
    def test_gaussians_far_from_the_origin_at_a_temperature(self, dimensions, mean):
        covariance = CORRELATED[:dimensions, :dimensions]
        energy = Gaussian(torch.full((dimensions,), mean, dtype=torch.float64), covariance) / TEMPERATURE
        expected = (dimensions * math.log(2 * math.pi * TEMPERATURE) + torch.logdet(covariance).item()) / 2
        found = log_partition(energy, (dimensions,))
        assert abs(found.value - expected) <= max(found.standard_error, 1e-9)
        assert found.standard_error < 1e-6

    def test_three_dimensions_of_any_event_shape(self):
        energy = Gaussian(torch.full((3, 1), 0.5, dtype=torch.float64), CORRELATED) / TEMPERATURE
        expected = (3 * math.log(2 * math.pi * TEMPERATURE) + torch.logdet(CORRELATED).item()) / 2
        assert log_partition(energy, (3, 1), tolerance=1e-3).value == pytest.approx(expected, abs=1e-3)

    def test_networks_of_any_dtype(self):
        network = torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1), torch.nn.Flatten(0)
        )
        found = log_partition(Neural(network) + Gaussian.standard(2), (2,))
        exact = log_partition(Neural(network.double()) + Gaussian.standard(2), (2,))
        assert exact.standard_error < 1e-6 and found.value == pytest.approx(exact.value, abs=1e-5)

    def test_narrow_modes_far_apart(self):
        means = torch.tensor([[-9.0, 0.0], [7.0, 5.0]], dtype=torch.float64)
        found = log_partition(GaussianMixture.isotropic(means, variance=0.02), (2,))
        assert abs(found.value) < 1e-5

    def test_a_box_with_the_mass_at_a_corner(self):
        tilted = Neural(lambda x: 30 * x.sum(1), support=Box(-1.0, 2.0)) / TEMPERATURE
        rate = 30 / TEMPERATURE
        expected = 2 * math.log((math.exp(rate) - math.exp(-2 * rate)) / rate)
        assert log_partition(tilted, (2,)).value == pytest.approx(expected, abs=1e-6)
        assert log_partition(Uniform((2,), Box(-1.0, 2.0)), (2,)).value == pytest.approx(2 * math.log(3))

    def test_a_kink_has_a_larger_error_that_holds_the_truth(self):
        wedge = Neural(lambda x: (x - 0.1234).abs().sum(1)) / TEMPERATURE
        found = log_partition(wedge, (2,), tolerance=1e-12)
        assert abs(found.value - 2 * math.log(2 * TEMPERATURE)) < max(3 * found.standard_error, 1e-9)

    def test_bounds_of_ones_own(self):
        bounds = Bounds(torch.tensor([0.0]), torch.tensor([50.0]))
        found = log_partition(Gaussian.standard(1), (1,), bounds=bounds)
        assert found.value == pytest.approx(math.log(2 * math.pi) / 2 - math.log(2), abs=1e-6)


class TestLikelihood:
    def test_is_that_of_the_normal_law_at_a_temperature(self):
        x = 2 + torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
        energy = Gaussian.isotropic(torch.full((1,), 1.5), variance=0.8) / TEMPERATURE
        expected = torch.distributions.Normal(1.5, (0.8 * TEMPERATURE) ** 0.5).log_prob(x).squeeze(1).double()
        found = log_likelihood(energy, x)
        assert found.value == pytest.approx(expected.mean().item(), abs=1e-5)
        assert found.standard_error == pytest.approx(expected.std().item() / 500**0.5, rel=1e-4)

    def test_the_errors_of_both_parts_add_in_squares(self):
        x, energy = torch.tensor([[0.0], [2.0]]), Neural(lambda x: x.sum(1))
        assert log_likelihood(energy, x, 3.0) == Estimate(-4.0, pytest.approx(1.0))
        assert log_likelihood(energy, x, Estimate(3.0, 0.75)) == Estimate(-4.0, pytest.approx(1.25))

    def test_rows_off_the_support_are_refused(self):
        grey, pixels = torch.tensor([[0.0, 1.0], [0.5, 1.0]]), torch.tensor([[0.0], [255.0]])
        with pytest.raises(ValueError, match=r"rows on Binary\(\), .* but 1 of 2 are elsewhere, where p is 0"):
            log_likelihood(Independent.uniform((2,), Binary()), grey)
        with pytest.raises(ValueError, match="1 of 2 are elsewhere"):
            log_likelihood(Uniform((1,), Box(-1.0, 1.0)), pixels, 0.0)

    def test_leaves_a_network_as_it_was(self):
        network = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(), torch.nn.Linear(4, 1))
        energy = Neural(torch.nn.Sequential(network, torch.nn.Flatten(0)))
        x = torch.randn(4, 1)
        assert log_likelihood(energy, x, 0.0) == log_likelihood(energy, x, 0.0)
        assert network.training


class TestBits:
    def test_a_uniform_image_costs_eight_bits(self):
        on_box = Estimate(-12 * math.log(2.0), 0.0)
        assert bits_per_dimension(on_box, (3, 2, 2)).value == pytest.approx(8)
        # In grey levels themselves, [0, 256), there is nothing to correct.
        on_levels = Estimate(-12 * math.log(256.0), 0.0)
        assert bits_per_dimension(on_levels, (3, 2, 2), support=Box(0.0, 256.0)).value == pytest.approx(8)

    def test_is_the_code_length_of_the_grey_levels(self):
        """Levels 0..3 with known probabilities, dequantised: the bits are the entropy."""
        p = torch.tensor([0.5, 0.25, 0.2, 0.05], dtype=torch.float64)
        box = Box(-1.0, 3.0)
        density = p / ((box.high - box.low) / 4)
        nats = Estimate((p * density.log()).sum().item(), 0.3)
        found = bits_per_dimension(nats, (1,), support=box, levels=4)
        assert found.value == pytest.approx(-(p * p.log2()).sum().item())
        assert found.standard_error == pytest.approx(0.3 / math.log(2))


class TestRefusals:
    def test_too_large(self):
        with pytest.raises(ValueError, match="at most 2\\^24 states"):
            log_partition(Independent.uniform((25,), Spin()), (25,))
        with pytest.raises(ValueError, match=r"1 to 3 dimensions, .* have 4; estimate log Z with ais\(\) or smc\(\)"):
            log_partition(Gaussian.standard(4), (4,))

    def test_held_entries(self):
        held = Independent(LOGITS[0], Binary()).clamp(torch.tensor([True, False, False]), 1.0)
        with pytest.raises(ValueError, match=r"holds some entries, .* write it as a function of the free entries"):
            log_partition(held / TEMPERATURE, (3,))

    def test_no_finite_integral(self):
        with pytest.raises(ValueError, match="does not fall off"):
            log_partition(lambda x: 0 * x.sum(1), (2,))
