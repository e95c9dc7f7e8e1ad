"""Kernels move the free entries of an energy with held ones, as they would move the law of the free entries alone."""

import pytest
import torch

from erg.energies import Counted, Energy, Gaussian, Neural, Watched
from erg.energies.free import entries_of
from erg.evaluation.traces import collect
from erg.negatives import FromNoise, Persistent
from erg.samplers import (
    MCLMC,
    Compiled,
    LowPrecision,
    Parallel,
    Preconditioned,
    ReplicaExchange,
    advance,
    annealed,
    chain,
    dmala,
    gibbs,
    gwg,
    hmc,
    independence,
    mala,
    mams,
    mclmc,
    nuts,
    random_walk,
    replica_exchange,
    sample,
    tempered_transitions,
    ula,
    underdamped,
    warmup,
)
from erg.samplers.compilation.compiled import Bound
from erg.samplers.compilation.pieces import Pieces
from erg.samplers.free import on_free_entries
from erg.support import Binary, Box, OneHot, Real, Spin

HELD = torch.tensor([True, False, True, False, False, True])
VALUES = torch.tensor([0.7, 0.0, -0.4, 0.0, 0.0, 0.2])
SCALE = torch.tensor([9.0, 1.0, 9.0, 2.0, 3.0, 9.0])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def coupled(x):
    x = x.reshape(len(x), -1)
    return (x.square() * torch.linspace(0.5, 2, x.shape[1])).sum(1) + 0.6 * x[:, 0] * x[:, 1] - 0.5 * (x**2).prod(1)


def filled(z):
    """Written out: the six entries of three free ones."""
    one, two, three = z.unbind(1)
    return torch.stack([*(v.expand(len(z)) for v in (VALUES[0],)), one, VALUES[2].expand(len(z)), two, three,
                        VALUES[5].expand(len(z))], 1)  # fmt: skip


def alone(support=Real()):
    return Neural(lambda z: coupled(filled(z)), support=support)


def clamped(support=Real()):
    return Neural(coupled, support=support).clamp(HELD, VALUES)


KERNELS = {
    "mala": mala(0.3),
    "ula": ula(0.1),
    "random_walk": random_walk(0.5),
    "hmc": hmc(0.3, 4),
    "nuts": nuts(0.4),
    "underdamped": underdamped(),
    "mclmc": mclmc(),
    "mams": mams(),
    "Compiled": Compiled(mala(0.3)),
    "Compiled nuts": Compiled(nuts(0.4)),
    "Parallel": Parallel(mala(0.3), 2),
    "LowPrecision": LowPrecision(mala(0.3)),
    "replica_exchange": replica_exchange(mala(0.3), [1.0, 2.0, 4.0]),
    "replica_exchange hmc": replica_exchange(hmc(0.3, 2), [1.0, 3.0]),
    "Compiled replica_exchange": Compiled(replica_exchange(mala(0.3), [1.0, 2.0])),
    "replica_exchange Compiled": replica_exchange(Compiled(mala(0.3)), [1.0, 2.0]),
    "tempered_transitions": tempered_transitions(mala(0.3), [1.0, 2.0]),
    "annealed": annealed(mala(0.3), lambda step: 2.0 / (step + 1)),
}


