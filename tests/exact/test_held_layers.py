"""Block Gibbs with held entries, against the enumerated law of the free ones given the held ones."""

import copy
import io
import itertools

import pytest
import torch

from erg.applications import fill
from erg.energies import DBM, RBM, Categories, Counted, Neural, Spins, Standard
from erg.energies.free import Reduced, entries_of, reduced
from erg.roles import Conditionals
from erg.samplers import AllLayers, BlockGibbs, chain, gibbs, sample
from erg.support import Binary

MACHINES = {
    "bits": lambda: RBM(4, 3),
    "spins on an image": lambda: RBM((1, 2, 2), 3, units=Spins()),
    "categories": lambda: RBM((3, 3), 2, units=Categories(3)),
}
every_machine = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MACHINES.items()])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def at_random(machine):
    """The machine in float64 at random parameters and offsets."""
    rng, machine = seeded(7), machine.double()
    w, b, c = (1.2 * torch.randn(p.shape, generator=rng, dtype=torch.float64) for p in machine.parameters())
    machine.holding(Standard(w, b, c))
    machine.recentre(*(torch.rand(len(p), generator=rng, dtype=torch.float64) for p in (b, c)))
    return machine


def held_sites(machine):
    """One mask: the second and the last site are held."""
    mask = torch.zeros(machine.shape, dtype=torch.bool)
    sites = mask if isinstance(machine.units, Categories) else mask.view(-1, 1)
    sites[1], sites[-1] = True, True
    return mask


def enumerated(machine, mask, values):
    """All states with the held values, their law, and the matrix of one sweep, by sums over pairs (v, h)."""
    v = torch.cat(list(machine.support.enumerate(machine.shape))).double()
    v = v[(v == torch.where(mask, values, v)).flatten(1).all(1)]
    h = torch.tensor(list(itertools.product([0.0, 1.0], repeat=machine.hidden_shape[0])), dtype=torch.float64)
    w, b, c = (p.detach() for p in machine.standard())
    joint = v.flatten(1) @ w @ h.T + (v.flatten(1) @ b)[:, None] + h @ c
    return v, joint.logsumexp(1).softmax(0), joint.softmax(1) @ joint.softmax(0).T


def apart(found, states, expected):
    """The largest difference of frequencies, in standard errors."""
    n = len(found)
    assert torch.isclose(expected.sum(), torch.ones(()).double())
    frequencies = (found.flatten(1)[:, None] == states.flatten(1)).all(2).double().mean(0)
    assert frequencies.sum() == pytest.approx(1)
    return float(((frequencies - expected) / (expected * (1 - expected) / n).sqrt()).abs().max())


