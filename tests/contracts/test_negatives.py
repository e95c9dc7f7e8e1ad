"""Do all negatives keep their role, and does the replay buffer keep its chains?"""

import inspect
import io
import itertools

import pytest
import torch
from torch import nn

import erg.negatives
from erg.energies import Neural
from erg.negatives import Every, FromData, FromNoise, Persistent, PersistentFromData, Repeated, Tuned
from erg.roles import Negatives
from erg.samplers import mala, random_walk, replica_exchange, ula
from erg.support import Binary, Box
from tests.contracts.buffers import (
    Diverging,
    Identity,
    distinct_chains,
    flat,
    largest_share_of_duplicates,
    share_of_restarts,
    stored_non_finite,
)

LADDER = (1.0, 2.0, 5.0)
CASES = {
    "FromData": lambda kernel: FromData(kernel, steps=3),
    "FromNoise": lambda kernel: FromNoise(kernel, steps=3),
    "Persistent": lambda kernel: Persistent(kernel, steps=3, size=20, fresh=0.3),
    "PersistentFromData": lambda kernel: PersistentFromData(kernel, steps=3, size=20, fresh=0.3),
    "Repeated": lambda kernel: Repeated(Persistent(kernel, steps=3, size=20), times=2),
    "Every": lambda kernel: Every(FromNoise(kernel, steps=3), updates=2),
    "Tuned": lambda kernel: Tuned(Persistent(kernel, steps=3, size=20, fresh=0.3)),
    "Persistent-replicas": lambda kernel: Persistent(replica_exchange(kernel, LADDER), steps=3, size=20, fresh=0.3),
    "Tuned-replicas": lambda kernel: Tuned(Persistent(replica_exchange(kernel, LADDER), steps=3, size=20)),
    "Every-Persistent": lambda kernel: Every(Persistent(kernel, steps=3, size=20), updates=3),
}
every_case = pytest.mark.parametrize("name", CASES)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)[:, 0] + x.flatten(1).square().sum(1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(x, seed=0):
    torch.manual_seed(seed)
    energy = Network()
    energy(x)
    return energy


def test_every_public_class_has_a_case():
    public = {
        name
        for name, what in inspect.getmembers(erg.negatives, inspect.isclass)
        if issubclass(what, Negatives) and what is not Negatives
    }
    assert public == {name.split("-")[0] for name in CASES}


@every_case
@pytest.mark.parametrize("event", [(3,), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_states_of_the_datas_kind_and_nothing_else_changed(name, event, dtype, rng):
    x = torch.randn(6, *event, generator=rng, dtype=dtype)
    before, state = x.clone(), torch.get_rng_state()
    energy = network(x.float()).to(dtype)
    torch.set_rng_state(state)
    for _ in range(3):
        found = CASES[name](mala(0.1))(energy, x, rng)
        assert found.shape == (12 if name == "Repeated" else 6, *event)
        assert found.dtype == dtype and found.isfinite().all() and not found.requires_grad
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert energy.training and all(p.requires_grad and p.grad is None for p in energy.parameters())


@every_case
def test_same_seed_same_negatives(name):
    x = torch.randn(6, 3, generator=seeded())
    energy = network(x)
    first, second = (
        [CASES[name](mala(0.1))(energy, x, seeded(1)) for _ in range(2)],
        CASES[name](mala(0.1))(energy, x, seeded(2)),
    )
    assert torch.equal(*first) and not torch.equal(first[0], second)


@every_case
def test_what_is_noticed_is_detached_and_scalar(name, rng):
    negatives = CASES[name](random_walk(0.5))
    assert dict(negatives.monitor) == {}
    x = torch.randn(6, 3, generator=rng).requires_grad_()
    found = negatives(Neural(lambda x: x.square().sum(1), support=Box(-1.0, 1.0)), x.clamp(-1, 1), rng)
    assert Box(-1.0, 1.0).contains(found).all()
    assert set(negatives.monitor) >= {"chain/acceptance", "chain/finite", "chain/moved", "chain/saturated"}
    for value in negatives.monitor.values():
        assert value.shape == () and not value.requires_grad
    assert 0 < negatives.monitor["chain/acceptance"] < 1
    assert negatives.monitor["chain/finite"] == 1


@pytest.mark.parametrize(
    "name", ["Persistent", "Every", "Every-Persistent", "Tuned", "Persistent-replicas", "Tuned-replicas"]
)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(name):
    x, rng = torch.randn(6, 3, generator=seeded()), seeded(1)
    undisturbed, resumed = CASES[name](random_walk(0.1)), CASES[name](random_walk(0.1))
    for _ in range(4):
        undisturbed(flat, x, rng)
    parts = {"": (undisturbed, resumed)}
    if name in ("Every-Persistent", "Tuned", "Tuned-replicas"):
        parts["inner"] = (undisturbed.negatives, resumed.negatives)
    file = io.BytesIO()
    torch.save({part: old.state_dict() for part, (old, _) in parts.items()} | {"rng": rng.get_state()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for part, (_, new) in parts.items():
        new.load_state_dict(saved[part])
    other = torch.Generator()
    other.set_state(saved["rng"])
    for _ in range(4):
        assert torch.equal(undisturbed(flat, x, rng), resumed(flat, x, other))
        assert dict(undisturbed.monitor) == dict(resumed.monitor)


def test_a_loaded_buffer_does_not_share_memory():
    buffer = Persistent(Identity(), steps=1, size=8, fresh=1.0)
    buffer(flat, torch.zeros(4, 2), seeded())
    saved = buffer.state_dict()
    other = Persistent(Identity(), steps=1, size=8, fresh=1.0)
    other.load_state_dict(saved)
    before = saved["positions"].clone()
    other(flat, torch.zeros(4, 2), seeded())
    assert torch.equal(saved["positions"], before)


# Where chains start.


def test_contrastive_divergence_starts_at_the_data(rng):
    x = 50 + torch.randn(64, 2, generator=rng)
    assert torch.equal(FromData(Identity(), steps=5)(flat, x, rng), x)
    cd = FromData(ula(0.3), steps=2)
    moved = cd(lambda x: x.square().sum(1) / 2, x, rng) - x
    torch.testing.assert_close(cd.monitor["chain/moved"], moved.abs().mean())
    assert (FromData(ula(0.01), steps=2)(lambda x: x.square().sum(1) / 2, x, rng) > 40).all()


def test_short_runs_start_at_the_noise_of_the_support(rng):
    x = torch.full((4000, 2), 50.0)
    noise = FromNoise(Identity(), steps=5)(flat, x, rng)
    assert abs(noise.mean()) < 5 / 8000**0.5 and abs(noise.var() - 1) < 0.1
    box = FromNoise(Identity(), steps=5)(Neural(flat, support=Box(2.0, 3.0)), x, rng)
    assert Box(2.0, 3.0).contains(box).all() and abs(box.mean() - 2.5) < 0.02


# The replay buffer.


def test_chains_go_back_to_their_own_slots():
    buffer = Persistent(Identity(), steps=1, size=10_000, fresh=0.0)
    assert distinct_chains(buffer, size=10_000, batch=128, updates=2_000) == 10_000


def test_no_slot_comes_twice_in_a_batch():
    assert largest_share_of_duplicates(Persistent(Identity(), steps=1, size=60, fresh=0.0), batch=60, calls=50) == 0


def test_every_slot_is_drawn(rng):
    buffer = Persistent(random_walk(1.0), steps=1, size=50, fresh=0.0)
    buffer(flat, torch.zeros(5, 2), rng)
    start = buffer.positions.clone()
    for _ in range(100):
        buffer(flat, torch.zeros(5, 2), rng)
    assert (buffer.positions != start).any(1).all()


@pytest.mark.parametrize("fresh", [0.0, 0.05, 0.4, 1.0])
def test_the_fresh_fraction_restarts_at_noise(fresh):
    buffer = Persistent(Identity(), steps=1, size=400, fresh=fresh)
    share, n = share_of_restarts(buffer, batch=200, calls=100), 200 * 100
    assert abs(share - fresh) <= 5 * (fresh * (1 - fresh) / n) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_chain_that_is_not_finite_is_seen_and_not_stored(dtype):
    buffer = Persistent(Diverging(), steps=1, size=100, fresh=0.5, dtype=dtype)
    assert stored_non_finite(buffer, batch=50, calls=20) == 0
    assert not buffer(flat, torch.zeros(50, 2), seeded()).isfinite().all()
    assert buffer.monitor["chain/finite"] < 1
    assert buffer.positions.dtype == dtype


def test_a_chain_too_large_for_compact_storage_is_not_stored(rng):
    buffer = Persistent(ula(1.0), steps=1, size=10, fresh=0.0, dtype=torch.float16)
    found = buffer(lambda x: 1e6 * x.sum(1), torch.zeros(10, 2), rng)
    assert found.isfinite().all() and (found < -65504).any()
    assert buffer.positions.isfinite().all()


def test_compact_storage_keeps_pixels(rng):
    energy = Neural(flat, support=Box(-1.0, 1.0))
    buffer = Persistent(Identity(), steps=1, size=64, fresh=1.0, dtype=torch.float16)
    x = buffer(energy, torch.zeros(64, 1, 8, 8), rng)
    buffer.fresh = 0.0
    again = buffer(energy, torch.zeros(64, 1, 8, 8), rng)
    distance = torch.cdist(x.flatten(1).double(), again.flatten(1).double(), p=torch.inf).min(1).values
    assert again.dtype == torch.float32 and buffer.positions.dtype == torch.float16
    assert distance.max() <= 0.0005
    assert Box(-1.0, 1.0).contains(again).all()


def test_positions_are_kept_and_energies_are_not():
    """After an update the same buffer moves by the new energy only."""
    x = torch.zeros(8, 2)
    buffer, twin = (Persistent(mala(0.2), steps=2, size=8, fresh=0.0) for _ in range(2))
    buffer(lambda x: x.square().sum(1), x, seeded(1))
    twin.load_state_dict(buffer.state_dict())

    def updated(x):
        return (x - 3).square().sum(1)

    assert torch.equal(buffer(updated, x, seeded(2)), twin(updated, x, seeded(2)))


def by_class(x, y):
    return (x - 10.0 * y[:, None]).square().sum(1)


def test_classes_do_not_mix(rng):
    buffer = Persistent(ula(0.3), steps=20, size=60, fresh=0.0, classes=3)
    for _ in range(40):
        y = torch.randint(3, (15,), generator=rng)
        found = buffer(Neural(by_class).given(y), torch.zeros(15, 2), rng)
        assert ((found - 10.0 * y[:, None]).abs() < 8).all()
    slots = torch.arange(60) % 3
    assert ((buffer.positions - 10.0 * slots[:, None]).abs() < 8).all()
    same = buffer(Neural(by_class).given(2), torch.zeros(15, 2), rng)
    assert ((same - 20).abs() < 8).all()


def test_repeated_negatives_follow_their_rows(rng):
    y = torch.tensor([0, 1, 2])
    found = Repeated(FromNoise(ula(0.3), steps=30), times=4)(Neural(by_class).given(y), torch.zeros(3, 2), rng)
    assert ((found - 10.0 * y.repeat_interleave(4)[:, None]).abs() < 8).all()
    with_slots = Repeated(Persistent(ula(0.3), steps=30, size=30, classes=3), times=4)
    found = with_slots(Neural(by_class).given(y), torch.zeros(3, 2), rng)
    assert ((found - 10.0 * y.repeat_interleave(4)[:, None]).abs() < 8).all()


def test_refresh_at_every_third_update(rng):
    negatives = Every(FromNoise(random_walk(1.0), steps=1), updates=3)
    found = [negatives(flat, torch.zeros(5, 2), rng) for _ in range(7)]
    same = [torch.equal(a, b) for a, b in itertools.pairwise(found)]
    assert same == [True, True, False, True, True, False]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FromData(ula(0.1), steps=0), "FromData needs steps of at least 1, but got 0"),
        (lambda: Persistent(ula(0.1), steps=1, size=0), "size of at least 1"),
        (lambda: Persistent(ula(0.1), steps=1, fresh=1.5), r"fresh in \[0, 1\].*fresh=1\.5"),
        (lambda: Persistent(ula(0.1), steps=1, size=5, classes=6), "no more classes than slots"),
        (lambda: Repeated(FromData(ula(0.1), steps=1), times=0), "times of at least 1, but got 0"),
        (lambda: Every(FromData(ula(0.1), steps=1), updates=0), "updates of at least 1, but got 0"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_a_buffer_cannot_do_is_refused(rng):
    x = torch.zeros(6, 2)
    with pytest.raises(ValueError, match="4 slots cannot supply 6 distinct chains; raise size"):
        Persistent(ula(0.1), steps=1, size=4)(flat, x, rng)
    buffer = Persistent(Identity(), steps=1, size=10)
    buffer(flat, x, rng)
    with pytest.raises(ValueError, match=r"holds states of shape \(2,\), but the batch has \(3,\)"):
        buffer(flat, torch.zeros(6, 3), rng)
    with pytest.raises(ValueError, match="12 slots, but the saved one has 10; build it with size=10"):
        Persistent(Identity(), steps=1, size=12).load_state_dict(buffer.state_dict())
    with pytest.raises(TypeError, match=r"needs energy\.given\(y\), one class per row, but got Neural"):
        Persistent(Identity(), steps=1, size=10, classes=2)(Neural(flat), x, rng)
    with pytest.raises(ValueError, match="Class 0 has 3 slots, but the batch asks for 6"):
        Persistent(Identity(), steps=1, size=6, classes=2)(Neural(by_class).given(torch.zeros(6)), x, rng)


@pytest.mark.parametrize(
    "inside", [lambda e: e, lambda e: e / 2.0, lambda e: e + flat], ids=["given", "tempered", "sum"]
)
def test_negatives_of_another_batch_are_not_reused_for_other_conditions(inside, rng):
    energy = inside(Neural(by_class).given(torch.zeros(6)))
    with pytest.raises(TypeError, match="Every reuses the negatives of another batch"):
        Every(FromNoise(Identity(), steps=1), updates=2)(energy, torch.zeros(6, 2), rng)


def test_slots_have_the_class_of_a_condition_inside_a_sum(rng):
    buffer = Persistent(ula(0.3), steps=20, size=60, fresh=0.0, classes=3)
    y = torch.arange(15) % 3
    for _ in range(60):
        found = buffer((2.0 * Neural(by_class)).given(y) / 1.5, torch.zeros(15, 2), rng)
    assert ((found - 10.0 * y[:, None]).abs() < 8).all()
    assert ((buffer.positions - 10.0 * (torch.arange(60) % 3)[:, None]).abs() < 8).all()


def test_a_buffer_refuses_an_energy_that_lives_elsewhere():
    energy = Neural(lambda x: x.square().sum(1), support=Box(-1.0, 1.0))
    buffer = Persistent(Identity(), steps=1, size=8)
    buffer(energy, torch.zeros(4, 2))
    other = Persistent(Identity(), steps=1, size=8)
    other.load_state_dict(buffer.state_dict())
    other(energy, torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"holds states of an energy on Box\(low=-1.0, high=1.0\), but .* Real"):
        other(Neural(lambda x: x.square().sum(1)), torch.zeros(4, 2))


def test_chains_from_data_begin_there_and_go_on_in_their_own_slots(rng):
    x = torch.arange(6.0)[:, None] * 100
    negatives = PersistentFromData(random_walk(1e-3), steps=1, size=8, fresh=0.0)
    found = negatives(Neural(lambda x: x.sum(1) * 0), x, rng)
    distance = (found - x.T).abs().min(1).values
    assert (distance < 1).all()
    again = negatives(Neural(lambda x: x.sum(1) * 0), x + 50, rng)
    assert ((again - x.T).abs().min(1).values < 1).all()  # the second batch is not where they are
    assert len(negatives.positions) == 8


def test_bits_in_between_begin_at_the_nearer_value(rng):
    negatives = PersistentFromData(Identity(), steps=1, size=4, fresh=0.0)
    found = negatives(Neural(lambda x: x.sum(1), support=Binary()), torch.tensor([[1.0, 0.2, 0.9]]), rng)
    assert torch.equal(found, torch.tensor([[1.0, 0.0, 1.0]]))
    assert torch.equal(negatives.positions, found.expand(4, -1))
