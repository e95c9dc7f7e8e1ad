"""The penalty of sparsity against its sum written out, and what it does to a machine."""

import pytest
import torch

from erg.energies import RBM, Gaussian
from erg.negatives import FromData
from erg.objectives import MaximumLikelihood, Phases, Sparsity
from erg.samplers import BlockGibbs, ula
from erg.training.loop import train


def test_the_penalty_is_the_divergence_of_the_mean_activations_from_the_target():
    torch.manual_seed(0)
    rbm, x = RBM((2, 2), 3, scale=1.0).double(), (torch.rand(7, 2, 2) < 0.5).double()
    nothing = torch.zeros(7).double()
    found = Sparsity(0.1)(rbm, Phases(x, x, nothing, nothing))
    expected = 0.0
    for j in range(3):
        q = (x.flatten(1) @ rbm.weight[:, j] + rbm.hidden_bias[j]).sigmoid().mean()
        expected = expected + 0.1 * (0.1 / q).log() + 0.9 * (0.9 / (1 - q)).log()
    torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(found, rbm.weight)[0].abs().sum() > 0


def test_hidden_units_come_to_rest():
    rng, activity = torch.Generator().manual_seed(0), []
    x = (torch.rand(200, 8, generator=rng) < 0.4).float()
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        rbm = RBM(8, 6, scale=0.1)
        objective = MaximumLikelihood(FromData(BlockGibbs(), 1), {"sparsity": (weight, Sparsity(0.1))})
        list(train(rbm, objective, [x] * 40, torch.optim.SGD(rbm.parameters(), lr=2.0), rng))
        activity.append(rbm.hidden_mean(x).mean().item())
    assert activity[0] > 0.3 and activity[1] == pytest.approx(0.1, abs=0.03)


def test_what_has_no_hidden_units_is_refused():
    with pytest.raises(TypeError, match="such as those of RBM, but Gaussian has none"):
        MaximumLikelihood(FromData(ula(0.1), 1), {"sparsity": (1.0, Sparsity(0.1))})(
            Gaussian.standard(2), torch.zeros(3, 2)
        )
    for target in (0.0, 1.0):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            Sparsity(target)
