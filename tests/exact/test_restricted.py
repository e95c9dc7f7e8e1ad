"""Restricted Boltzmann machines against sums over all states, written out in float64."""

import itertools
import math

import pytest
import torch

from erg.draws import Replay
from erg.energies import RBM, Bits, Categories, Decoupled, Spins, Standard
from erg.evaluation.partition import log_likelihood, log_partition
from erg.negatives import FromData, Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.roles import Centring, Conditionals, TwoLayers
from erg.samplers import BlockGibbs, chain
from erg.training.averaging import Averaged
from erg.training.export import export_energy, load_energy
from erg.training.loop import train

BIT, SPIN = (0.0, 1.0), (-1.0, 1.0)


def states_of(units, entries):
    """All states of a layer, flat."""
    if isinstance(units, Categories):
        words = itertools.product(torch.eye(units.count), repeat=entries // units.count)
        return torch.stack([torch.cat(word) for word in words]).double()
    values = SPIN if isinstance(units, Spins) else BIT
    return torch.tensor(list(itertools.product(values, repeat=entries)), dtype=torch.float64)


class World:
    """A machine at random parameters and offsets, and everything about it by enumeration."""

    def __init__(self, units, hidden_units, shape, hidden, seed=0):
        rng = torch.Generator().manual_seed(seed)
        self.rbm = RBM(shape, hidden, units=units, hidden_units=hidden_units).double()
        self.w, self.b, self.c = (
            0.9 * torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in self.rbm.parameters()
        )
        self.rbm.holding(Standard(self.w, self.b, self.c))
        self.rbm.recentre(*(torch.rand(len(p), generator=rng, dtype=torch.float64) for p in (self.b, self.c)))
        self.v, self.h = states_of(units, len(self.b)), states_of(hidden_units, len(self.c))

    @property
    def x(self):
        return self.v.reshape(-1, *self.rbm.shape)

    @property
    def energies(self):
        """E(v, h) of all pairs."""
        return -(self.v @ self.w @ self.h.T) - (self.v @ self.b)[:, None] - self.h @ self.c

    @property
    def log_z(self):
        return (-self.energies).flatten().logsumexp(0)

    @property
    def joint(self):
        return (-self.energies - self.log_z).exp()


WORLDS = {
    "bits": lambda: World(Bits(), Bits(), 5, 3),
    "bits on an image": lambda: World(Bits(), Bits(), (1, 2, 2), 3),
    "spins": lambda: World(Spins(), Spins(), 4, 3),
    "spins with hidden bits": lambda: World(Spins(), Bits(), 4, 3),
    "categories": lambda: World(Categories(3), Bits(), (2, 3), 4),
    "hidden categories": lambda: World(Bits(), Categories(3), 4, (2, 3)),
}
every_world = pytest.mark.parametrize("world", [pytest.param(make(), id=name) for name, make in WORLDS.items()])


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@every_world
def test_the_energy_sums_the_hidden_layer_out(world):
    close(world.rbm(world.x), -(-world.energies).logsumexp(1))
    pairs = [(i, j) for i in range(3) for j in range(len(world.h))]
    i, j = torch.tensor(pairs).T
    close(world.rbm.joint(world.x[i], world.h[j].reshape(-1, *world.rbm.hidden_shape)), world.energies[i, j])


@every_world
def test_the_hidden_layer_has_an_energy_of_the_same_z(world):
    other = world.rbm.of_hidden()
    close(other(world.h.reshape(-1, *other.shape)), -(-world.energies).logsumexp(0))
    for energy in (world.rbm, other):
        assert log_partition(energy, energy.shape).value == pytest.approx(float(world.log_z), abs=1e-10)
    marginal = world.joint.sum(1).log()
    assert log_likelihood(world.rbm, world.x).value == pytest.approx(float(marginal.mean()), abs=1e-10)


@every_world
def test_a_sweep_has_the_transition_matrix_of_the_conditionals(world):
    """Frequencies of 200,000 sweeps from one state, against p(h | v) p(v' | h); and means in closed form."""
    given_v, given_h = world.joint / world.joint.sum(1, keepdim=True), world.joint / world.joint.sum(0)
    close(world.rbm.hidden_mean(world.x).flatten(1), given_v @ world.h)
    hidden = world.h.reshape(-1, *world.rbm.hidden_shape)
    close(world.rbm.visible_mean(hidden).flatten(1), given_h.T @ world.v)
    start, n = 2, 200_000
    expected = given_v[start] @ given_h.T
    x = world.x[start].expand(n, *world.rbm.shape)
    state, acceptance = next(chain(BlockGibbs(), world.rbm, x, torch.Generator().manual_seed(0)))
    assert (acceptance == 1).all()
    frequencies = (state.x.flatten(1)[:, None] == world.v).all(2).double().mean(0)
    z = (frequencies - expected) / (expected * (1 - expected) / n).sqrt()
    assert z.abs().max() < 5


@every_world
def test_gradients_are_those_of_the_enumerated_likelihood(world):
    """In the parameters at offsets: d/dW at fixed b' and c' is not d/dW at fixed b and c."""
    rbm, data = world.rbm, world.x[torch.tensor([0, 1, 1, 3])]
    parameters = [p.detach().clone().requires_grad_() for p in rbm.parameters()]

    def log_likelihood_of(w, b, c):
        b, c = b - w @ rbm.hidden_offset, c - rbm.visible_offset @ w
        energies = -(world.v @ w @ world.h.T) - (world.v @ b)[:, None] - world.h @ c
        return (-energies).logsumexp(1)[[0, 1, 1, 3]].mean() - (-energies).flatten().logsumexp(0)

    expected = torch.autograd.grad(-log_likelihood_of(*parameters), parameters)
    weights = world.joint.sum(1)
    loss = rbm(data).mean() - (weights * rbm(world.x)).sum()
    for found, right in zip(torch.autograd.grad(loss, list(rbm.parameters())), expected, strict=True):
        close(found, right)


@every_world
def test_derivatives_in_closed_form_are_right_at_first_and_second_order(world):
    x = torch.randn(3, *world.rbm.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(world.rbm, x.requires_grad_())
    assert torch.autograd.gradgradcheck(world.rbm, x)


@every_world
def test_offsets_change_coordinates_and_no_energy(world):
    before, standard = world.rbm(world.x), world.rbm.standard()
    world.rbm.recentre(torch.full_like(world.b, 0.3), torch.full_like(world.c, -0.8))
    close(world.rbm(world.x), before)
    for found, right in zip(world.rbm.standard(), standard, strict=True):
        close(found, right)


def test_one_step_of_contrastive_divergence_has_its_exact_expectation():
    """CD-2 with the negatives' law by matrix products, against the mean over many batches."""
    world, rng = World(Bits(), Bits(), 4, 3, seed=3), torch.Generator().manual_seed(0)
    rows = torch.tensor([1, 6, 6, 11])
    given_v, given_h = world.joint / world.joint.sum(1, keepdim=True), world.joint / world.joint.sum(0)
    sweep = given_v @ given_h.T
    after = torch.linalg.matrix_power(sweep, 2)[rows].mean(0)
    loss = world.rbm(world.x[rows]).mean() - (after * world.rbm(world.x)).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(world.rbm.parameters()))])
    many = rows.repeat(2_000)
    objective, found = MaximumLikelihood(FromData(BlockGibbs(), steps=2)), []
    for _ in range(40):
        value = objective(world.rbm, world.x[many], rng).value
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(world.rbm.parameters()))]))
    found = torch.stack(found)
    z = (found.mean(0) - expected) / (found.std(0) / len(found) ** 0.5)
    assert z.abs().max() < 5