SLOW = {"Compiled nuts", "Compiled replica_exchange", "replica_exchange Compiled"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in KERNELS])
def test_the_chain_is_that_of_the_free_entries_alone(name):
    x = torch.randn(8, 6, generator=seeded())
    found, acceptance = advance(KERNELS[name], clamped(), x, 6, seeded(1))
    expected, rate = advance(KERNELS[name], alone(), x[:, ~HELD], 6, seeded(1))
    torch.testing.assert_close(found[:, ~HELD], expected)
    torch.testing.assert_close(acceptance, rate)
    assert torch.equal(found[:, HELD], VALUES[HELD].expand(8, 3))
    assert not torch.equal(found[:, ~HELD], x[:, ~HELD])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda k, s: Preconditioned(k, s),
        pytest.param(lambda k, s: Compiled(Preconditioned(k, s)), marks=pytest.mark.slow),
        lambda k, s: replica_exchange(Preconditioned(k, s), [1.0, 2.0]),
    ],
    ids=["plain", "Compiled", "replica_exchange"],
)
def test_scales_are_those_of_the_free_entries(wrap):
    x = torch.randn(8, 6, generator=seeded())
    found = sample(wrap(mala(0.2), SCALE), clamped(), x, 10, seeded(1))
    expected = sample(wrap(mala(0.2), SCALE[~HELD]), alone(), x[:, ~HELD], 10, seeded(1))
    torch.testing.assert_close(found[:, ~HELD], expected)
    assert torch.equal(
        sample(wrap(mala(0.2), torch.tensor(2.0)), clamped(), x, 4, seeded(1)),
        sample(wrap(mala(0.2), torch.full((1,), 2.0)), clamped(), x, 4, seeded(1)),
    )
    with pytest.raises(ValueError, match=r"one per entry, shape \(6,\), but got \(3,\)"):
        sample(wrap(mala(0.2), torch.ones(3)), clamped(), x, 1)


def test_trees_have_the_leaves_of_the_free_entries():
    x = torch.zeros(16, 10)
    held = torch.arange(10) >= 5
    ten, five = Counted(Gaussian.standard(10).clamp(held, 0.3)), Counted(Gaussian.standard(5))
    for energy, start in ((ten, x), (five, x[:, :5])):
        sample(nuts(0.5), energy, start, 4, seeded())
    assert ten.gradients == five.gradients < 4 * 40


@pytest.mark.slow
def test_graphs_are_made_of_what_is_held_too():
    for kernel, kind in ((Compiled(mala(0.3)), Bound), (Compiled(nuts(0.4)), Pieces)):
        steps = chain(kernel, clamped(), torch.zeros(8, 6), seeded())
        state = [next(steps)[0] for _ in range(3)][-1]
        assert isinstance(state.bound, kind)
        assert torch.equal(state.x[:, HELD], VALUES[HELD].expand(8, 3))


def test_the_mean_and_variance_are_those_given_the_held_entries():
    a = torch.randn(4, 4, generator=seeded())
    precision = a @ a.T / 4 + torch.eye(4)
    held, values = torch.tensor([False, True, False, True]), torch.tensor([0.0, 2.0, 0.0, -1.0])
    energy = Neural(lambda x: ((x @ precision) * x).sum(1) / 2).clamp(held, values)
    covariance = precision[~held][:, ~held].inverse()
    mean = -covariance @ precision[~held][:, held] @ values[held]
    for kernel in (mala(0.8), hmc(0.5, 3)):
        x = sample(kernel, energy, torch.zeros(2000, 4), 20, seeded())[:, ~held]
        off = (x.mean(0) - mean) / (covariance.diagonal() / 2000).sqrt()
        spread = (x.var(0) / covariance.diagonal() - 1) / (2 / 2000) ** 0.5
        assert float(off.abs().max()) < 5 and float(spread.abs().max()) < 5


# Discrete states, against the law by enumeration.


def signed(x):
    x = x.reshape(len(x), -1)
    return (x * torch.linspace(-1.1, 0.9, x.shape[1])).sum(1) - 0.8 * x[:, 0] * x[:, -1] + 0.5 * x[:, 1] * x[:, 2]


