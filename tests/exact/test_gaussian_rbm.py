"""Gaussian-Bernoulli machines against sums over hidden states and normal densities, written out in float64."""

import copy
import itertools
import math

import pytest
import torch

from erg.energies import DecoupledGaussian, GaussianRBM, Trajectory
from erg.energies.gaussian_rbm import GaussianStandard
from erg.evaluation.partition import log_likelihood, log_partition
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.roles import Centring, Conditionals, TwoLayers
from erg.samplers import BlockGibbs, GibbsLangevin, ais, chain, mala, sample, ula
from erg.training.averaging import Averaged
from erg.training.export import export_energy, load_energy
from erg.training.loop import train


class World:
    """A machine at random parameters and offsets: a mixture of normal laws, one a hidden state."""

    def __init__(self, visible=3, hidden=4, seed=0):
        rng = torch.Generator().manual_seed(seed)
        normal = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
        self.w, self.b, self.c = normal(visible, hidden), normal(visible), 0.7 * normal(hidden)
        self.s = (0.4 * normal(visible)).exp()
        self.h = torch.tensor(list(itertools.product((0.0, 1.0), repeat=hidden)), dtype=torch.float64)
        self.rbm = GaussianRBM(visible, hidden).double()
        self.rbm.holding(GaussianStandard(self.w, self.b, self.c, 2 * self.s.log()))
        unit = (0.3 * normal(visible)).exp()
        with torch.no_grad():
            self.rbm.unit.copy_(unit)
            self.rbm.weight.div_(unit[:, None])
            self.rbm.visible_bias.div_(unit)
            self.rbm.log_variance.sub_(2 * unit.log())
        self.rbm.recentre(normal(visible), torch.rand(hidden, generator=rng, dtype=torch.float64))
        # Completing the square in E(v, h): each h has a normal law with mean b + Wh and weight exp(log_weight).
        self.means = self.b + self.h @ self.w.T
        volume = (math.log(2 * math.pi) + 2 * self.s.log()).sum() / 2
        squares = ((self.means**2 - self.b**2) / (2 * self.s**2)).sum(1)
        self.log_weights = self.h @ self.c + squares + volume

    def energies(self, v):
        """E(v, h) of all hidden states."""
        quadratic = ((v - self.b) ** 2 / (2 * self.s**2)).sum(1)
        return quadratic[:, None] - (v / self.s**2) @ self.w @ self.h.T - self.h @ self.c

    @property
    def log_z(self):
        return self.log_weights.logsumexp(0)

    def log_density(self, v):
        """By the mixture."""
        z = (v[:, None] - self.means) / self.s
        normal = -(z**2).sum(2) / 2 - (math.log(2 * math.pi) / 2 + self.s.log()).sum()
        return (normal + self.log_weights - self.log_z).logsumexp(1)

    def exact_samples(self, n, rng):
        picked = torch.multinomial(self.log_weights.softmax(0), n, replacement=True, generator=rng)
        return self.means[picked] + self.s * torch.randn(n, len(self.s), generator=rng, dtype=torch.float64)


@pytest.fixture
def world():
    return World()


def states(n=7, visible=3, seed=1):
    return 2 * torch.randn(n, visible, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, tolerance=1e-11):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_the_energy_sums_the_hidden_layer_out(world):
    v = states()
    close(world.rbm(v), -(-world.energies(v)).logsumexp(1))
    for index in (0, 5, 15):
        close(world.rbm.joint(v, world.h[index].expand(len(v), -1)), world.energies(v)[:, index])


def test_the_hidden_layer_has_an_energy_of_the_same_z(world):
    close(world.rbm.of_hidden()(world.h), -world.log_weights)
    assert log_partition(world.rbm, (3,)).value == pytest.approx(float(world.log_z), abs=1e-10)
    v = states()
    assert log_likelihood(world.rbm, v).value == pytest.approx(float(world.log_density(v).mean()), abs=1e-10)


