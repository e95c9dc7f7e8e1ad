"""Machines where training is not plain: under autocast, with bad batches, of events without axes."""

import pytest
import torch

from erg.energies import DBM, RBM, Bits, Categories, GaussianRBM, LabelledRBM, Spins, Standard, Trajectory, product
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood, VariationalLikelihood
from erg.samplers import BlockGibbs, sample
from erg.training.engine import Engine
from erg.training.guard import Guard
from erg.training.loop import train

MACHINES = {
    "rbm": lambda: RBM(40, 6, scale=0.5),
    "spins": lambda: RBM(40, 6, scale=0.5, hidden_units=Spins()),
    "gaussian": lambda: GaussianRBM(40, 6, scale=0.5),
    "deep": lambda: DBM(40, [6, 5], scale=0.5),
}


@pytest.fixture(params=MACHINES)
def machine(request):
    torch.manual_seed(0)
    return MACHINES[request.param]()


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def bits(rows, rng, entries=40):
    return (torch.rand(rows, entries, generator=rng) < 0.3).float()


def objective_for(machine, size):
    objective = Centred(MaximumLikelihood(Persistent(BlockGibbs(), steps=1, size=size, fresh=0.0)))
    return VariationalLikelihood(objective) if isinstance(machine, DBM) else objective


def test_gradients_under_autocast_are_those_of_rounded_products(machine, rng):
    x = bits(50, rng)
    weights = torch.linspace(-1, 1, 50)

    def gradients(low):
        machine.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            energies = machine(x)
        (energies @ weights).backward()  # outside, as in training
        return energies.detach(), [parameter.grad.clone() for parameter in machine.parameters()]

    (energies, exact), (rounded, low) = gradients(False), gradients(True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - energies).abs().max() < 0.2
    for one, other in zip(exact, low, strict=True):
        assert other.dtype == torch.float32
        assert (one - other).norm() < 0.02 * one.norm()


def test_machines_train_in_mixed_precision(machine, rng):
    engine = Engine("cpu", "bf16-mixed")
    objective = engine.objective(objective_for(machine, 20))
    optimizer = torch.optim.SGD(machine.parameters(), lr=0.01)
    for loss in train(machine, objective, [bits(20, rng) for _ in range(3)], optimizer, rng):
        assert loss.value.isfinite()


def test_centring_under_autocast_changes_no_energy(rng):
    torch.manual_seed(0)
    rbm, x = RBM(40, 6, scale=0.5), bits(20, rng)
    before = rbm(x)
    with torch.autocast("cpu", torch.bfloat16):
        objective_for(rbm, 20)(rbm, x, rng)
    assert bool((rbm.visible_offset > 0).any())
    assert torch.allclose(rbm(x), before, atol=1e-4)


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_rare_values_stay_rare_in_sixteen_bits(how, rng):
    """Uniform numbers of 16 bits are 0 once in 256 draws."""
    rbm = RBM(200, 2, scale=0.0)
    rbm.visible_bias.data.fill_(-8.0)
    rbm = rbm.bfloat16() if how == "weights" else rbm
    start = torch.zeros(500, 200, dtype=rbm.weight.dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        found = sample(BlockGibbs(), rbm, start, steps=1, rng=rng).float().mean()
    assert 0.0002 < found < 0.0005  # 0.00034, of 100,000 bits


@pytest.mark.parametrize(("units", "low"), [(Bits(), 0.0), (Spins(), -1.0), (Categories(2), None)], ids=str)
def test_units_draw_rare_values_rarely_from_fields_of_sixteen_bits(units, low, rng):
    field = torch.full((2000, 100), -8.0 if low == 0.0 else -4.0, dtype=torch.bfloat16)
    if low is None:
        field[:, ::2] = 4.0
    drawn = units.sample(field, rng)
    assert drawn.dtype == torch.bfloat16
    rare = drawn[:, 1::2] if low is None else drawn > low
    assert 0.0002 < rare.float().mean() < 0.0005


def test_a_batch_that_is_not_finite_is_skipped(machine, rng):
    objective, optimizer = objective_for(machine, 20), torch.optim.SGD(machine.parameters(), lr=0.01)
    guard = Guard(energy=machine, optimizer=optimizer, objective=objective)
    batches = [bits(20, rng) for _ in range(5)]
    batches[2][3, 4] = torch.nan
    for _ in guard.watch(train(machine, objective, batches, optimizer, rng)):
        pass
    assert [(event.step, event.kind) for event in guard.events] == [(3, "skip")]
    assert all(bool(value.isfinite().all()) for value in machine.state_dict().values())


def test_an_event_without_axes_is_one_entry(rng):
    x = torch.tensor([0.0, 1.0, 1.0])
    y = torch.tensor([0, 1, 1])
    for build in (
        lambda shape: RBM(shape, 2),
        lambda shape: GaussianRBM(shape, 2),
        lambda shape: DBM(shape, [2, 2]),
    ):
        energies = []
        for shape in ((), (1,)):
            torch.manual_seed(0)
            machine = build(shape)
            machine.start_at(x.reshape(3, *shape))
            energies.append(machine(x.reshape(3, *shape)))
        assert torch.equal(*energies)
    assert sample(BlockGibbs(), RBM((), 2), x, 2, rng).shape == (3,)
    assert LabelledRBM((), 2, classes=2)(x, y).shape == (3,)
    assert RBM(3, ()).joint(torch.zeros(2, 3), torch.ones(2)).shape == (2,)


def test_machines_made_of_machines_draw_nothing():
    torch.manual_seed(0)
    x = torch.rand(5, 3)
    rbm, gaussian = RBM(3, 2), GaussianRBM(3, 2)
    before = torch.get_rng_state()
    product(rbm, rbm)
    rbm.of_hidden()
    rbm.decoupled(x).blended(rbm, 0.5)
    gaussian.decoupled(x).blended(gaussian, 0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_machines_of_other_units_cannot_be_blended():
    path = Trajectory([RBM(3, 2).decoupled(torch.zeros(1, 3)), RBM(3, 2, hidden_units=Spins())])
    with pytest.raises(ValueError, match="same units"):
        path(0.5)


@pytest.mark.parametrize("place", range(3))
def test_parameters_that_are_not_finite_are_refused(place):
    parameters = [torch.zeros(3, 2), torch.zeros(3), torch.zeros(2)]
    parameters[place][0] = torch.inf
    with pytest.raises(ValueError, match="finite parameters"):
        RBM(3, 2).holding(Standard(*parameters))