@pytest.mark.parametrize("kernel", [gwg(), dmala(0.6), gibbs(), gibbs(block=2)], ids=["gwg", "dmala", "gibbs", "two"])
@pytest.mark.parametrize("support", [Binary(), Spin(), OneHot()], ids=str)
def test_the_law_is_that_of_the_states_with_the_held_values(kernel, support):
    event = (4, 3) if support == OneHot() else (4,)
    held, chains = torch.zeros(event, dtype=torch.bool), 2000
    held[1], held[3] = True, True
    values = support.initial((1, *event), seeded(3))[0]
    energy = Neural(signed, support=support).clamp(held, values)
    states = torch.cat(list(support.enumerate(event)))
    states = states[(states == torch.where(held, values, states)).flatten(1).all(1)]
    law = (-signed(states)).softmax(0)
    x = sample(kernel, energy, support.initial((chains, *event), seeded(1)), 25, seeded(2))
    counts = (x[:, None] == states).flatten(2).all(2).float().sum(0)
    assert counts.sum() == chains
    assert float(((counts - chains * law) / (chains * law * (1 - law)).sqrt()).abs().max()) < 5


def test_every_move_is_one_of_a_free_bit():
    energy = Neural(lambda x: 0.2 * x.sum(1), support=Binary())
    x = Binary().initial((200, 40), seeded())
    held = torch.arange(40) < 30
    after = sample(gwg(), energy.clamp(held, 1.0), x, 1, seeded())
    assert (after[:, :30] == 1).all()
    assert float((after != x)[:, 30:].any(1).float().mean()) > 0.8


def test_a_site_that_is_held_in_part_is_moved_as_before():
    energy = Neural(signed, support=OneHot())
    part, whole = torch.zeros(2, 4, 3, dtype=torch.bool)
    part[0, 0], whole[0] = True, True
    x = OneHot().initial((5, 4, 3), seeded())
    kernel = gibbs()
    assert on_free_entries(kernel, energy.clamp(part, 0.0), x) is kernel
    assert on_free_entries(kernel, energy.clamp(whole, x[0]), x) is not kernel


# What is returned.


def test_the_start_may_have_anything_at_its_held_entries():
    x = torch.zeros(4, 6)
    spoilt = x.masked_fill(HELD, torch.nan)
    assert torch.equal(*(sample(mala(0.3), clamped(), start, 5, seeded()) for start in (x, spoilt)))
    assert spoilt[:, HELD].isnan().all()
    assert torch.equal(sample(mala(0.3), clamped(), spoilt, 0), torch.where(HELD, VALUES, x))


@pytest.mark.parametrize(
    "kernel", [mala(0.3), nuts(0.3), Compiled(mala(0.3)), replica_exchange(mala(0.3), [1.0, 2.0])]
)
def test_a_state_that_is_held_altogether_stays(kernel):
    energy = Counted(Neural(coupled).clamp(torch.ones(6, dtype=torch.bool), VALUES))
    x = torch.randn(5, 6, generator=seeded())
    found, acceptance = advance(kernel, energy, x, 7, seeded())
    state, _ = next(chain(kernel, energy, x))
    for end in (found, state.x):
        assert torch.equal(end, VALUES.expand(5, 6))
    assert (acceptance == 1).all() and energy.gradients == energy.values == 0
    assert warmup(kernel, energy, x, 10) is kernel


@pytest.mark.parametrize("event", [(), (1,), (2, 3), (1, 2, 3)])
def test_any_event_and_any_support(event):
    for energy in (Neural(coupled_any), Neural(coupled_any, support=Box(-1.0, 1.0))):
        held = torch.rand(event, generator=seeded(5)) < 0.5
        x = torch.rand(7, *event, generator=seeded())
        end = sample(mala(0.2), energy.clamp(held, 0.25), x, 5, seeded())
        assert end.shape == x.shape and (end[:, held] == 0.25).all()
        assert bool((end != x)[:, ~held].any()) == bool((~held).any())


def coupled_any(x):
    return x.reshape(len(x), -1).square().sum(1)


