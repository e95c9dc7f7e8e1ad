"""Does a replay buffer keep all replicas of replica exchange, and hand out the cold ones only?"""

from functools import partial

import pytest
import torch

from erg.energies import Gaussian, Neural
from erg.negatives import Every, Persistent, Repeated, Tuned
from erg.samplers import Compiled, LowPrecision, Parallel, Preconditioned, mala, replica_exchange, sgld, ula
from erg.samplers.compilation.compiled import Bound
from erg.training.snapshots import restart
from tests.contracts.buffers import Diverging, Identity, flat

LADDER = (1.0, 1.5, 2.6)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def buffer(kernel, *, steps=3, size=12, fresh=0.0, temperatures=LADDER, **settings):
    return Persistent(replica_exchange(kernel, temperatures), steps, size=size, fresh=fresh, **settings)


def filled(negatives, size=12, event=(2,)):
    """The buffer after one call, so that it holds something."""
    negatives(flat, torch.zeros(size, *event), seeded())
    return negatives


def test_every_replica_of_every_slot_is_there_after_many_calls():
    """Nothing moves, all swaps are accepted: a ladder is always made of the same states, in another order."""
    exact = (1.0, 4.0, 16.0)  # square roots, the units of length, without rounding
    negatives, x, rng = filled(buffer(Identity(), steps=2, temperatures=exact)), torch.zeros(5, 2), seeded(1)
    before = negatives.positions.clone()
    assert before.shape == (12, 3, 2) and len(before.flatten(0, 1).unique(dim=0)) == 36
    cold = set()
    for _ in range(40):
        found = negatives(flat, x, rng)
        assert found.shape == (5, 2)
        cold |= {tuple(row) for row in found.tolist()}
    assert torch.equal(negatives.positions.sort(1).values, before.sort(1).values)
    assert len(cold) == 36, "what was hot has come down"


def test_the_cold_replica_is_the_negative():
    negatives = filled(buffer(mala(0.2)))
    negatives.positions[:] = torch.arange(12.0)[:, None, None]
    found = negatives(lambda x: x.square().sum(1) / 2, torch.zeros(12, 2), seeded(1))
    assert torch.equal(negatives.positions[:, 0].sort(0).values, found.sort(0).values)


def test_replicas_keep_the_law_of_their_temperature():
    """Exact replicas stay exact over calls; replicas that started at the cold states again would be too narrow."""
    chains, rng = 4_000, seeded()
    energy = Gaussian(torch.tensor([0.7]), torch.tensor([0.5]))
    negatives = filled(buffer(mala(0.3), size=chains, steps=2), chains, (1,))
    spread = (0.5 * torch.tensor(LADDER)).sqrt()
    negatives.positions = 0.7 + spread[:, None] * torch.randn(chains, 3, 1, generator=rng)
    for _ in range(6):
        negatives(energy, torch.zeros(chains, 1), rng)
    unit = (negatives.positions[..., 0] - 0.7) / spread
    assert (unit.mean(0).abs() < 5 / chains**0.5).all()
    assert ((unit.var(0) - 1).abs() < 5 * (2 / chains) ** 0.5).all()


def test_hot_replicas_bring_chains_over_a_barrier_that_the_cold_one_never_crosses():
    def wells(x):
        return 30 * (x.square() - 1).square().sum(1)

    share = {}
    for name, kernel in {"single": mala(0.002), "replicas": replica_exchange(mala(0.002), (1.0, 4.0, 16.0))}.items():
        negatives, rng = Persistent(kernel, 10, size=24, fresh=0.0), seeded()
        negatives(wells, torch.zeros(24, 1), rng)
        negatives.positions.fill_(1.0)
        for _ in range(40):
            found = negatives(wells, torch.zeros(24, 1), rng)
        share[name] = float((found < 0).float().mean())
    assert share["single"] == 0 and share["replicas"] > 0.2


@pytest.mark.parametrize(
    "wrap",
    [Compiled, LowPrecision, partial(Parallel, threads=2), lambda k: Preconditioned(k, torch.tensor([0.5, 2.0]))],
    ids=["Compiled", "LowPrecision", "Parallel", "Preconditioned"],
)
def test_wrapped_replica_exchange_keeps_its_replicas_too(wrap):
    def energy(x):
        return (x - 0.3).square().sum(1) / 2

    plain, wrapped = (
        Persistent(kernel, 3, size=12, fresh=0.2)
        for kernel in (replica_exchange(mala(0.2), LADDER), wrap(replica_exchange(mala(0.2), LADDER)))
    )
    for seed in range(3):
        found = [each(energy, torch.zeros(8, 2), seeded(seed)) for each in (plain, wrapped)]
    assert wrapped.positions.shape == (12, 3, 2)
    if wrap in (Compiled, LowPrecision):
        torch.testing.assert_close(*found)