@every_machine
def test_one_mask_for_all_rows(make):
    machine, n = at_random(make()), 40_000
    mask, values = held_sites(machine), machine.support.initial((1, *machine.shape), seeded(3)).double()[0]
    states, law, sweep = enumerated(machine, mask, values)
    assert ((law[:, None] * sweep) - (law[:, None] * sweep).T).abs().max() < 1e-12
    start = states[1].expand(n, *machine.shape)
    energy = machine.clamp(mask, values)
    state, acceptance = next(chain(BlockGibbs(), energy, start, seeded()))
    assert state.free.x.shape[1] == len(entries_of(~mask, machine.support).index)
    assert (acceptance == 1).all()
    assert apart(state.x, states, sweep[1]) < 5
    assert apart(sample(BlockGibbs(), energy, start, 60, seeded(1))[: n // 4], states, law) < 5


@every_machine
def test_a_mask_for_each_row(make):
    machine, n = at_random(make()), 20_000
    mask = held_sites(machine)
    other = ~mask
    values = machine.support.initial((2, *machine.shape), seeded(3)).double()
    masks = torch.stack([mask, other]).repeat_interleave(n, 0)
    energy = machine.clamp(masks, values.repeat_interleave(n, 0))
    start = machine.support.initial((2 * n, *machine.shape), seeded(4)).double()
    found = sample(BlockGibbs(), energy, start, 40, seeded(5))
    for row, held in enumerate((mask, other)):
        states, law, _ = enumerated(machine, held, values[row])
        assert apart(found[row * n : (row + 1) * n], states, law) < 5


@pytest.mark.parametrize("kernel", [AllLayers(), BlockGibbs()], ids=["all layers", "its machine"])
def test_the_missing_part_of_a_deep_machine_follows_its_marginal_law(kernel):
    """Summed over all hidden layers."""
    deep = DBM(4, [2, 2, 1]).double()
    with torch.no_grad():
        at_random(deep.machine).weight.mul_(deep.machine.coupled)
    even = torch.cat(list(Binary().enumerate((6,)))).double()
    missing = torch.tensor([True, False, True, False])
    x = torch.tensor([[float("nan"), 1.0, float("nan"), 0.0]]).double().expand(2000, 4)
    possible = even[(even[:, 1] == 1) & (even[:, 3] == 0)]
    expected = (-deep.machine(possible)).softmax(0) @ possible[:, :4]
    found = fill(deep, x, missing=missing, kernel=kernel, steps=1, discard=100, rng=seeded())
    error = (expected * (1 - expected) / len(x)).sqrt()
    assert ((found.sample.mean(0) - expected).abs() <= 4.5 * error).all()


def test_a_clamp_of_a_clamp_and_what_wraps_it():
    machine = at_random(RBM(4, 3))
    first, second = torch.tensor([True, False, False, False]), torch.tensor([False, False, True, False])
    energy = Counted(machine.clamp(first, 1.0)).clamp(second, 0.0)
    x = sample(BlockGibbs(), energy, torch.zeros(9_000, 4).double(), 40, seeded())
    states, law, _ = enumerated(machine, first | second, torch.tensor([1.0, 0.0, 0.0, 0.0]).double())
    assert apart(x, states, law) < 5
    assert energy.energy.values == 0


def test_conditionals_are_offered_if_and_only_if_the_energy_has_them():
    machine, plain = RBM(4, 3), Neural(lambda x: x.sum(1), support=Binary())
    mask = torch.tensor([True, False, False, False])
    entries = entries_of(~mask, Binary())
    for energy, has in ((machine, True), (plain, False)):
        assert isinstance(energy.clamp(mask, 1.0), Conditionals) is has
        assert isinstance(energy.clamp(mask.expand(5, 4), 1.0), Conditionals) is has
        view = reduced(energy.clamp(mask, 1.0), entries, Binary())
        assert isinstance(view, Reduced) and isinstance(view, Conditionals) is has
    with pytest.raises(TypeError, match="Clamped has no such conditionals"):
        sample(BlockGibbs(), plain.clamp(mask, 1.0), torch.zeros(2, 4), 1)


def test_a_site_that_is_held_in_part_has_no_conditionals():
    machine = RBM((2, 3), 2, units=Categories(3))
    mask = torch.zeros(2, 3, dtype=torch.bool)
    mask[0, 1] = True
    energy, x = machine.clamp(mask, 0.0), torch.eye(3)[:2].expand(4, 2, 3)
    assert not isinstance(energy, Conditionals)
    with pytest.raises(TypeError, match=r"Use gibbs\(\)"):
        sample(BlockGibbs(), energy, x, 1)
    assert sample(gibbs(), energy, x, 3, seeded()).shape == x.shape


def test_a_copy_asks_its_own_machine():
    energy = RBM(4, 3, scale=0.0).clamp(torch.tensor([True, False, False, False]), 1.0)
    stream = io.BytesIO()
    torch.save(energy, stream)
    stream.seek(0)
    for other in (copy.deepcopy(energy), torch.load(stream, weights_only=False)):
        torch.nn.init.constant_(other.energy.visible_bias, 50.0)
        assert (other.sample_visible(torch.zeros(20, 3), seeded()) == 1).all()
        assert (energy.sample_visible(torch.zeros(20, 3), seeded())[:, 1:] == 0).any()
