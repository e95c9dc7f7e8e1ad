"""Transition matrices of every discrete kernel by enumeration, in float64, at a temperature other than 1."""

import math

import pytest
import torch

from erg import draws
from erg.draws import Replay
from erg.energies import Counted, Energy, Gaussian, GaussianMixture, Independent
from erg.samplers import (
    BlockGibbs,
    CyclicalLangevin,
    DiscreteLangevin,
    Gibbs,
    GibbsWithGradients,
    Independence,
    acs,
    chain,
    dmala,
    dula,
    gibbs,
    gwg,
    sample,
)
from erg.samplers.discrete.sites import squared_length
from erg.samplers.rules import Metropolis
from erg.support import Binary, OneHot
from tests.exact.discrete_spaces import (
    WORLDS,
    T,
    gibbs_matrix,
    imbalance,
    informed_matrix,
    langevin_matrix,
    matrix_of,
    metropolis_matrix,
)

every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
settings = pytest.mark.parametrize(("step_size", "balance"), [(0.9, 0.5), (2.3, 0.8)])


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@every_world
@settings
def test_discrete_langevin_proposes_by_its_formula(world, step_size, balance):
    q = matrix_of(DiscreteLangevin(step_size, balance), world, adjusted=False)
    close(q.sum(1), torch.ones(len(q), dtype=torch.float64))
    close(q, langevin_matrix(world, step_size, balance))


@every_world
@settings
def test_adjusted_discrete_langevin_is_in_detailed_balance(world, step_size, balance):
    p = matrix_of(DiscreteLangevin(step_size, balance), world)
    close(p, metropolis_matrix(world, langevin_matrix(world, step_size, balance)))
    assert imbalance(world, p) < 1e-12
    assert imbalance(world, langevin_matrix(world, step_size, balance)) > 1e-4


@every_world
def test_gibbs_with_gradients_is_in_detailed_balance(world):
    q = matrix_of(GibbsWithGradients(), world, adjusted=False)
    close(q.sum(1), torch.ones(len(q), dtype=torch.float64))
    close(q, informed_matrix(world))
    p = matrix_of(GibbsWithGradients(), world)
    close(p, metropolis_matrix(world, informed_matrix(world)))
    assert imbalance(world, p) < 1e-12


@every_world
@pytest.mark.parametrize("move", [DiscreteLangevin(0.6, 0.7), GibbsWithGradients()], ids=["langevin", "informed"])
def test_proposals_are_drawn_from_their_density(world, move, rng):
    """The matrices above take the density at its word; this counts what is drawn."""
    n, repeats = len(world.states), 10_000
    q = matrix_of(move, world, adjusted=False)
    move = move.on(world.support)
    start = Metropolis(move).init(world.energy, world.states.repeat_interleave(repeats, 0))
    drawn = move.propose(start, rng).flatten(1)
    which = (drawn[:, None] == world.states.flatten(1)).all(-1).double().argmax(1)
    counts = torch.zeros(n, n, dtype=torch.float64)
    counts.index_put_((torch.arange(n).repeat_interleave(repeats), which), torch.ones(1).double(), accumulate=True)
    error = (q * (1 - q) / repeats).sqrt()
    assert (((counts / repeats - q).abs() - 5 * error) <= 1 / repeats).all()


def odds(world, block, places):
    """The log odds of every setting of a block against the current one, from nothing but the kernel's steps.

    The kernel takes the largest of logit + t with t = -log(-log u). With u = 0 for the others, one setting is
    preferred to the current one, which has t = 6, from a certain t on; halving finds it, and with it the difference
    of the logits. Returns, for each state, choice of sites and setting: the log odds, and where the setting leads.
    """
    kernel, energy = Gibbs(block), world.energy
    n, others = len(world.states), (world.event[1] if isinstance(world.support, OneHot) else 2) ** block - 1
    rows = torch.cartesian_prod(torch.arange(n), torch.arange(len(places)), torch.arange(others))
    states, sites, setting = world.states[rows[:, 0]], places[rows[:, 1]], rows[:, 2] + 1
    state, every = kernel.init(energy, states), torch.arange(len(rows))

    def step(current, wanted):
        u = torch.zeros(len(rows), others + 1, dtype=torch.float64)
        u[:, 0], u[every, setting] = math.exp(-math.exp(-current)), (-(-wanted).exp()).exp()
        return kernel.step(energy, state, Replay([sites, u]))[0]

    low, high = torch.full((2, len(rows)), -6.5, dtype=torch.float64)
    high = high + 31.5
    for _ in range(60):
        middle = (low + high) / 2
        taken = (step(6.0, middle).x != states).flatten(1).any(1)
        low, high = torch.where(taken, low, middle), torch.where(taken, middle, high)
    led = step(-7.0, torch.full_like(high, 20.0))
    close(led.energy, energy(led.x))
    return rows, 6.0 - high, led.x


