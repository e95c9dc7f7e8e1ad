"""Annealing through machines, and exchange between them, against enumerated truths."""

import pytest
import torch

from erg.energies import RBM, Bits, Categories, Decoupled, Gaussian, Spins, Standard, Trajectory
from erg.evaluation.partition import log_partition
from erg.negatives import Persistent
from erg.samplers import (
    BlockGibbs,
    Weakened,
    ais,
    bracket,
    chain,
    gibbs,
    machine_exchange,
    reverse_ais,
    smc,
    trajectory_exchange,
)
from tests.exact.test_restricted import World, close


def machine(units=None, shape=5, hidden=3, seed=1, scale=1.0):
    world = World(units or Bits(), Bits(), shape, hidden, seed=seed)
    world.rbm.holding(Standard(*(scale * value for value in (world.w, world.b, world.c))))
    return world.rbm


def enumerated(rbm, n, rng):
    """Exact samples."""
    states, law = probabilities(rbm)
    drawn = torch.searchsorted(law.cumsum(0), torch.rand(n, generator=rng).double())
    return states[drawn.clamp(max=len(states) - 1)]


def probabilities(rbm):
    states = torch.cat(list(rbm.support.enumerate(rbm.shape))).double()
    return states, (-rbm(states)).softmax(0)


def test_a_blend_mixes_the_energies_of_both_layers():
    first, second, rng = machine(seed=1), machine(seed=2), torch.Generator().manual_seed(0)
    x, h = (torch.randint(2, (7, size), generator=rng).double() for size in (5, 3))
    close(first.blended(second, 0.3).joint(x, h), 0.7 * first.joint(x, h) + 0.3 * second.joint(x, h))


def test_a_trajectory_passes_its_machines():
    machines = [Decoupled(machine()), machine(seed=2), machine(seed=1)]
    path, x = Trajectory(machines, at=[0.0, 0.3, 1.0]), torch.eye(5, dtype=torch.float64)
    for beta, passed in zip((0.0, 0.3, 1.0), machines, strict=True):
        close(path(beta)(x), passed(x))
    close(path(0.65)(x), machines[1].blended(machines[2], 0.5)(x))


@pytest.mark.parametrize("units", [Bits(), Spins(), Categories(3)], ids=lambda units: type(units).__name__)
def test_annealing_in_both_directions_finds_log_z(units):
    rng = torch.Generator().manual_seed(0)
    target = machine(units, (2, 3) if isinstance(units, Categories) else 5, scale=0.7 if units == Spins() else 1.5)
    middle = machine(units, target.shape, seed=4)
    truth = log_partition(target, target.shape).value
    for path in (Trajectory([Decoupled(target), target]), Trajectory([Decoupled(target), middle, target])):
        up = ais(path, BlockGibbs(), betas=60, chains=400, rng=rng)
        down = reverse_ais(path, BlockGibbs(), enumerated(target, 400, rng), betas=60, rng=rng)
        both = bracket(up, down).combined
        for found in (up.log_z, down.log_z, both):
            assert abs(found.value - truth) < 5 * found.standard_error < 0.4


def test_populations_find_log_z_and_their_own_betas():
    target, rng = machine(scale=1.5), torch.Generator().manual_seed(0)
    found = smc(Trajectory([Decoupled(target), target]), BlockGibbs(), chains=800, rng=rng)
    assert abs(found.log_z.value - log_partition(target, (5,)).value) < 5 * found.log_z.standard_error < 0.4


EXCHANGES = {
    "weaker machines": lambda rbm: (machine_exchange(BlockGibbs(), [0.6, 0.2]), Weakened((0.6, 0.2))(rbm)),
    "earlier machines": lambda rbm: (
        trajectory_exchange(BlockGibbs(), [machine(seed=2), machine(seed=3)]),
        [machine(seed=2), machine(seed=3)],
    ),
    "one site at a time": lambda rbm: (machine_exchange(gibbs(), [0.6, 0.2]), Weakened((0.6, 0.2))(rbm)),
}


