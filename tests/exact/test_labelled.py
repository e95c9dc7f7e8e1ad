"""Machines over pairs of a state and a label, mixed layers and products, against sums over all states."""

import inspect
import itertools
import math

import pytest
import torch

from erg.energies import RBM, Bits, Categories, LabelledRBM, MixedUnits, Spins, Standard, product
from erg.evaluation.partition import log_partition
from erg.negatives import FromData, Persistent
from erg.objectives import Centred, CrossEntropy, MaximumLikelihood, Paired, Weighted
from erg.roles import ClassEnergies, Conditionals, Joint
from erg.samplers import BlockGibbs, dmala, gwg, sample
from erg.support import Binary, Mixed, OneHot, Real, Spin
from erg.training.loop import train

H = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def at_random(machine, seed=7):
    rng, machine = seeded(seed), machine.double()
    parameters = (1.1 * torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in machine.parameters())
    machine.holding(Standard(*parameters))
    layers = (machine.visible_bias, machine.hidden_bias)
    machine.recentre(*(torch.rand(len(p), generator=rng, dtype=torch.float64) for p in layers))
    return machine


class World:
    """p(x, y, h) of four bits or spins, three labels and three hidden bits, written out."""

    def __init__(self, units):
        self.energy = LabelledRBM((2, 2), 3, classes=3, units=units).double()
        at_random(self.energy.machine)
        w, b, c = (p.detach() for p in self.energy.machine.standard())
        values = (-1.0, 1.0) if isinstance(units, Spins) else (0.0, 1.0)
        self.x = torch.tensor(list(itertools.product(values, repeat=4)), dtype=torch.float64).reshape(-1, 2, 2)
        eye = torch.eye(3, dtype=torch.float64)
        scores = torch.empty(len(self.x), 3, len(H), dtype=torch.float64)
        for (i, x), y, (j, h) in itertools.product(enumerate(self.x.flatten(1)), range(3), enumerate(H)):
            v = torch.cat([x, eye[y]])
            scores[i, y, j] = v @ w @ h + b @ v + c @ h
        self.scores, self.law = scores, scores.flatten().softmax(0).reshape(scores.shape)


WORLDS = {"bits": World(Bits()), "spins": World(Spins())}
every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def frequencies(x, states):
    found = (x.flatten(1)[:, None] == states.flatten(1)).all(2)
    assert found.any(1).all()
    return found.double().mean(0)


def apart(found, expected, n):
    return float(((found - expected) / (expected * (1 - expected) / n).sqrt()).abs().max())


@every_world
def test_energies_of_pairs_and_of_all_labels_at_once(world):
    expected = -world.scores.logsumexp(2)
    close(world.energy.class_energies(world.x), expected)
    for y in range(3):
        close(world.energy(world.x, torch.full((16,), y)), expected[:, y])
        close(world.energy.given(y)(world.x), expected[:, y])
    labels = torch.arange(16) % 3
    close(world.energy.given(labels)(world.x), expected[torch.arange(16), labels])
    close(world.energy.probabilities(world.x), world.law.sum(2) / world.law.sum((1, 2))[:, None])


@every_world
def test_block_gibbs_given_a_label_has_the_conditional_law(world):
    n, y = 4_000, 2
    law = world.law[:, y].sum(1) / world.law[:, y].sum()
    start = world.x[3].expand(n, 2, 2)
    for energy in (world.energy.given(y), world.energy.given(torch.full((n,), y))):
        assert isinstance(energy, Conditionals)
        x = sample(BlockGibbs(), energy, start, 30, seeded())
        assert apart(frequencies(x, world.x), law, n) < 5


@every_world
def test_block_gibbs_over_pairs_has_the_joint_law(world):
    n, machine = 4_000, world.energy.machine
    x = sample(BlockGibbs(), machine, machine.support.initial((n, 7), seeded(1)).double(), 30, seeded())
    x, y = world.energy.unpaired(x)
    pairs = [world.energy.pairs(world.x, torch.full((16,), label)) for label in range(3)]
    found = frequencies(world.energy.pairs(x, y), torch.cat(pairs))
    assert apart(found, world.law.sum(2).T.flatten(), n) < 5