class Mirrored:
    """Uniform numbers u for one machine's visible layer and 1 - u for its mirror image's."""

    @staticmethod
    def pair(shapes, rng):
        hidden, visible = (torch.rand(shape, generator=rng, dtype=torch.float64) for shape in shapes)
        return Replay([hidden, visible]), Replay([hidden, 1 - visible])


def learned(x, *, centred, flip, steps=30):
    """An RBM after some updates of CD-1 on x, or on 1 - x with mirrored weights and noise."""
    rng = torch.Generator().manual_seed(5)
    rbm = RBM(x.shape[1], 4).double()
    weight = 0.1 * torch.randn(rbm.weight.shape, generator=rng, dtype=torch.float64)
    x = 1 - x if flip else x
    # In the mirror visible units change sides and hidden units stay.
    rbm.holding(
        Standard(-weight if flip else weight, torch.zeros_like(rbm.visible_bias), torch.zeros_like(rbm.hidden_bias))
    )
    rbm.start_at(x)
    if not centred:
        rbm.recentre(torch.zeros(x.shape[1]).double(), torch.zeros(4).double())
    objective = MaximumLikelihood(FromData(BlockGibbs(), steps=1))
    objective = Centred(objective, rate=0.2) if centred else objective
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.5)
    shapes = [(len(x), 4), x.shape]
    for _ in range(steps):
        plain, mirror = Mirrored.pair(shapes, rng)
        list(train(rbm, objective, [x], optimizer, mirror if flip else plain))
    return rbm, x