def test_all_replicas_together_are_compiled():
    kernel, energy = Compiled(replica_exchange(mala(0.2), LADDER).with_replicas()), Gaussian.standard(2)
    state, _ = kernel.step(energy, kernel.init(energy, torch.zeros(4, 3, 2)), seeded())
    assert isinstance(state.bound, Bound)


def test_a_ladder_with_a_state_that_is_not_finite_restarts_as_a_whole():
    negatives = filled(buffer(Diverging(), temperatures=(1.0, 4.0)))
    negatives.positions = torch.linspace(-0.9, 0.9, 48).reshape(12, 2, 2)
    negatives.positions[3, 1] = 5.0  # a hot one
    before = negatives.positions.clone()
    negatives(flat, torch.zeros(12, 2), seeded(1))
    assert negatives.monitor["chain/finite"] == pytest.approx(11 / 12)
    assert negatives.positions.isfinite().all()
    kept = (negatives.positions.sort(1).values == before.sort(1).values).flatten(1).all(1)
    assert kept.tolist() == [slot != 3 for slot in range(12)]
    assert not (negatives.positions[3] == before[3]).any()


def test_the_guard_restarts_whole_ladders():
    negatives = filled(buffer(mala(0.2)))
    negatives.positions[2, 1, 0] = torch.nan
    before = negatives.positions.clone()
    assert restart(negatives, Gaussian.standard(2), seeded()) == 1
    assert negatives.positions.isfinite().all() and not (negatives.positions[2] == before[2]).any()
    assert torch.equal(negatives.positions[3:], before[3:])


def test_conditions_and_held_entries_of_each_row_are_those_of_its_ladder(rng):
    y = torch.arange(15) % 3
    negatives = buffer(mala(0.2), steps=20, size=60, classes=3)
    energy = Neural(lambda x, y: (x - 10.0 * y[:, None]).square().sum(1))
    for _ in range(24):  # by then every slot was drawn
        found = negatives(energy.given(y), torch.zeros(15, 2), rng)
    assert ((found - 10.0 * y[:, None]).abs() < 8).all()
    assert ((negatives.positions - 10.0 * (torch.arange(60) % 3)[:, None, None]).abs() < 12).all()
    # As many rows as replicas: nothing but the axis tells them apart.
    held = torch.tensor([[True, False], [False, True], [False, False]])
    values = torch.tensor([[7.0, 0.0], [0.0, 8.0], [0.0, 0.0]])
    found = buffer(mala(0.2))(Gaussian.standard(2).clamp(held, values), torch.zeros(3, 2), rng)
    assert torch.equal(found[held], torch.tensor([7.0, 8.0])) and (found[~held].abs() < 6).all()


def test_several_negatives_a_row_and_several_updates_a_negative(rng):
    x = torch.zeros(4, 2)
    assert Repeated(buffer(mala(0.2)), times=3)(flat, x, rng).shape == (12, 2)
    reused = Every(buffer(mala(0.2)), updates=2)
    assert torch.equal(reused(flat, x, rng), reused(flat, x, rng))


@pytest.mark.parametrize("wrap", [lambda k: k, Compiled], ids=["plain", "Compiled"])
def test_tuned_corrects_by_the_acceptance_of_the_cold_replica(wrap, rng):
    kernel = wrap(replica_exchange(mala(1e-3), LADDER))
    negatives, x = Tuned(Persistent(kernel, 5, size=128, fresh=0.0)), torch.zeros(128, 2)
    for _ in range(40):
        negatives(lambda x: x.square().sum(1) / 2, x, rng)
    assert abs(negatives.monitor["chain/acceptance"] - 0.574) < 0.15
    assert negatives.monitor["chain/step_size"] > 0.1
    assert negatives.negatives.positions.shape == (128, 3, 2)


def test_what_a_ladder_cannot_do_is_refused(rng):
    with pytest.raises(ValueError, match="steps=1 and 3 replicas; make two steps or more"):
        buffer(mala(0.2), steps=1)
    buffer(mala(0.2), steps=1, temperatures=(1.0, 2.0))
    with pytest.raises(TypeError, match="makes every move"):
        Tuned(buffer(ula(0.1)))
    single = Persistent(sgld(0.1, 0.1), steps=2, size=12)
    single.load_state_dict(filled(buffer(mala(0.2))).state_dict())
    with pytest.raises(ValueError, match=r"states of shape \(3, 2\), but the batch has \(2,\); use one buffer"):
        single(flat, torch.zeros(4, 2), rng)
    other = buffer(mala(0.2), temperatures=(1.0, 2.0))
    other.load_state_dict(filled(buffer(mala(0.2))).state_dict())
    with pytest.raises(ValueError, match=r"\(3, 2\), but the batch has \(2,\), of which the kernel has 2 replicas"):
        other(flat, torch.zeros(4, 2), rng)