@every_world
def test_block_gibbs_of_a_pair_with_some_pixels_held(world):
    """The missing label and a pixel given three pixels."""
    n, machine = 4_000, world.energy.machine
    mask = torch.tensor([True, True, False, True, False, False, False])
    values = torch.cat([world.x[11].flatten(), torch.zeros(3)]).double()
    x = sample(BlockGibbs(), machine.clamp(mask, values), machine.support.initial((n, 7), seeded()).double(), 30)
    alike = (world.x.flatten(1) == values[:4])[:, mask[:4]].all(1)
    law = world.law[alike].sum(2)
    x, y = world.energy.unpaired(x)
    states = [world.energy.pairs(world.x[alike], torch.full((2,), label)) for label in range(3)]
    assert apart(frequencies(world.energy.pairs(x, y), torch.cat(states)), (law / law.sum()).T.flatten(), n) < 5
    parted = mask.clone()
    parted[5] = True
    assert not isinstance(machine.clamp(parted, values), Conditionals)


@every_world
def test_gradients_of_both_phases_and_of_the_labels(world):
    energy, machine, rng = world.energy, world.energy.machine, seeded(2)
    x, y = world.x[torch.randint(16, (9,), generator=rng)], torch.arange(9) % 3
    loss = CrossEntropy()(energy, (x, y))
    parameters = [p.detach().clone().requires_grad_() for p in machine.parameters()]
    w, b, c = parameters
    b, c = b - w @ machine.hidden_offset, c - machine.visible_offset @ w
    eye = torch.eye(3, dtype=torch.float64)
    v = torch.cat([x.flatten(1)[:, None].expand(-1, 3, -1), eye.expand(9, 3, 3)], 2)
    scores = (v @ w @ H.T + (v @ b)[..., None] + H @ c).logsumexp(2)
    expected = -scores.log_softmax(1)[torch.arange(9), y].mean()
    close(loss.value, expected)
    assert float(loss.terms["accuracy"]) == pytest.approx(float((scores.argmax(1) == y).double().mean()))
    for found, right in zip(
        torch.autograd.grad(loss.value, list(machine.parameters())),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        close(found, right)


def test_paired_is_the_objective_of_the_machine_over_pairs():
    world = WORLDS["bits"]
    x, y = world.x[:6], torch.arange(6) % 3
    objective = MaximumLikelihood(FromData(BlockGibbs(), 2))
    first = Paired(objective)(world.energy, (x, y), seeded()).value
    close(first, objective(world.energy.machine, world.energy.pairs(x, y), seeded()).value)
    assert isinstance(world.energy, Joint) and isinstance(world.energy, ClassEnergies)


@pytest.mark.parametrize("share", [0.3, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 1.0))])
def test_it_learns_labels_as_a_model_of_pairs_a_classifier_and_both(share):
    torch.manual_seed(0)
    rng = seeded()
    y = torch.randint(3, (300,), generator=rng)
    means = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.1, 0.9, 0.9, 0.1], [0.1, 0.1, 0.9, 0.9]])
    x = (torch.rand(300, 4, generator=rng) < means[y]).float()
    energy = LabelledRBM(4, 6, classes=3, scale=0.1)
    energy.start_at_pairs(x, y)
    pairs = Paired(Centred(MaximumLikelihood(Persistent(BlockGibbs(), 1, size=300, fresh=0.0))))
    objective = Weighted({"pairs": (share, pairs), "labels": (1 - share, CrossEntropy())})
    optimizer = torch.optim.SGD(energy.parameters(), lr=0.4)
    list(train(energy, objective, [(x, y)] * 150, optimizer, rng))
    posterior = (x @ (means / (1 - means)).log().T + (1 - means).log().sum(1)).argmax(1)
    best = (posterior == y).float().mean()
    assert (energy.class_energies(x).argmin(1) == y).float().mean() > best - 0.04


def test_labels_that_do_not_fit_are_refused():
    energy, x = LabelledRBM(4, 3, classes=3), torch.zeros(2, 4)
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"Labels are 0 to 2, but got {wrong}; number the classes from 0"):
            energy.given(wrong)
        with pytest.raises(ValueError, match=f"but got {wrong}"):
            energy(x, torch.tensor([0, wrong]))
        with pytest.raises(ValueError, match="Labels are 0 to 2, but the batch has"):
            CrossEntropy()(energy, (x, torch.tensor([0, wrong])))
    with pytest.raises(TypeError, match=r"whole numbers, but got torch\.float32"):
        energy.given(1.0)  # an annotation of integers would be checked in tests, and say nothing to users
    with pytest.raises(ValueError, match="one label a row, but got"):
        inspect.unwrap(LabelledRBM.pairs)(energy, x, torch.tensor([1]))  # without the shape checks of the tests
    for objective in (CrossEntropy(), Paired(MaximumLikelihood(FromData(BlockGibbs(), 1)))):
        with pytest.raises(TypeError, match=r"pairs \(x, y\), but got Tensor"):
            objective(energy, x)
        with pytest.raises(TypeError, match="such as LabelledRBM, but RBM has none"):
            objective(RBM(4, 3), (x, torch.tensor([0, 1])))


