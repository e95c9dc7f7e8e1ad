"""Layer-wise pretraining: pairs of bits against two copies written out, and what becomes of the parameters."""

import itertools

import pytest
import torch

from erg.applications.layerwise import Pairs, PretrainedDBM, layer_machines, pretrained_dbm, stacked
from erg.energies import DBM, RBM, Bits
from erg.evaluation.partition import log_likelihood


def states_of(entries):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=entries)), dtype=torch.float64)


def random_machine(units, hidden_units, visible, hidden, seed=0):
    rng = torch.Generator().manual_seed(seed)
    rbm = RBM(visible, hidden, units=units, hidden_units=hidden_units).double()
    with torch.no_grad():
        for tensor in (*rbm.parameters(), *rbm.buffers()):
            tensor.copy_(0.8 * torch.randn(tensor.shape, generator=rng, dtype=torch.float64))
    return rbm


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_pairs_are_two_bits_with_half_the_field():
    field = torch.tensor([[0.7, -2.0]], dtype=torch.float64)
    pairs = states_of(4).reshape(-1, 2, 2).mean(1)  # of two copies of two units
    weights = pairs @ field[0]
    close(Pairs().log_partition(field)[0], weights.logsumexp(0))
    close(Pairs().mean(field)[0], weights.softmax(0) @ pairs)
    n = 100_000
    found = Pairs().sample(field.expand(n, -1), torch.Generator().manual_seed(0))
    p = (field[0] / 2).sigmoid()
    for value, expected in ((0.0, (1 - p) ** 2), (0.5, 2 * p * (1 - p)), (1.0, p**2)):
        z = ((found == value).double().mean(0) - expected) / (expected * (1 - expected) / n).sqrt()
        assert z.abs().max() < 5
    close(Pairs().mean(Pairs().field_of(p)), p)


def test_a_machine_of_pairs_has_tied_copies():
    """Free energies of pairs below, against both copies of every bit with the same weights and biases."""
    rbm = random_machine(Pairs(), Bits(), 2, 3)
    weight, b, c = rbm.standard()
    copies = states_of(4).reshape(-1, 2, 2)
    h = states_of(3)
    couplings = (copies[:, 0] @ weight / 2 + copies[:, 1] @ weight / 2) @ h.T
    energies = -couplings - (copies.sum(1) @ b / 2)[:, None] - h @ c
    close(rbm(copies.mean(1)), -(-energies).logsumexp(1))


def test_an_inner_layer_hears_half_of_either_machine():
    first = random_machine(Pairs(), Bits(), 4, 3, seed=1)
    middle = random_machine(Pairs(), Pairs(), 3, 2, seed=2)
    last = random_machine(Bits(), Pairs(), 2, 3, seed=3)
    dbm = stacked([first, middle, last])
    rng = torch.Generator().manual_seed(0)
    v, h1, h2, h3 = ((torch.rand(1, n, generator=rng) < 0.5).double() for n in (4, 3, 2, 3))
    even, odd = torch.cat([v, h2], 1), torch.cat([h1, h3], 1)
    # The field of one bit of a layer: under a machine of pairs each of the two gets half.
    heard = dbm.machine.hidden_field(even)
    close(heard[:, :3], (first.hidden_field(v) + middle.visible_field(h2) / 2) / 2)
    close(heard[:, 3:], last.hidden_field(h2) / 2)
    back = dbm.machine.visible_field(odd)
    close(back[:, :4], first.visible_field(h1) / 2)
    close(back[:, 4:], (middle.hidden_field(h1) / 2 + last.visible_field(h3)) / 2)


def test_layers_have_the_units_that_double_what_is_heard_alone():
    found = [(type(each.units), type(each.hidden_units)) for each in layer_machines((2, 3), [4, 5, 2])]
    assert found == [(Pairs, Bits), (Pairs, Pairs), (Bits, Pairs)]
    assert next(iter(layer_machines((2, 3), [4, 5]))).shape == (2, 3)


def test_a_pretrained_machine_is_the_same_by_its_start():
    x = (torch.rand(60, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    started = PretrainedDBM(6, [4, 3], epochs=2, batch_size=20)
    torch.manual_seed(3)
    started.start_at(x)
    torch.manual_seed(3)
    close(started(x), pretrained_dbm(x, [4, 3], epochs=2, batch_size=20)(x), 1e-6)


def test_machines_are_pretrained_in_the_precision_of_the_data():
    x = torch.eye(6, dtype=torch.float64).repeat(5, 1)
    assert pretrained_dbm(x, [4, 3], epochs=1, batch_size=10)(x).dtype == torch.float64


@pytest.mark.slow
def test_pretraining_comes_close_to_the_data():
    """Four patterns with noise: the bound of the stacked machine is far above independent pixels'."""
    rng = torch.Generator().manual_seed(0)
    patterns = (torch.rand(4, 12, generator=rng) < 0.5).float()

    def draw(n):
        x = patterns[torch.randint(4, (n,), generator=rng)]
        return torch.where(torch.rand(x.shape, generator=rng) < 0.05, 1 - x, x)

    x, held_out = draw(400), draw(400)
    torch.manual_seed(0)
    dbm = pretrained_dbm(x, [8, 6], epochs=100, batch_size=50, learning_rate=0.2, rng=rng)
    blank = DBM(12, [8, 6], scale=0.0)
    blank.start_at(x)
    bound, before = (log_likelihood(each, held_out).value for each in (dbm, blank))
    assert bound > before + 2
    _, high = dbm.mean_field(held_out)
    assert high.std(0).mean() > 0.05  # the upper layer says something about the data


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: pretrained_dbm(torch.ones(20, 3), [4]), "two hidden layers or more"),
        (lambda: pretrained_dbm(torch.ones(20, 3), [4, 2]), "20 rows for batches of 100"),
        (lambda: pretrained_dbm(torch.rand(200, 3) * 2, [4, 2]), "binarise"),
        (lambda: stacked([RBM(3, 2), RBM(4, 2)]), r"\[\(3, 2\), \(4, 2\)\]"),
        (lambda: stacked([]), "two machines or more"),
        (lambda: DBM(3, [2, 2]).holding([torch.zeros(3, 2)], [torch.zeros(3)]), r"have shapes \[\(3, 2\), \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