def test_a_mask_may_be_that_of_the_last_axes_and_values_differ_from_row_to_row():
    held, x = torch.tensor([True, False, False]), torch.randn(5, 2, 3, generator=seeded())
    values = torch.randn(5, 2, 3, generator=seeded(1))
    for kernel in (mala(0.3), replica_exchange(mala(0.3), [1.0, 2.0])):
        end = sample(kernel, Neural(coupled_any).clamp(held, values), x, 4, seeded())
        assert torch.equal(end[..., 0], values[..., 0]) and (end != x)[..., 1:].any()
        for row in range(5):  # the law of a row is that of its own values
            single = Neural(coupled_any).clamp(held, values[row])
            assert torch.equal(sample(kernel, single, x[row : row + 1], 0)[0, :, 0], values[row, :, 0])


def test_what_a_state_knows_is_found_as_before():
    x = torch.zeros(8, 6)
    exchange = replica_exchange(MCLMC(search=80), [1.0, 2.0, 4.0])
    steps = chain(exchange, clamped(), x, seeded())
    state = [next(steps)[0] for _ in range(100)][-1]
    assert state.rejection.shape == (2,) and isinstance(exchange.adapted(state), ReplicaExchange)
    assert state.replicas.shape == (8, 3, 6)
    assert torch.equal(state.replicas[..., HELD], VALUES[HELD].expand(8, 3, 3))
    torch.testing.assert_close(state.replicas[:, 0], state.x)
    again = sample(exchange.with_replicas(), clamped(), state.replicas, 3, seeded())
    assert again.shape == (8, 3, 6) and torch.equal(again[..., HELD], VALUES[HELD].expand(8, 3, 3))
    steps = chain(MCLMC(search=80), clamped(), x, seeded())
    state = [next(steps)[0] for _ in range(100)][-1]
    assert MCLMC(search=80).adapted(state).length < 20


# Where nothing changes.


class Product(Energy):
    """A user's own: tells what is scored, and not what is free."""

    def __init__(self):
        super().__init__()
        self.inner = clamped()

    def forward(self, x):
        return self.inner(x)

    def complete(self, x):
        return self.inner.complete(x)


@pytest.mark.parametrize(
    "energy",
    [
        coupled,
        Neural(coupled),
        Neural(coupled).clamp(torch.zeros(6, dtype=torch.bool), 0.0),
        Neural(coupled).clamp(HELD.expand(4, 6), VALUES),
        Neural(coupled).clamp(HELD.expand(1, 6), VALUES),
        Product(),
    ],
    ids=["function", "energy", "nothing held", "held by row", "one row", "own"],
)
def test_a_kernel_is_itself_where_no_mask_serves_all_rows(energy):
    kernel, x = mala(0.3), torch.zeros(4, 6)
    assert on_free_entries(kernel, energy, x) is kernel
    assert sample(kernel, energy, x, 3, seeded()).shape == (4, 6)


def test_a_reference_of_whole_states_is_refused():
    with pytest.raises(TypeError, match="draws whole states, but this energy holds entries"):
        sample(independence(Gaussian.standard(6)), clamped(), torch.zeros(4, 6), 1)


def test_a_mask_that_does_not_fit_is_refused_as_before():
    with pytest.raises(ValueError, match=r"mask of shape \(6,\) .*does not fit x of shape \(4, 5\)"):
        sample(mala(0.3), clamped(), torch.zeros(4, 5), 1)


def test_wrappers_and_operators_tell_what_is_free():
    other = torch.tensor([False, False, False, False, True, False])
    plain, given = Neural(coupled), Neural(lambda x, y: coupled(x) * y).given(2.0)
    assert plain.free_entries((6,)) is None
    for energy in (clamped() / 2.0, clamped() + plain, plain - clamped(), Counted(clamped()), Watched(clamped())):
        assert torch.equal(energy.free_entries((6,)), ~HELD)
    assert torch.equal(given.clamp(HELD, 0.0).free_entries((6,)), ~HELD)
    assert torch.equal(Neural(coupled).clamp(HELD, 0.0).given(1.0).free_entries((6,)), ~HELD)
    assert torch.equal(clamped().clamp(other, 0.0).free_entries((6,)), ~HELD & ~other)
    assert torch.equal((clamped() + plain.clamp(other, 0.0)).free_entries((6,)), ~HELD & ~other)


