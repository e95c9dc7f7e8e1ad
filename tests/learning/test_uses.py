"""Completion, denoising and pretraining: against enumerated laws, and on digits."""

import itertools

import pytest
import torch
from torch import nn

from erg import data
from erg.applications import denoise, fill, pretrained
from erg.energies import RBM, Bits, Categories, InField, MixedUnits, Neural, Spins, Standard
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.roles import Conditionals
from erg.samplers import BlockGibbs, gibbs, gwg, sample
from erg.support import Binary
from erg.training.loop import train


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def at_random(machine):
    rng, machine = seeded(7), machine.double()
    parameters = [1.1 * torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in machine.parameters()]
    return machine.holding(Standard(*parameters)).requires_grad_(False)


def states_of(machine):
    return torch.cat(list(machine.support.enumerate(machine.shape))).double()


# Against enumeration.


@pytest.mark.parametrize("per_row", [True, False], ids=["a mask a row", "one mask"])
@pytest.mark.parametrize("kernel", [BlockGibbs(), gibbs()], ids=["layers", "sites"])
def test_what_is_missing_is_drawn_given_the_rest(per_row, kernel):
    rbm, n = at_random(RBM(4, 3)), 500
    missing = torch.tensor([False, True, True, False])
    row = torch.tensor([1.0, torch.nan, torch.nan, 0.0], dtype=torch.float64)
    x = row.expand(n, 4)
    found = fill(rbm, x, missing=x.isnan() if per_row else missing, kernel=kernel, steps=60, discard=20, rng=seeded())
    v = states_of(rbm)
    v = v[(v[:, 0] == 1) & (v[:, 3] == 0)]
    expected = (-rbm(v)).softmax(0) @ v
    assert torch.equal(found.sample[:, ~missing], x[:, ~missing])
    off = (found.mean.mean(0) - expected)[missing] / (found.mean.std(0)[missing] / n**0.5)
    assert float(off.abs().max()) < 5
    off = (found.sample.mean(0) - expected)[missing] / (expected * (1 - expected) / n).sqrt()[missing]
    assert float(off.abs().max()) < 5


def test_cells_of_a_table_of_bits_and_categories():
    """A row with its category missing, and a row with its bit missing."""
    table = at_random(RBM(5, 3, units=MixedUnits(((Bits(), 2), (Categories(3), 3)))))
    nothing, n = torch.nan, 2000
    x = torch.tensor([[1.0, 0.0, *[nothing] * 3], [nothing, 1.0, 0.0, 1.0, 0.0]]).double().repeat_interleave(n, 0)
    found = fill(table, x, missing=x.isnan(), steps=20, discard=20, rng=seeded())
    assert table.support.contains(found.sample).all()
    v = states_of(table)
    for row in range(2):
        known = ~x[row * n].isnan()
        alike = v[(v[:, known] == x[row * n, known]).all(1)]
        expected = (-table(alike)).softmax(0) @ alike
        means = found.mean[row * n : (row + 1) * n]
        off = (means.mean(0) - expected)[~known] / (means.std(0)[~known] / n**0.5)
        assert float(off.abs().max()) < 5


@pytest.mark.parametrize("units", [Bits(), Spins()], ids=["bits", "spins"])
def test_flips_are_undone_by_the_posterior(units):
    rbm, n, p = at_random(RBM((2, 2), 3, units=units)), 500, 0.2
    v = states_of(rbm)
    noisy = v[6]
    same = (v == noisy).flatten(1).sum(1)
    law = (-rbm(v) + same * torch.tensor(1 - p).log() + (4 - same) * torch.tensor(p).log()).softmax(0)
    expected = (law[:, None] * v.flatten(1)).sum(0)
    for kernel in (BlockGibbs(), gwg()):
        found = denoise(rbm, noisy.expand(n, 2, 2), flips=p, kernel=kernel, steps=40, discard=20, rng=seeded())
        means = found.mean.flatten(1)
        assert float(((means.mean(0) - expected) / (means.std(0) / n**0.5)).abs().max()) < 5