@every_world
@pytest.mark.parametrize("block", [1, 2])
def test_gibbs_draws_blocks_from_their_conditional(world, block):
    states = world.states
    count = len(world.sites(states[0]))
    # The middle of each interval of the uniform numbers that means the same site.
    places = torch.cartesian_prod(*[(torch.arange(count - i) + 0.5) / (count - i) for i in range(block)])
    places = places.reshape(-1, block).double()
    rows, found, ends = odds(world, block, places)
    found = found.reshape(len(states), len(places), -1)
    chances = torch.cat([torch.zeros_like(found[..., :1]), found], -1).softmax(-1) / len(places)
    p = torch.diag(chances[..., 0].sum(1))
    which = (ends.flatten(1)[:, None] == states.flatten(1)).all(-1).double().argmax(1)
    p.index_put_((rows[:, 0], which), chances[..., 1:].flatten(), accumulate=True)
    close(p.sum(1), torch.ones(len(p), dtype=torch.float64))
    close(p, gibbs_matrix(world, block))
    assert imbalance(world, p) < 1e-12


@every_world
def test_every_step_of_a_cycle_is_adjusted_langevin_and_a_cycle_keeps_the_law(world):
    sizes, balances = torch.tensor([2.5, 1.1, 0.3]).double(), torch.tensor([0.95, 0.7, 0.5]).double()
    kernel, scale = CyclicalLangevin(sizes, balances), squared_length(world.support)
    x = world.states.repeat(20, *[1] * (world.states.ndim - 1))
    state, cycle = kernel.init(world.energy, x), torch.eye(len(world.states), dtype=torch.float64)
    for step, (h, beta) in enumerate([*zip(sizes.tolist(), balances.tolist(), strict=True)] * 2):
        noise = [torch.rand(x.shape, dtype=torch.float64), torch.rand(len(x), dtype=torch.float64)]
        plain = Metropolis(DiscreteLangevin(h * scale, beta))
        expected, accepted = plain.step(world.energy, plain.init(world.energy, state.x), Replay(noise))
        state, acceptance = kernel.step(world.energy, state, Replay(noise))
        close(acceptance, accepted)
        assert torch.equal(state.x, expected.x)
        assert (state.steps == step + 1).all()
        cycle = cycle @ matrix_of(DiscreteLangevin(h * scale, beta), world)
    close(world.law @ cycle, world.law)


def test_the_schedule_of_a_tuned_cycle_is_its_formula():
    """Half of the steps go by; then alpha and the balances are set by hand and read back."""
    kernel, world = acs(period=6, cycles=1), WORLDS["spin"]
    state = kernel.init(world.energy, world.states)
    low, high = 0.31, 3.7
    accepted = torch.zeros(8, 6, 4)
    accepted[:, torch.arange(6), torch.tensor([3, 2, 3, 1, 1, 2])] = 0.9
    state = state._replace(
        steps=state.steps + kernel.tuning_steps,
        smallest=torch.full((8,), math.log(low)),
        largest=torch.full((8,), math.log(high)),
        accepted=accepted,
    )
    found = kernel.adapted(state)
    expected = torch.tensor([max(high / 2 * (1 + math.cos(math.pi * r / 6)), low) for r in range(6)])
    torch.testing.assert_close(found.step_sizes, expected)
    assert expected[5] == pytest.approx(low)
    torch.testing.assert_close(found.balances, torch.tensor([0.95, 0.95, 0.95, 0.65, 0.65, 0.5]))
    # From here on the tuner is that kernel.
    table = CyclicalLangevin(found.step_sizes, found.balances)
    same = table.init(world.energy, world.states)._replace(steps=state.steps)
    for _ in range(7):
        noise = [torch.rand(8, 3, dtype=torch.float64), torch.rand(8, dtype=torch.float64)]
        state, a = kernel.step(world.energy, state, Replay(noise))
        same, b = table.step(world.energy, same, Replay(noise))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        assert torch.equal(state.x, same.x)


def test_tuning_reaches_its_target(rng):
    kernel, coupled = acs(period=5, cycles=4), torch.randn(30, 30, generator=rng) * 0.5

    def frustrated(x):
        return ((x @ coupled) * x).sum(1)

    energy = WORLDS["binary"].energy.__class__([frustrated], [1.0])
    energy.support = Binary()
    x = Binary().initial((64, 30), rng)
    state, _ = kernel.run(energy, kernel.init(energy, x), kernel.tuning_steps, rng)
    small = float(state.smallest.median().exp())
    _, accepted = dmala(small).run(energy, dmala(small).init(energy, state.x), 50, rng)
    assert float(accepted.mean()) / 50 == pytest.approx(0.5, abs=0.12)