# Layers of several kinds.


def test_a_mixed_layer_has_the_sum_over_its_states():
    units = MixedUnits(((Bits(), 2), (Categories(3), 3), (Spins(), 1)))
    machine = at_random(RBM(6, 3, units=units))
    states = [
        torch.cat([torch.tensor(bits), torch.eye(3)[k], torch.tensor(spin)])
        for bits, k, spin in itertools.product(itertools.product([0.0, 1.0], repeat=2), range(3), ([-1.0], [1.0]))
    ]
    v = torch.stack(states).double()
    assert machine.support == Mixed(((Binary(), 2), (OneHot(), 3), (Spin(), 1))) and machine.support.contains(v).all()
    w, b, c = (p.detach() for p in machine.standard())
    scores = v @ w @ H.T + (v @ b)[:, None] + H @ c
    close(machine(v), -scores.logsumexp(1))
    close(machine.visible_mean(H), scores.softmax(0).T @ v)
    many = at_random(RBM(6, 5, units=units))  # more hidden states than visible ones: these are visited, then
    states = list(machine.support.enumerate((6,), chunk=7))
    assert [len(some) for some in states] == [7, 7, 7, 3]
    assert {tuple(row) for row in torch.cat(states).tolist()} == {tuple(row) for row in v.tolist()}
    for energy in (machine, many):
        log_z = (-energy(v)).logsumexp(0).detach()
        assert log_partition(energy, (6,)).value == pytest.approx(float(log_z), abs=1e-10)
    close((-machine(v)).logsumexp(0), scores.flatten().logsumexp(0))
    n = 4_000
    x = sample(BlockGibbs(), machine, machine.support.initial((n, 6), seeded()).double(), 30, seeded(1))
    assert apart(frequencies(x, v), scores.logsumexp(1).softmax(0), n) < 5
    mean = torch.tensor([0.3, 0.6, 0.2, 0.5, 0.3, -0.4])
    close(units.mean(units.field_of(mean)), mean, 1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: MixedUnits(()), "one or more parts"),
        (lambda: MixedUnits(((Bits(), 0),)), "each of some entries"),
        (lambda: MixedUnits(((Categories(3), 6),)), r"Categories\(6\)"),
        (lambda: RBM((2, 2), 3, units=MixedUnits(((Bits(), 2), (Spins(), 2)))), "one line of 4 entries"),
        (lambda: Mixed(((Binary(), 2), (OneHot(), 3))).initial((4, 6)), "rows of 5 entries"),
        (lambda: next(Mixed(((Binary(), 2), (Real(), 1))).enumerate((3,))), "lists discrete states"),
        (lambda: next(Mixed(((Binary(), 20), (Spin(), 20))).enumerate((40,))), "at most 2\\^24 states"),
        (lambda: LabelledRBM(4, 3, classes=1), "two or more"),
    ],
)
def test_parts_that_do_not_fit_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# Products.


@pytest.mark.parametrize("hidden", [(3, 2), ((2, 3), (1, 3))])
def test_a_product_of_machines_is_one_machine_and_a_sum_of_energies(hidden):
    kind = Categories(3) if isinstance(hidden[0], tuple) else Bits()
    first, second = (at_random(RBM((2, 2), size, hidden_units=kind), seed) for seed, size in enumerate(hidden))
    x = torch.cat(list(Binary().enumerate((2, 2)))).double()
    both = product(first, second)
    close(both(x), first(x) + second(x))
    assert math.prod(both.hidden_shape) == sum(math.prod(machine.hidden_shape) for machine in (first, second))
    law, n = (-first(x) - second(x)).detach().softmax(0), 4_000
    start = Binary().initial((n, 2, 2), seeded()).double()
    for kernel, energy in ((BlockGibbs(), both), (gwg(), first + second), (dmala(0.3), first + second)):
        assert apart(frequencies(sample(kernel, energy, start, 40, seeded(1)), x), law, n) < 5
    with pytest.raises(TypeError, match="WeightedSum has no such conditionals"):
        sample(BlockGibbs(), first + second, start, 1)


def test_a_product_of_machines_that_do_not_fit_is_refused():
    for other in (RBM(5, 3), RBM(4, 3, units=Spins()), RBM(4, 3, hidden_units=Spins())):
        with pytest.raises(ValueError, match=r"first \+ second is the product of any two"):
            product(RBM(4, 3), other)
