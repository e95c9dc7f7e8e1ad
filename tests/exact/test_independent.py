"""Independent entries: every probability by enumeration."""

import math

import pytest
import torch

from erg.energies import Counted, Gaussian, Independent, Uniform, evaluate
from erg.samplers import Compiled, mala, random_walk, sample
from erg.samplers.compilation import compiled
from erg.support import Binary, Box, OneHot, Real, Spin

LOGITS = torch.tensor([[0.3, -1.2, 0.8], [1.5, 0.1, -0.4]], dtype=torch.float64)
LAWS = [Independent(LOGITS, support) for support in (Binary(), Spin(), OneHot())]
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law.support))


@every_law
def test_log_z_and_samples_are_those_of_the_enumerated_law(law):
    states = torch.cat(list(law.support.enumerate((2, 3)))).double()
    log_z = (-law(states)).logsumexp(0)
    torch.testing.assert_close(law.log_z, log_z)
    probabilities = (-law(states) - log_z).exp()
    drawn = law.exact_samples(40_000, torch.Generator().manual_seed(0))
    assert law.support.contains(drawn).all()
    index = (drawn[:, None] == states).flatten(2).all(2).double()
    frequencies = index.mean(0)
    z = (frequencies - probabilities) / (probabilities * (1 - probabilities) / 40_000).sqrt()
    assert z.abs().max() < 5


@pytest.mark.parametrize("support", [Binary(), Spin()], ids=str)
def test_an_entry_is_high_with_the_sigmoid_of_its_logit(support):
    law = Independent(LOGITS, support)
    x = torch.full((1, 2, 3), support.values[0], dtype=torch.float64)
    other = x.clone()
    other[0, 1, 0] = support.values[1]
    odds = (law(x) - law(other)).exp().item()
    assert odds / (1 + odds) == pytest.approx(1 / (1 + math.exp(-1.5)))


def test_uniform_is_flat_with_the_volume_of_its_box():
    law = Uniform((2, 3), Box(-1.0, 2.5))
    x = law.exact_samples(1000, torch.Generator().manual_seed(0))
    assert law.support.contains(x).all() and x.min() < -0.9 and x.max() > 2.4
    assert torch.equal(evaluate(law, x).gradient, torch.zeros_like(x)) and not law(x).any()
    assert law.log_z == pytest.approx(6 * math.log(3.5))


def test_bad_references_are_refused():
    with pytest.raises(TypeError, match="Binary, Spin or OneHot, but got Real"):
        Independent(LOGITS, Real())
    with pytest.raises(ValueError, match=r"events of shape \(2, 3\)"):
        Uniform((2, 3), Box())(torch.zeros(4, 3))


def test_counted_counts_gradients_and_values_apart():
    energy = Counted(Gaussian.standard(2))
    sample(mala(0.3), energy, torch.zeros(4, 2), 7)
    assert (energy.gradients, energy.values) == (8, 0)
    sample(random_walk(0.3), energy, torch.zeros(4, 2), 5)
    assert (energy.gradients, energy.values) == (8, 6)
    assert energy.support == Real()


def test_counting_does_not_compile_again():
    compiled._steps.clear()
    kernel, energy, x = Compiled(mala(0.3)), Counted(Gaussian.standard(2)), torch.zeros(4, 2)
    for _ in range(3):
        sample(kernel, energy, x, 3)
    assert len(compiled._steps) == 1