def test_log_z_is_the_integral_over_the_visible_layer():
    """By quadrature over the visible side, which knows nothing of hidden states."""
    world = World(visible=1, hidden=3)
    grid = torch.linspace(-40, 40, 40_001, dtype=torch.float64)[:, None]
    integral = (-world.rbm(grid)).detach().logsumexp(0) + math.log(80 / 40_000)
    assert float(integral) == pytest.approx(float(world.log_z), abs=1e-9)


def test_conditionals(world):
    v = states()
    given_v = (-world.energies(v)).softmax(1)
    close(world.rbm.hidden_mean(v), given_v @ world.h)
    close(world.rbm.visible_mean(world.h), world.means)
    close(world.rbm.visible_deviation, world.s)


def test_visible_units_are_drawn_with_their_noise(world):
    """A machine whose samples are conditional means has deviation 0 where s belongs."""
    n, rng = 100_000, torch.Generator().manual_seed(0)
    v = world.rbm.sample_visible(world.h[9].expand(n, -1), rng)
    z_mean = (v.mean(0) - world.means[9]) / (world.s / n**0.5)
    z_deviation = (v.std(0) / world.s - 1) * (2 * n) ** 0.5
    assert z_mean.abs().max() < 5 and z_deviation.abs().max() < 5


def test_hidden_units_are_drawn_from_their_law(world):
    n, rng = 100_000, torch.Generator().manual_seed(0)
    v = states()[3:4]
    p = world.rbm.hidden_mean(v)[0]
    found = world.rbm.sample_hidden(v.expand(n, -1), rng).mean(0)
    assert ((found - p) / (p * (1 - p) / n).sqrt()).abs().max() < 5