def test_a_field_offers_conditionals_if_and_only_if_the_energy_is_a_machine():
    field = torch.tensor([0.3, -2.0, 1.0, 0.4]).double()
    machine, plain = at_random(RBM(4, 3)), Neural(lambda x: x.sum(1), support=Binary())
    assert isinstance(InField(machine, field), Conditionals) and not isinstance(InField(plain, field), Conditionals)
    v, n = states_of(machine), 6000
    law = (-machine(v) + v @ field).softmax(0)
    x = sample(BlockGibbs(), InField(machine, field), torch.zeros(n, 4).double(), 30, seeded())
    found = (x[:, None] == v).all(2).double().mean(0)
    assert float(((found - law) / (law * (1 - law) / n).sqrt()).abs().max()) < 5
    with pytest.raises(ValueError, match="one value for each entry"):
        InField(machine, field[:3])(v)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda r, x: fill(r, x, missing=torch.zeros(3, dtype=torch.bool)), ValueError, "a mask of the rows"),
        (lambda r, x: fill(r, x, missing=torch.zeros(4)), TypeError, r"missing\.bool\(\)"),
        (lambda r, x: fill(r, x + 0.5, missing=torch.arange(4) < 2), ValueError, "those of 2 of 2 rows do not"),
        (lambda r, x: fill(r, x, missing=x > 2, steps=0), ValueError, "steps"),
        (lambda r, x: denoise(r, x, flips=0.5), ValueError, "between 0 and 1/2"),
        (lambda r, x: denoise(r, x + 0.5, flips=0.1), ValueError, "binarise them first"),
        (lambda r, x: denoise(lambda x: x.sum(1), x, flips=0.1), TypeError, "lives on Real"),
        (lambda r, x: pretrained(x, []), ValueError, "at least one hidden layer"),
        (lambda r, x: pretrained(x - 0.5, [3]), ValueError, r"entries in \[0, 1\], but 8 entries"),
        (lambda r, x: pretrained(x, [3], batch_size=5), ValueError, "5"),
    ],
)
def test_what_does_not_fit_is_refused(act, error, message):
    with pytest.raises(error, match=message):
        act(RBM(4, 3), torch.zeros(2, 4))


# On the digits of scikit-learn, 8x8 pixels.


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", binarise=0.5)


@pytest.fixture(scope="module")
def machine(digits):
    torch.manual_seed(0)
    rbm, rng = RBM((1, 8, 8), 64), seeded()
    rbm.start_at(digits.train.x)
    objective = Centred(MaximumLikelihood(Persistent(BlockGibbs(), 1, size=100, fresh=0.0)))
    source = data.batches(digits.train.x, 100, seed=0, support=digits.support)
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.1)
    list(train(rbm, objective, itertools.islice(source, 800), optimizer, rng))
    return rbm.requires_grad_(False)


def test_flipped_pixels_of_digits_are_found(digits, machine):
    x = digits.held_out.x[:100]
    noisy = torch.where(torch.rand(x.shape, generator=seeded(1)) < 0.1, 1 - x, x)
    clean = (denoise(machine, noisy, flips=0.1, steps=40, discard=10, rng=seeded()).mean > 0.5).float()
    wrong = [float((found != x).float().mean()) for found in (noisy, clean)]
    assert 0.09 < wrong[0] < 0.11
    assert wrong[1] < 0.7 * wrong[0]


def test_the_lower_half_of_digits_is_completed(digits, machine):
    x = digits.held_out.x[:100]
    missing = torch.zeros(1, 8, 8, dtype=torch.bool)
    missing[:, 4:] = True
    means = digits.train.x.mean(0).expand_as(x)
    found = fill(machine, x, missing=missing, steps=100, discard=30, rng=seeded()).mean
    wrong = [float(((guess > 0.5).float() != x)[:, missing].float().mean()) for guess in (means, found)]
    assert wrong[1] < 0.8 * wrong[0]


def test_a_pretrained_body_is_the_hidden_means_of_machines(digits):
    x = digits.train.x
    body = pretrained(x, [32, 16], epochs=4, learning_rate=0.5, batch_size=40)
    assert [type(layer) for layer in body] == [nn.Flatten, nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid]
    features = body(x)
    assert features.shape == (len(x), 16) and float(features.std(0).mean().detach()) > 0.1
    again = pretrained(x, [32, 16], epochs=4, learning_rate=0.5, batch_size=40)
    assert all(torch.equal(a, b) for a, b in zip(body.parameters(), again.parameters(), strict=True))
    # The first layer is that of a machine alone, whatever comes on top of it.
    alone = pretrained(x, [32], epochs=4, learning_rate=0.5, batch_size=40)
    torch.testing.assert_close(body[1].weight, alone[1].weight)
    rebuilt = RBM(64, 32).holding(Standard(alone[1].weight.T, torch.zeros(64), alone[1].bias))
    torch.testing.assert_close(alone(x), rebuilt.hidden_mean(x.flatten(1)))