@every_world
def test_independent_proposals_are_in_detailed_balance(world):
    logits = torch.linspace(-0.8, 0.6, world.states[0].numel(), dtype=torch.float64).reshape(world.event)
    move = Independence(Independent(logits, world.support))
    weights = (-move.reference(world.states)).exp()
    q = (weights / weights.sum()).expand(len(weights), -1)
    p = metropolis_matrix(world, q)
    # The density is known up to a constant.
    unnormalised = matrix_of(move, world, adjusted=False)
    close(unnormalised / unnormalised.sum(1, keepdim=True), q)
    found = matrix_of(move, world)
    off = ~torch.eye(len(q), dtype=torch.bool)
    close((found / weights.sum())[off], p[off])
    assert imbalance(world, p) < 1e-12


class Tiny(Energy):
    """Two hidden spins over three visible ones, summed out, at temperature 1: W h x couplings and fields."""

    support = Binary()

    def __init__(self):
        super().__init__()
        self.w = torch.tensor([[0.9, -1.2], [0.4, 1.1], [-1.5, 0.7]], dtype=torch.float64)
        self.b, self.c = torch.tensor([0.3, -0.2, 0.6]).double(), torch.tensor([-0.5, 0.2]).double()

    def forward(self, x):
        return -x @ self.b - torch.nn.functional.softplus(x @ self.w + self.c).sum(1)

    def sample_hidden(self, x, rng=None):
        p = (x @ self.w + self.c).sigmoid()
        return (draws.uniform(p, rng) < p).double()

    def sample_visible(self, h, rng=None):
        p = (h @ self.w.T + self.b).sigmoid()
        return (draws.uniform(p, rng) < p).double()


def test_block_gibbs_moves_by_its_conditionals(rng):
    energy, states, hidden = Tiny(), WORLDS["binary"].states, torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 2)
    hidden = hidden.double()
    joint = (states @ energy.b)[:, None] + hidden @ energy.c + states @ energy.w @ hidden.T
    p = joint.softmax(1) @ joint.softmax(0).T
    law = (-energy(states)).softmax(0)
    flow = law[:, None] * p
    assert (flow - flow.T).abs().max() < 1e-12
    repeats = 20_000
    state, acceptance = next(chain(BlockGibbs(), energy, states.repeat_interleave(repeats, 0), rng))
    assert (acceptance == 1).all()
    which = (state.x @ torch.tensor([4.0, 2.0, 1.0]).double()).long().reshape(8, repeats)
    found = torch.stack([(which == end).double().mean(1) for end in range(8)], 1)
    assert ((found - p).abs() < 5 * (p * (1 - p) / repeats).sqrt()).all()


@every_world
@pytest.mark.parametrize(
    ("kernel", "gradients", "values"),
    [(dmala(0.4), 7, 0), (dula(0.4), 6, 0), (gwg(), 7, 0), (acs(period=2), 7, 0)],
    ids=["dmala", "dula", "gwg", "acs"],
)
def test_a_step_costs_one_gradient(world, kernel, gradients, values, rng):
    energy = Counted(world.energy)
    sample(kernel, energy, world.states, 6, rng)
    assert (energy.gradients, energy.values) == (gradients, values)


@every_world
@pytest.mark.parametrize("block", [1, 2])
def test_a_gibbs_step_costs_one_energy_for_each_other_setting(world, block, rng):
    energy, values = Counted(world.energy), 3 if isinstance(world.support, OneHot) else 2
    sample(gibbs(block), energy, world.states, 6, rng)
    assert (energy.gradients, energy.values) == (0, 1 + 6 * (values**block - 1))


def test_every_row_has_its_own_condition_and_its_own_sites(rng):
    """An energy with one field per row is called with exactly its rows."""
    fields = torch.tensor([-30.0, 30.0]).repeat(50)
    energy = WORLDS["binary"].energy.__class__([lambda x: fields * x.sum(1)], [1.0])
    energy.support = Binary()
    end = sample(gibbs(2), energy, torch.ones(100, 4), 40, rng)
    assert torch.equal(end, (fields < 0).float()[:, None].expand(100, 4))
    first = sample(gibbs(), energy, (fields > 0).float()[:, None].expand(100, 4).clone(), 1, rng)
    assert ((first != (fields > 0).float()[:, None]).float().mean(0) > 0.1).all()


def test_a_mixture_draws_its_components_by_their_weights(rng):
    weights = torch.tensor([0.1, 0.6, 0.3])
    mixture = GaussianMixture.isotropic(torch.tensor([[-9.0], [0.0], [9.0]]), variance=0.01, weights=weights)
    x = mixture.exact_samples(40_000, rng)
    found = torch.stack([(x < -4).float().mean(), (x.abs() < 4).float().mean(), (x > 4).float().mean()])
    assert ((found - weights).abs() < 5 * (weights * (1 - weights) / 40_000).sqrt()).all()
    assert Gaussian.standard(()).exact_samples(3, rng).shape == (3,) and T == 0.7