def test_taking_and_putting_are_inverse():
    for support, event in ((Real(), (2, 3)), (OneHot(), (2, 2, 3))):
        mask = torch.zeros(event, dtype=torch.bool)
        mask[1, 0] = True
        entries, x = entries_of(mask, support), torch.randn(4, 5, *event, generator=seeded())
        taken = entries.take(x)
        assert taken.shape == ((4, 5, 1) if support == Real() else (4, 5, 1, 3))
        assert torch.equal(entries.put(taken, torch.zeros_like(x)), torch.where(mask, x, 0.0))


# Warm-up and negatives.


def test_warmup_learns_the_free_entries_and_returns_a_kernel_of_whole_states():
    sd = torch.tensor([50.0, 0.1, 50.0, 1.0, 10.0, 50.0])
    whole = Gaussian(torch.zeros(6), sd**2)
    energy = whole.clamp(HELD, VALUES)
    x = (torch.randn(16, 6, generator=seeded()) * sd).masked_fill(HELD, 1e5)
    kernel = warmup(hmc(0.1, 4), energy, x, 120, seeded())
    assert isinstance(kernel, Preconditioned) and (kernel.scale[HELD] == 1).all()
    torch.testing.assert_close(kernel.scale[~HELD], sd[~HELD], rtol=0.4, atol=0.0)
    expected = warmup(hmc(0.1, 4), lambda z: whole(filled(z)), x[:, ~HELD], 120, seeded())
    assert torch.equal(kernel.scale[~HELD], expected.scale) and kernel.kernel == expected.kernel
    assert sample(kernel, energy, x, 3, seeded()).shape == (16, 6)


def test_warmup_keeps_the_scales_that_it_is_not_asked_to_learn():
    kernel = warmup(
        Compiled(Preconditioned(mala(0.01), SCALE)), clamped(), torch.zeros(16, 6), 60, seeded(), mass=False
    )
    assert torch.equal(kernel.kernel.scale, SCALE) and kernel.kernel.kernel.proposal.step_size > 0.01


def test_warmup_tunes_the_length_and_the_ladder_of_the_free_entries():
    x = torch.zeros(16, 6)
    assert warmup(MCLMC(search=80), clamped(), x, 100, seeded(), mass=False).length < 20
    both = replica_exchange(mala(1e-3), [1.0, 2.0, 4.0]).with_replicas()
    tuned = warmup(both, clamped(), x[:, None].expand(-1, 3, -1), 60, seeded())
    assert type(tuned) is type(both) and tuned.kernel.kernel.proposal.step_size > 0.05


@pytest.mark.parametrize("kernel", [mala(0.3), replica_exchange(mala(0.3), [1.0, 2.0])], ids=["mala", "replicas"])
def test_negatives_hold_what_the_energy_holds(kernel):
    x = torch.zeros(5, 6)
    values = torch.randn(5, 6, generator=seeded())
    for energy, expected in ((clamped(), VALUES.expand(5, 6)), (Neural(coupled).clamp(HELD, values), values)):
        for negatives in (Persistent(kernel, 3, size=20), FromNoise(kernel, 3)):
            found = [negatives(energy, x, seeded()) for _ in range(4)][-1]
            assert torch.equal(found[:, HELD], expected[:, HELD]) and (found[:, ~HELD].abs() < 8).all()


def test_traces_are_those_of_whole_states():
    found = collect(mala(0.3), clamped(), torch.zeros(4, 6), lambda x, energy: x, steps=6, every=3, rng=seeded())
    end = sample(mala(0.3), clamped(), torch.zeros(4, 6), 6, seeded())
    torch.testing.assert_close(found[:, -1], end)