KERNELS = {
    "block Gibbs": BlockGibbs(),
    "Gibbs-Langevin with tests": GibbsLangevin(mala(0.3), steps=3),
    "biased": GibbsLangevin(ula(0.3), steps=3),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_leave_the_law_as_it_is(world, name):
    """From exact draws, moments after ten sweeps; unadjusted steps of this size are noticed."""
    n, rng = 20_000, torch.Generator().manual_seed(0)
    x = sample(KERNELS[name], world.rbm, world.exact_samples(n, rng), 10, rng)
    p = world.log_weights.softmax(0)
    mean = p @ world.means
    variance = p @ world.means**2 - mean**2 + world.s**2
    squares = (x - mean) ** 2
    z_mean = (x.mean(0) - mean) / (x.std(0) / n**0.5)
    z_variance = (squares.mean(0) - variance) / (squares.std(0) / n**0.5)
    worst = max(z_mean.abs().max(), z_variance.abs().max())
    assert worst > 5 if name == "biased" else worst < 5


def test_gradients_are_those_of_the_likelihood(world):
    """In the parameters at offsets, by autograd through the mixture; log-variances move the folded biases, too."""
    rbm, data = world.rbm, states(4, seed=5)
    parameters = [p.detach().clone().requires_grad_() for p in rbm.parameters()]
    w, b, c, log_variance = parameters
    w, b, s = w * rbm.unit[:, None], b * rbm.unit, (log_variance / 2).exp() * rbm.unit
    twin = copy.copy(world)
    twin.s, twin.w = s, w
    twin.b, twin.c = b - w @ rbm.hidden_offset, c - (rbm.visible_offset / s**2) @ w
    twin.means = twin.b + world.h @ w.T
    squares = ((twin.means**2 - twin.b**2) / (2 * s**2)).sum(1)
    twin.log_weights = world.h @ twin.c + squares + (math.log(2 * math.pi) + 2 * s.log()).sum() / 2
    expected = torch.autograd.grad(-twin.log_density(data).mean(), parameters)
    # E over data, and minus log Z through the hidden layer's energies.
    loss = rbm(data).mean() + (-rbm.of_hidden()(world.h)).logsumexp(0)
    for found, right in zip(torch.autograd.grad(loss, list(rbm.parameters())), expected, strict=True):
        close(found, right, 1e-9)


def test_derivatives_by_states_are_right(world):
    x = states().requires_grad_()
    assert torch.autograd.gradcheck(world.rbm, x)
    assert torch.autograd.gradgradcheck(world.rbm, x)


def test_closed_forms_are_the_derivatives_by_parameters(world):
    """Against autograd through the energy as it is written, at first and second order, row by row."""
    rbm, v = world.rbm, states()
    parameters = list(rbm.parameters())
    weights = torch.linspace(-1, 2, len(v), dtype=torch.float64)

    def written():
        w, b, c, log_variance = rbm.standard()
        quadratic = ((v - b) ** 2 * (-log_variance).exp() / 2).sum(1)
        return quadratic - torch.nn.functional.softplus(c + v * (-log_variance).exp() @ w).sum(1)

    grads = [
        torch.autograd.grad((energies * weights).sum(), parameters, create_graph=True)
        for energies in (rbm(v), written())
    ]
    for found, right in zip(*grads, strict=True):
        close(found, right, 1e-9)
    second = [torch.autograd.grad(sum((g**2).sum() for g in each), parameters) for each in grads]
    for found, right in zip(*second, strict=True):
        close(found, right, 1e-8)


def test_offsets_change_coordinates_and_no_energy(world):
    v = states()
    before, standard = world.rbm(v), world.rbm.standard()
    world.rbm.recentre(torch.full_like(world.b, 1.3), torch.full_like(world.c, 0.8))
    close(world.rbm(v), before)
    for found, right in zip(world.rbm.standard(), standard, strict=True):
        close(found, right)
    averaged = Averaged(world.rbm, 0.5)
    world.rbm.recentre(torch.full_like(world.b, -2.0), torch.full_like(world.c, 0.1))
    averaged.update()
    close(averaged.energy(v), before)


def test_a_blend_has_the_blended_energy_of_both_layers():
    first, second = World(), World(seed=1)
    blended, v = first.rbm.blended(second.rbm, 0.3), states()
    for index in (0, 7, 15):
        h = first.h[index].expand(len(v), -1)
        close(blended.joint(v, h), 0.7 * first.energies(v)[:, index] + 0.3 * second.energies(v)[:, index])
    again = blended.blended(first.rbm, 0.6)
    close(again.joint(v, h), 0.4 * blended.joint(v, h) + 0.6 * first.energies(v)[:, index])
    close(blended(v), -torch.stack([-blended.joint(v, h.expand(len(v), -1)) for h in first.h]).logsumexp(0))
    one = World(visible=1, hidden=4).rbm.blended(World(visible=1, hidden=4, seed=1).rbm, 0.3)
    grid = torch.linspace(-40, 40, 40_001, dtype=torch.float64)[:, None]
    integral = (-one(grid)).logsumexp(0) + math.log(80 / 40_000)
    assert log_partition(one, (1,)).value == pytest.approx(float(integral), abs=1e-9)


def test_annealing_finds_log_z(world):
    data = world.exact_samples(1000, torch.Generator().manual_seed(1))
    start = world.rbm.decoupled(data)
    assert isinstance(start, DecoupledGaussian)
    assert float(start.log_z) == pytest.approx(log_partition(start, (3,)).value, abs=1e-10)
    draws = start.exact_samples(50_000, torch.Generator().manual_seed(0))
    close(draws.mean(0), data.mean(0), 0.05)
    close(draws.var(0), data.var(0), 0.05)
    path = Trajectory([start, world.rbm])
    found = ais(path, BlockGibbs(), betas=100, chains=1000, rng=torch.Generator().manual_seed(0)).log_z
    assert abs(found.value - float(world.log_z)) < 5 * found.standard_error
    assert found.standard_error < 0.1


def test_it_starts_at_the_data_in_whatever_units():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, 2, generator=rng, dtype=torch.float64) * torch.tensor([1.0, 3.0]) + 5
    x[:, 0, 0] = 7.0
    rbm = GaussianRBM((2, 2), 3, scale=0.0).double()
    rbm.start_at(x)
    close(rbm.visible_mean(torch.zeros(1, 3, dtype=torch.float64))[0], x.mean(0))
    variance = x.flatten(1).var(0, correction=0)
    close(rbm.visible_deviation.flatten()[1:] ** 2, variance[1:])
    close(rbm.visible_deviation[0, 0] ** 2, variance.mean() / 100)
    values = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        machine = GaussianRBM((2, 2), 3, scale=0.1).double()
        machine.start_at(x * scale)
        values.append(machine(x * scale))
    close(*values, 1e-8)