@pytest.mark.parametrize("make", EXCHANGES.values(), ids=EXCHANGES)
def test_exchange_keeps_the_law_of_every_machine(make):
    """From exact samples of the product of laws, six steps later, by the frequencies of all states."""
    rbm, rng, n = machine(scale=1.5), torch.Generator().manual_seed(0), 40_000
    kernel, others = make(rbm)
    machines = [rbm, *others]
    start = torch.stack([enumerated(each, n, rng) for each in machines], 1)
    steps = chain(kernel.with_replicas(), rbm, start, rng)
    for _ in range(6):
        state, _ = next(steps)
    assert (state.inner.rejection > 0).all() and (state.inner.rejection < 0.9).all()
    for k, each in enumerate(machines):
        states, law = probabilities(each)
        frequencies = (state.x[:, k, None] == states).all(2).double().mean(0)
        z = (frequencies - law) / (law * (1 - law) / n).sqrt()
        assert z.abs().max() < 5


def test_swaps_that_ignore_the_other_energy_are_noticed():
    """The test above fails for a wrong rule."""
    rbm, rng, n = machine(scale=1.5), torch.Generator().manual_seed(0), 40_000
    others = Weakened((0.6, 0.2))(rbm)
    replicas = torch.stack([enumerated(each, n, rng) for each in (rbm, *others)], 1)
    x = torch.where(torch.rand(n, 1, generator=rng) < 0.5, replicas[:, 0], replicas[:, 1])
    states, law = probabilities(rbm)
    frequencies = (x[:, None] == states).all(2).double().mean(0)
    assert ((frequencies - law) / (law * (1 - law) / n).sqrt()).abs().max() > 5


def test_exchange_crosses_where_plain_sweeps_do_not():
    """Two modes that hold each other's units down."""
    weight = 4.0 * torch.tensor([[1.0, -1.0]] * 6 + [[-1.0, 1.0]] * 6)
    rbm = RBM(12, 2)
    rbm.holding(Standard(weight, torch.zeros(12), torch.zeros(2)))
    start = torch.cat([torch.ones(200, 6), torch.zeros(200, 6)], 1)
    crossed = []
    for kernel in (BlockGibbs(), machine_exchange(BlockGibbs(), [0.8, 0.6, 0.4, 0.2, 0.0])):
        steps = chain(kernel, rbm, start, torch.Generator().manual_seed(0))
        for _ in range(100):
            state, _ = next(steps)
        crossed.append(float((state.x[:, :6].mean(1) < 0.5).float().mean()))
    assert crossed[0] < 0.05 and 0.35 < crossed[1] < 0.65


def test_persistent_chains_keep_all_replicas():
    rbm, rng = RBM(6, 3), torch.Generator().manual_seed(0)
    negatives = Persistent(machine_exchange(BlockGibbs(), [0.5, 0.0]), steps=2, size=10, fresh=0.0)
    assert negatives(rbm, torch.zeros(10, 6), rng).shape == (10, 6)
    assert negatives.positions.shape == (10, 3, 6)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: Trajectory([Gaussian.standard(2), RBM(2, 3)]), TypeError, "Gaussian cannot be mixed"),
        (lambda: Trajectory([RBM(2, 3)]), ValueError, "two machines or more"),
        (lambda: Trajectory([RBM(2, 3), RBM(2, 4)]), ValueError, "with the same layers"),
        (lambda: Trajectory([RBM(2, 3), RBM(2, 3)], at=[0.0, 0.5]), ValueError, "rise from 0 to 1"),
        (lambda: Trajectory([RBM(2, 3), RBM(2, 3)])(1.5), ValueError, "beta = 0 to beta = 1"),
        (lambda: Weakened((0.5, 0.7)), ValueError, "fall from below 1"),
        (lambda: ais(Trajectory([RBM(2, 3), RBM(2, 3)]), BlockGibbs()), TypeError, "log_z and exact_samples"),
        (
            lambda: next(chain(machine_exchange(gibbs(), [0.5]), Gaussian.standard(2), torch.zeros(3, 2))),
            TypeError,
            "is for RBMs",
        ),
    ],
)
def test_what_does_not_fit_is_refused(act, error, message):
    with pytest.raises(error, match=message):
        act()
