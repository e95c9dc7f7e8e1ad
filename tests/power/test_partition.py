"""Would the tests of partition functions notice a temperature that is applied twice, or not at all?"""

import math

import pytest
import torch

from erg.energies import Gaussian, Independent
from erg.estimate import Estimate
from erg.evaluation.partition import bits_per_dimension, log_likelihood, log_partition
from erg.support import Spin

TEMPERATURE = 0.7
LOGITS = torch.tensor([0.3, -1.2, 0.8, 1.5])


@pytest.mark.parametrize("wrong", [1.0, TEMPERATURE**2], ids=["not applied", "applied twice"])
def test_a_wrong_temperature_shows(wrong):
    spins = log_partition(Independent(LOGITS, Spin()) / wrong, (4,)).value
    assert abs(spins - float(Independent(LOGITS / TEMPERATURE, Spin()).log_z)) > 0.1
    real = log_partition(Gaussian.standard(2) / wrong, (2,)).value
    assert abs(real - math.log(2 * math.pi * TEMPERATURE)) > 0.1


def test_log_z_of_another_temperature_shows_in_the_likelihood():
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    energy = Gaussian.standard(2) / TEMPERATURE
    right = log_likelihood(energy, x)
    wrong = log_likelihood(energy, x, log_partition(Gaussian.standard(2), (2,)))
    assert abs(right.value - wrong.value) > 3 * right.standard_error


def test_a_missing_correction_of_the_scale_shows_in_the_bits():
    uniform = Estimate(-10 * math.log(2.0), 0.0)
    assert bits_per_dimension(uniform, (10,)).value - (-uniform.value / (10 * math.log(2))) == pytest.approx(7)