@pytest.mark.slow
def test_learning_finds_two_clusters():
    """Exact likelihood of a machine learned by PCD, against that of the mixture the data came from."""
    rng, deviations = torch.Generator().manual_seed(0), torch.tensor([0.8, 0.5])

    def draw(n):
        right = torch.rand(n, 1, generator=rng) < 0.3
        return torch.where(right, 1.0, -1.0) + deviations * torch.randn(n, 2, generator=rng)

    x, held_out = draw(2000), draw(2000)
    rbm = GaussianRBM(2, 2, scale=0.1)
    rbm.start_at(x)
    before = log_likelihood(rbm, held_out).value
    objective = Centred(MaximumLikelihood(Persistent(BlockGibbs(), 5, size=1000, fresh=0.0)), rate=0.05)
    optimizer = torch.optim.Adam(rbm.parameters(), lr=0.02, betas=(0.5, 0.99))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    batches = (x[torch.randint(len(x), (1000,), generator=rng)] for _ in range(400))
    for _ in train(rbm, objective, batches, optimizer, rng):
        falling.step()
    normal = torch.distributions.Normal(torch.tensor([[-1.0], [1.0]])[:, None], deviations)
    truth = (normal.log_prob(held_out).sum(2) + torch.tensor([0.7, 0.3]).log()[:, None]).logsumexp(0).mean()
    assert before < float(truth) - 0.3
    assert log_likelihood(rbm, held_out).value > float(truth) - 0.02
    close(rbm.visible_deviation.detach(), deviations, 0.05)


def test_what_is_exported_is_the_standard_form(world, tmp_path):
    from safetensors.torch import load_file

    path = tmp_path / "rbm.safetensors"
    export_energy(path, world.rbm, {})
    tensors = load_file(path)
    assert set(tensors) == {"weight", "visible_bias", "hidden_bias", "log_variance"}
    close(tensors["hidden_bias"], world.c)
    loaded = load_energy(path, lambda config: GaussianRBM(3, 4).double())
    close(loaded(states()), world.rbm(states()))


def test_it_keeps_the_protocols():
    rbm = GaussianRBM(4, 2)
    assert isinstance(rbm, Conditionals) and isinstance(rbm, TwoLayers) and isinstance(rbm, Centring)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: GaussianRBM(3, 0), ValueError, "units in both layers"),
        (lambda: GaussianRBM(3, 2)(torch.zeros(5, 4)), ValueError, r"events of shape \(3,\)"),
        (lambda: GaussianRBM(3, 2).start_at(torch.zeros(1, 3)), ValueError, "two finite rows"),
        (lambda: GaussianRBM(3, 2).start_at(torch.ones(5, 3)), ValueError, "that differ"),
        (lambda: GaussianRBM(1, 2).start_at(torch.tensor([[0.0], [math.nan]])), ValueError, "1 are not finite"),
        (lambda: GibbsLangevin(mala(0.1), steps=0), ValueError, "steps of at least 1"),
        (
            lambda: next(chain(GibbsLangevin(mala(0.1)), lambda x: x.sum(1), torch.zeros(2, 3))),
            TypeError,
            "layers of a GaussianRBM",
        ),
    ],
)
def test_what_does_not_fit_is_refused(act, error, message):
    with pytest.raises(error, match=message):
        act()
