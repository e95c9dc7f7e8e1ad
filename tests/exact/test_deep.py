"""Deep Boltzmann machines against sums over all states of all layers, written out in float64."""

import itertools

import pytest
import torch

from erg.draws import Replay
from erg.energies import DBM
from erg.energies.restricted import Standard
from erg.evaluation.partition import log_likelihood, log_partition
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood, VariationalLikelihood
from erg.samplers import AllLayers, BlockGibbs, chain, sample
from erg.training.loop import train


def states_of(entries):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=entries)), dtype=torch.float64)


class World:
    """A machine at random parameters and offsets; everything about it by sums over all of its layers."""

    def __init__(self, sizes, seed=0, scale=0.8):
        rng = torch.Generator().manual_seed(seed)
        self.sizes = sizes
        self.dbm = DBM(sizes[0], sizes[1:], tolerance=1e-13, iterations=10_000).double()
        self.weights = [
            scale * torch.randn(below, above, generator=rng, dtype=torch.float64)
            for below, above in itertools.pairwise(sizes)
        ]
        self.biases = [scale * torch.randn(size, generator=rng, dtype=torch.float64) for size in sizes]
        even, odd = torch.cat(self.biases[::2]), torch.cat(self.biases[1::2])
        self.dbm.machine.holding(Standard(self._coupling(), even, odd))
        offsets = (torch.rand(len(bias), generator=rng, dtype=torch.float64) for bias in (even, odd))
        self.dbm.machine.recentre(*offsets)

    def _coupling(self):
        evens, odds = self.sizes[::2], self.sizes[1::2]
        rows = [[torch.zeros(even, odd, dtype=torch.float64) for odd in odds] for even in evens]
        for layer, weight in enumerate(self.weights):
            if layer % 2:
                rows[(layer + 1) // 2][layer // 2] = weight.T
            else:
                rows[layer // 2][layer // 2] = weight
        return torch.cat([torch.cat(row, 1) for row in rows])

    @property
    def states(self):
        """All states of all layers."""
        return list(states_of(sum(self.sizes)).split(self.sizes, 1))

    @property
    def energies(self):
        x = self.states
        couplings = (-((a @ w) * b).sum(1) for (a, b), w in zip(itertools.pairwise(x), self.weights, strict=True))
        return sum(couplings) - sum(layer @ bias for layer, bias in zip(x, self.biases, strict=True))

    @property
    def log_z(self):
        return (-self.energies).logsumexp(0)

    @property
    def log_p(self):
        """Of each visible state."""
        # The visible layer varies slowest.
        return (-self.energies).reshape(2 ** self.sizes[0], -1).logsumexp(1) - self.log_z

    def free(self, v, means):
        """E_q[E] - H(q) of one visible state and factorised hidden layers with these means."""
        x = [v, *means]
        mean = -sum(a @ w @ b for (a, b), w in zip(itertools.pairwise(x), self.weights, strict=True))
        mean = mean - sum(layer @ bias for layer, bias in zip(x, self.biases, strict=True))
        return mean + sum((m * m.log() + (1 - m) * (1 - m).log()).sum() for m in means)


WORLDS = {"one": (4, 3), "two": (4, 3, 3), "three": (3, 3, 2, 2), "four": (3, 2, 3, 2, 2)}
every_world = pytest.mark.parametrize(
    "world", [pytest.param(World(sizes), id=name) for name, sizes in WORLDS.items()]
)
deep = pytest.mark.parametrize(
    "world", [pytest.param(World(WORLDS[name]), id=name) for name in ("two", "three", "four")]
)


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@every_world
def test_even_and_odd_layers_make_a_machine_of_the_same_z(world):
    assert log_partition(world.dbm.machine, world.dbm.machine.shape).value == pytest.approx(
        float(world.log_z), abs=1e-10
    )
    assert log_partition(world.dbm, world.dbm.shape).value == pytest.approx(float(world.log_z), abs=1e-10)
    x = world.states
    even, odd = torch.cat(x[::2], 1), torch.cat(x[1::2], 1)
    close(world.dbm.machine.joint(even, odd), world.energies)
    for found, right in zip(world.dbm.weights(), world.weights, strict=True):
        close(found, right)


@every_world
def test_the_bound_is_below_the_likelihood_and_tight_for_one_layer(world):
    v = states_of(world.sizes[0])
    bound = -world.dbm(v).detach() - world.log_z
    if len(world.sizes) == 2:
        close(bound, world.log_p)
    else:
        assert (bound < world.log_p - 1e-6).all()
        assert (bound > world.log_p - 2).all()
    found = log_likelihood(world.dbm, v)
    assert found.value == pytest.approx(float(bound.mean()), abs=1e-10)


@deep
def test_means_are_where_the_bound_is_flat(world):
    """By autograd through the bound as written out, layer by layer."""
    v = states_of(world.sizes[0])
    means = world.dbm.mean_field(v)
    for row in (0, 3, 5):
        own = [mean[row].clone().requires_grad_() for mean in means]
        value = world.free(v[row], own)
        close(world.dbm(v)[row].detach(), value.detach())
        for gradient in torch.autograd.grad(value, own):
            close(gradient, torch.zeros_like(gradient), 1e-9)


@deep
def test_every_round_raises_the_bound(world):
    v = states_of(world.sizes[0])
    values = []
    for rounds in (1, 2, 3, 5, 8, 13):
        world.dbm.iterations = rounds
        values.append(-world.dbm(v))
    world.dbm.iterations = 10_000
    rises = torch.stack(values).diff(dim=0)
    assert (rises > -1e-12).all() and (rises[0] > 1e-6).any()


@deep
def test_the_gradient_of_the_bound_follows_the_means(world):
    """Against autograd through every round of the mean field, in the parameters as they are learned."""
    dbm, v = world.dbm, states_of(world.sizes[0])[[1, 6]]
    parameters = [p.detach().clone().requires_grad_() for p in dbm.machine.parameters()]
    weight, b, c = parameters
    mask = world._coupling() != 0
    folded = weight * mask
    b = b - folded @ dbm.machine.hidden_offset
    c = c - dbm.machine.visible_offset @ folded
    n = world.sizes[0]
    even = torch.full((2, len(b) - n), 0.5, dtype=torch.float64)
    for _ in range(300):
        odd = (torch.cat([v, even], 1) @ folded + c).sigmoid()
        even = (odd @ folded.T + b).sigmoid()[:, n:]
    x = torch.cat([v, even], 1)
    odd = (x @ folded + c).sigmoid()
    entropy = sum(-(m * m.log() + (1 - m) * (1 - m).log()).sum(1) for m in (even, odd))
    value = (-((x @ folded) * odd).sum(1) - x @ b - odd @ c - entropy).sum()
    close(dbm(v).sum().detach(), value.detach(), 1e-9)
    expected = torch.autograd.grad(value, parameters)
    found = torch.autograd.grad(dbm(v).sum(), list(dbm.machine.parameters()))
    for mine, right in zip(found, expected, strict=True):
        close(mine, right, 1e-8)


@deep
def test_derivatives_by_pixels_are_right(world):
    world.dbm.tolerance = 1e-14
    x = torch.rand(3, world.sizes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(world.dbm, x.requires_grad_())


@deep
def test_objective_is_the_gradient_of_the_bound_less_that_of_log_z(world):
    """With negatives that are all states of the even layers, weighted by how often they are among them."""
    dbm, v = world.dbm, states_of(world.sizes[0])[[1, 6]]
    even = states_of(sum(world.sizes[::2]))

    class All(Persistent):
        def __call__(self, energy, x, rng=None):
            assert x.shape[1:] == energy.shape
            return even

    objective = VariationalLikelihood(MaximumLikelihood(All(BlockGibbs(), 1)))
    repeats = len(even) // 2
    loss = objective(dbm, v.repeat_interleave(repeats, 0)).value
    expected = dbm(v).mean() - dbm.machine(even).mean()
    parameters = list(dbm.machine.parameters())
    for found, right in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        close(found, right, 1e-9)


@deep
def test_a_sweep_leaves_the_law_of_all_layers(world):
    """From exact draws of all layers, the frequencies of the visible ones after three sweeps."""
    n, rng = 100_000, torch.Generator().manual_seed(0)
    p = (-world.energies - world.log_z).exp()
    picked = torch.multinomial(p, n, replacement=True, generator=rng)
    x = [layer[picked] for layer in world.states]
    kernel = AllLayers()
    state = kernel.init(world.dbm, x[0])
    state = state._replace(even=state.even._replace(x=torch.cat(x[::2], 1)))
    for _ in range(3):
        state, acceptance = kernel.step(world.dbm, state, rng)
    assert (acceptance == 1).all()
    expected = world.log_p.exp()
    frequencies = (state.x[:, None] == states_of(world.sizes[0])).all(2).double().mean(0)
    z = (frequencies - expected) / (expected * (1 - expected) / n).sqrt()
    assert z.abs().max() < 5


def test_chains_from_noise_find_the_law():
    world, n = World((4, 3, 3)), 50_000
    start = torch.zeros(n, 4, dtype=torch.float64)
    x = sample(AllLayers(), world.dbm, start, 40, torch.Generator().manual_seed(0))
    expected = world.log_p.exp()
    frequencies = (x[:, None] == states_of(4)).all(2).double().mean(0)
    z = (frequencies - expected) / (expected * (1 - expected) / n).sqrt()
    assert z.abs().max() < 5


@deep
def test_couplings_that_do_not_exist_stay_away(world):
    """Adam moves every weight with a gradient, however small."""
    dbm, rng = World(world.sizes, seed=1).dbm, torch.Generator().manual_seed(0)
    chains = Persistent(BlockGibbs(), 1, size=16, fresh=0.0)
    objective = VariationalLikelihood(Centred(MaximumLikelihood(chains), rate=0.1))
    data = [(torch.rand(16, world.sizes[0], generator=rng) < 0.3).double() for _ in range(5)]
    before, mask = dbm.machine.weight.detach().clone(), world._coupling() != 0
    list(train(dbm, objective, data, torch.optim.Adam(dbm.parameters(), lr=0.1), rng))
    assert ((dbm.machine.weight != before) == mask).all()
    assert (dbm.machine.weight[~mask] == 0).all()


def test_a_row_does_not_depend_on_the_others_and_rests_when_it_has_converged():
    dbm = World((5, 4, 3)).dbm
    dbm.tolerance = 1e-3
    x = states_of(5)
    close(torch.cat([dbm(row[None]) for row in x]), dbm(x))


def test_it_starts_at_the_data():
    x = (torch.rand(500, 4, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.1, 0.5, 0.7, 0.4])).float()
    dbm = DBM(4, [3, 2], scale=0.0)
    dbm.start_at(x)
    close(dbm.machine.visible_mean(torch.full((1, 3), 0.5))[0, :4], x.mean(0), 1e-5)
    for means in dbm.mean_field(x):
        close(means, torch.full_like(means, 0.5), 1e-6)


def test_images_keep_their_shape():
    dbm, x = DBM((1, 2, 3), [4, 3]), torch.ones(5, 1, 2, 3)
    assert dbm(x).shape == (5,)
    assert torch.equal(dbm.visible(dbm.filled(x)), x)
    draw = [torch.zeros(5, 4), torch.zeros(5, 9)]  # uniform numbers: everything is 1
    state, _ = next(chain(AllLayers(), dbm, x * 0, Replay(draw)))
    assert torch.equal(state.x, x)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: DBM((28, 28), []), ValueError, "hidden ones with units in each"),
        (lambda: DBM(3, [2], tolerance=0.0), ValueError, "positive tolerance"),
        (lambda: DBM(3, [2, 2])(torch.zeros(5, 4)), ValueError, r"events of shape \(3,\)"),
        (lambda: DBM(3, [2, 2]).start_at(torch.rand(5, 3)), ValueError, "binarise them"),
        (
            lambda: VariationalLikelihood(MaximumLikelihood(Persistent(BlockGibbs(), 1)))(
                torch.sum, torch.zeros(2, 3)
            ),
            TypeError,
            "mean field of a DBM",
        ),
        (lambda: AllLayers().init(torch.sum, torch.zeros(2, 3)), TypeError, "use its kernel alone"),
    ],
)
def test_what_does_not_fit_is_refused(act, error, message):
    with pytest.raises(error, match=message):
        act()