@pytest.mark.parametrize("centred", [True, False])
def test_centring_makes_learning_invariant_under_flips(centred):
    x = (torch.rand(50, 6, generator=torch.Generator().manual_seed(1)) < torch.linspace(0.1, 0.6, 6)).double()
    values = [log_likelihood(*learned(x, centred=centred, flip=flip)).value for flip in (False, True)]
    apart = abs(values[0] - values[1])
    assert apart < 1e-9 if centred else apart > 1e-4


def test_the_enhanced_gradient_takes_half_of_the_models_means():
    world, rng = World(Bits(), Bits(), 5, 3), torch.Generator().manual_seed(0)
    x = world.x[torch.tensor([3, 9])]

    class Fixed(FromData):
        def __call__(self, energy, x, rng=None):
            return world.x[torch.tensor([30, 31])]

    offset = world.rbm.visible_offset.clone()
    Centred(MaximumLikelihood(Fixed(BlockGibbs(), 1)), rate=0.25, model=0.5)(world.rbm, x, rng)
    middle = (x.mean(0) + world.x[[30, 31]].mean(0)) / 2
    close(world.rbm.visible_offset, offset.lerp(middle, 0.25))


def test_an_average_is_taken_at_common_offsets():
    world = World(Bits(), Bits(), 5, 3)
    averaged = Averaged(world.rbm, 0.5)
    before = world.rbm.standard()
    world.rbm.recentre(torch.full_like(world.b, 0.9), torch.full_like(world.c, 0.1))
    averaged.update()  # nothing was learned, only the coordinates moved
    for found, right in zip(averaged.energy.standard(), before, strict=True):
        close(found, right)


def test_annealing_starts_at_a_machine_without_couplings():
    world, rng = World(Spins(), Bits(), 3, 2), torch.Generator().manual_seed(0)
    base = Decoupled(world.rbm, world.b)
    assert float(base.log_z) == pytest.approx(log_partition(base, base.shape).value, abs=1e-10)
    found = base.exact_samples(100_000, rng).mean(0)
    close(found, world.b.tanh(), 0.02)


def test_what_is_exported_is_the_standard_form(tmp_path):
    from safetensors.torch import load_file

    world = World(Bits(), Bits(), 5, 3)
    path = tmp_path / "rbm.safetensors"
    export_energy(path, world.rbm, {})
    tensors = load_file(path)
    assert set(tensors) == {"weight", "visible_bias", "hidden_bias"}
    close(tensors["hidden_bias"], world.c)
    loaded = load_energy(path, lambda config: RBM(5, 3).double())
    close(loaded(world.x), world.rbm(world.x))


def test_it_keeps_the_protocols():
    rbm = RBM(4, 2)
    assert isinstance(rbm, Conditionals) and isinstance(rbm, TwoLayers) and isinstance(rbm, Centring)


def test_start_at_the_data():
    x = (torch.rand(500, 4, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.1, 0.5, 0.7, 0.0])).float()
    rbm = RBM(4, 3, scale=0.0)
    rbm.start_at(x)
    close(rbm.visible_mean(torch.zeros(1, 3))[0], x.mean(0).clamp(min=0.01), 1e-5)
    close(rbm.visible_offset, x.mean(0), 1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: RBM((28, 28), 0), "units in both layers"),
        (lambda: RBM((2, 3), 4, units=Categories(4)), r"use Categories\(3\)"),
        (lambda: Categories(1), "two or more"),
        (lambda: RBM(3, 2).start_at(torch.rand(5, 3)), "binarise them"),
        (lambda: RBM(3, 2)(torch.zeros(5, 4)), r"events of shape \(3,\)"),
        (lambda: Centred(MaximumLikelihood(Persistent(BlockGibbs(), 1)), rate=0.0), r"rate in \(0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_a_field_of_a_mean_has_that_mean():
    for units, mean in ((Bits(), torch.tensor([0.2, 0.9])), (Spins(), torch.tensor([-0.3, 0.8]))):
        close(units.mean(units.field_of(mean)), mean, 1e-6)
    mean = torch.tensor([0.2, 0.5, 0.3])
    close(Categories(3).mean(Categories(3).field_of(mean)[None])[0], mean, 1e-6)


def test_large_fields_keep_their_digits():
    field = torch.tensor([[-40.0, 25.0, 60.0]], dtype=torch.float64)
    assert float(Bits().log_partition(field)) == pytest.approx(sum(map(_softplus, (-40.0, 25.0, 60.0))), abs=1e-13)
    assert float(Spins().log_partition(field)) == pytest.approx(40 + 25 + 60 + math.log1p(math.exp(-50)), abs=1e-13)


def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
