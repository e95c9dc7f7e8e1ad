"""Training recovers a known truth: the exact maximum likelihood of small models."""

import pytest
import torch
from torch import nn

from erg.negatives import FromData, FromNoise, Persistent
from erg.objectives import MaximumLikelihood
from erg.samplers import mala
from erg.training import train
from erg.training.averaging import Averaged
from erg.training.hooks import clip_gradients
from erg.training.rates import Cosine, WarmUp, set_learning_rate

UPDATES = 300
ROWS = 1000


class Quadratic(nn.Module):
    """E(x) = precision (x - centre)^2 / 2: a Gaussian whose maximum likelihood is the data's mean and variance."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(2))
        self.log_precision = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return (self.log_precision.exp() * (x - self.centre).square()).sum(1) / 2


def fit(negatives, seed):
    """The averaged energy after training on fixed data, and the data."""
    rng = torch.Generator().manual_seed(seed)
    data = torch.tensor([1.5, -0.5]) + torch.tensor([0.6, 1.2]) * torch.randn(ROWS, 2, generator=rng)
    energy = Quadratic()
    average = Averaged(energy, 0.99)
    optimizer = torch.optim.Adam(energy.parameters(), betas=(0.5, 0.99))
    clipping = clip_gradients(optimizer, 5.0)
    rate = WarmUp(20, Cosine(UPDATES, end=0.02))
    set_learning_rate(optimizer, 0.05, factor=rate(0))
    for step, _ in enumerate(train(energy, MaximumLikelihood(negatives), [data] * UPDATES, optimizer, rng), 1):
        average.update()
        set_learning_rate(optimizer, 0.05, factor=rate(step))
    assert clipping.norm < 1.0
    return average.energy, data


@pytest.mark.parametrize(
    "negatives",
    [
        Persistent(mala(0.4), 2, size=ROWS, fresh=0.0),
        FromData(mala(0.4), 3),
        FromNoise(mala(0.4), 20),
    ],
    ids=["persistent", "contrastive divergence", "short run"],
)
def test_a_gaussian_is_learned_to_its_maximum_likelihood(negatives):
    energy, data = fit(negatives, seed=0)
    # What remains is the noise of the chains: a standard deviation of 0.006 over 24 seeds. Five of these are allowed.
    deviation = data.std(0, correction=0)
    torch.testing.assert_close(energy.centre, data.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(energy.log_precision, -2 * deviation.log(), atol=0.03, rtol=0)
