"""Does every kernel for discrete states keep its role, on each of their supports?"""

import copy
import re

import pytest
import torch

from erg import draws, rows
from erg.energies import DoubleWell, Gaussian, GaussianMixture, Independent, Neural, Rings, Uniform
from erg.energies.energy import Energy
from erg.samplers import (
    AutomaticCycles,
    BlockGibbs,
    CyclicalLangevin,
    DiscreteLangevin,
    acs,
    advance,
    dmala,
    dula,
    gibbs,
    gwg,
    independence,
    mala,
    sample,
    ula,
)
from erg.samplers.compilation.compiled import Compiled
from erg.samplers.parallel import Parallel
from erg.support import Binary, Box, OneHot, Real, Spin
from tests.contracts.kernels import APART, DISCRETE, noise_of, run

SPACES = [
    (Binary(), ()),
    (Binary(), (3,)),
    (Binary(), (1, 4, 4)),
    (Spin(), ()),
    (Spin(), (3,)),
    (Spin(), (1, 4, 4)),
    (OneHot(), (3,)),
    (OneHot(), (2, 3)),
    (OneHot(), (1, 2, 2, 3)),
]
# `gibbs` and `acs` are other names of kernels that are here.
NAMES = sorted(DISCRETE.keys() - {"gibbs", "acs"})
every_kernel = pytest.mark.parametrize("kernel", [DISCRETE[name] for name in NAMES], ids=NAMES)
every_space = pytest.mark.parametrize(("support", "event"), SPACES, ids=str)
one_space_each = pytest.mark.parametrize(
    ("support", "event"), [(Binary(), (5,)), (Spin(), (2, 2)), (OneHot(), (2, 3))], ids=str
)
UNADJUSTED = {"dula"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rough(x):
    """Fields and couplings, for any event."""
    x = rows.flat(x)
    fields = torch.linspace(-1.0, 1.3, x.shape[1], dtype=x.dtype)
    return (x * fields).sum(1) + 0.4 * x[:, 0] * x.sum(1) + 0.3 * (x[:, :-1] * x[:, 1:]).sum(1)


def on(support, function=rough):
    return Neural(function, support=support)


@every_kernel
@every_space
def test_stays_on_its_support_and_leaves_the_input_alone(kernel, support, event, rng):
    x = support.initial((8, *event), rng)
    before = x.clone()
    moved = torch.zeros(8, dtype=torch.bool)
    for state, acceptance in run(kernel, on(support), x, 8, rng):
        assert state.x.shape == x.shape
        assert support.contains(state.x).all()
        assert acceptance.shape == (8,) and ((acceptance >= 0) & (acceptance <= 1)).all()
        moved |= (state.x != x).reshape(8, -1).any(1)
    assert moved.any()
    end = sample(kernel, on(support), x, 2, rng)
    end.zero_()
    assert torch.equal(x, before) and not x.requires_grad and x.grad is None


@every_kernel
@one_space_each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_dtype_is_kept(kernel, support, event, dtype, rng):
    x = support.initial((6, *event), rng).to(dtype)
    for state, acceptance in run(kernel, on(support), x, 4, rng):
        assert state.x.dtype == dtype and support.contains(state.x).all()
        assert acceptance.is_floating_point() and acceptance.isfinite().all()


@every_kernel
@one_space_each
def test_same_seed_same_result_and_the_global_generator_is_left_alone(kernel, support, event):
    x = support.initial((16, *event), seeded())
    before = torch.get_rng_state()
    first = sample(kernel, on(support), x, 4, seeded(1))
    assert torch.equal(first, sample(kernel, on(support), x, 4, seeded(1)))
    assert not torch.equal(first, sample(kernel, on(support), x, 4, seeded(2)))
    assert torch.equal(torch.get_rng_state(), before)


@every_kernel
@one_space_each
def test_rows_are_independent_and_may_be_permuted(kernel, support, event):
    x, energy, order = support.initial((7, *event), seeded()), on(support), torch.tensor([3, 0, 6, 2, 5, 1, 4])
    noise = noise_of(kernel, energy, x, 6)
    straight, acceptance = advance(kernel, energy, x, 6, draws.Replay(noise))
    permuted = sample(kernel, energy, x[order], 6, draws.Replay([drawn[order] for drawn in noise]))
    assert torch.equal(permuted, straight[order])
    alone, accepted = advance(kernel, energy, x[4:5], 6, draws.Replay([drawn[4:5] for drawn in noise]))
    assert torch.equal(alone[0], straight[4])
    torch.testing.assert_close(accepted[0], acceptance[4])


@every_kernel
@one_space_each
def test_k_then_m_steps_are_k_plus_m(kernel, support, event):
    x, energy, rng = support.initial((5, *event), seeded()), on(support), seeded(3)
    halfway, _ = kernel.run(energy, kernel.init(energy, x), 3, rng)
    stopped, _ = kernel.run(energy, halfway, 4, rng)
    straight, _ = kernel.run(energy, kernel.init(energy, x), 7, seeded(3))
    assert torch.equal(stopped.x, straight.x)


@every_kernel
@one_space_each
def test_the_layout_of_the_input_does_not_matter(kernel, support, event):
    x = support.initial((6, *event), seeded())
    strided = x.movedim(0, -1).contiguous().movedim(-1, 0)
    assert not strided.is_contiguous()
    assert torch.equal(sample(kernel, on(support), x, 4, seeded()), sample(kernel, on(support), strided, 4, seeded()))


@pytest.mark.parametrize("name", NAMES)
@one_space_each
def test_half_of_the_chains_start_at_infinite_energy(name, support, event, rng):
    low = 0.0 if isinstance(support, OneHot) else support.values[0]

    def holed(x):  # infinite, with a NaN gradient, where the last entry is low
        flat = rows.flat(x)
        return rough(x) + torch.where(flat[:, -1] > low, 0.0, flat[:, -1] + torch.inf)

    x = support.initial((300, *event), rng)
    finite = holed(x).isfinite()
    started = finite.float().mean()
    assert 0.2 < started < 0.7
    for state, acceptance in run(DISCRETE[name], on(support, holed), x, 25, rng):
        assert support.contains(state.x).all() and acceptance.isfinite().all()
        if name not in UNADJUSTED:
            now = holed(state.x).isfinite()
            assert (now >= finite).all(), "a chain left a finite energy for an infinite one"
            finite = now
    if name not in UNADJUSTED:
        assert finite.float().mean() > started + 0.02, "chains at infinite energy never find a finite one"


@every_kernel
@one_space_each
def test_an_energy_of_nan_everywhere_is_no_exception(kernel, support, event, rng):
    def lost(x):
        return rough(x) * torch.nan

    for state, acceptance in run(kernel, on(support, lost), support.initial((5, *event), rng), 3, rng):
        assert support.contains(state.x).all()
        assert (acceptance == 0).all()


@every_kernel
@one_space_each
def test_no_chains_are_no_trouble(kernel, support, event, rng):
    assert sample(kernel, on(support), support.initial((0, *event), rng), 3, rng).shape == (0, *event)


@every_kernel
def test_held_entries_are_returned_at_their_values(kernel, rng):
    held = on(Binary()).clamp(torch.tensor([True, False, False]), 1.0)
    end = sample(kernel, held, torch.zeros(40, 3), 10, rng)
    assert (end[:, 0] == 1).all() and (end[:, 1:] != 0).any()


@every_kernel
@pytest.mark.parametrize("support", [Real(), Box(0.0, 1.0)], ids=str)
def test_a_continuous_energy_is_refused_with_what_to_use(kernel, support):
    lives_on = rf"moves on Binary, Spin or OneHot, but this energy lives on {re.escape(str(support))}\. "
    with pytest.raises(TypeError, match=lives_on + r"Use mala\(\) or random_walk\(\)"):
        sample(kernel, on(support), torch.ones(2, 3), 1)


@pytest.mark.parametrize("name", ["AutomaticCycles", "CyclicalLangevin"])
def test_cycles_are_refused_by_their_own_name(name):
    with pytest.raises(TypeError, match=f"^{name} moves on"):
        sample(DISCRETE[name], on(Real()), torch.ones(2, 3), 1)


def test_a_plain_function_is_told_how_to_say_where_it_lives():
    with pytest.raises(TypeError, match=r"say where x lives, as by Neural\(function, support=Binary\(\)\)"):
        sample(gwg(), rough, torch.ones(2, 3), 1)


@pytest.mark.parametrize("kernel", [mala(0.1), ula(0.1)], ids=["mala", "ula"])
@pytest.mark.parametrize("support", [Binary(), Spin(), OneHot()], ids=str)
def test_a_discrete_energy_is_refused_by_langevin_with_what_to_use(kernel, support):
    sentence = f"Langevin moves on Real or Box, but this energy lives on {support}. Use dmala() or gibbs()."
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        sample(kernel, on(support), torch.ones(2, 3), 1)


@every_kernel
@pytest.mark.parametrize("support", [Binary(), Spin(), OneHot()], ids=str)
def test_starts_that_are_not_on_the_support_are_refused(kernel, support):
    sentence = rf"lie there, but some of these do not; draw them by {re.escape(str(support))}\.initial\(\(\d, 3\)\)"
    with pytest.raises(ValueError, match=sentence):
        sample(kernel, on(support), torch.full((2, 3), 0.5), 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: dula(0.0),
        lambda: dmala(float("nan")),
        lambda: dmala(torch.tensor([0.1, -0.1])),
        lambda: DiscreteLangevin(0.1, balance=0.0),
        lambda: DiscreteLangevin(0.1, balance=1.5),
        lambda: gibbs(0),
        lambda: acs(0),
        lambda: acs(cycles=0),
        lambda: acs(target=1.0),
        lambda: CyclicalLangevin(torch.ones(2), torch.ones(3)),
        lambda: CyclicalLangevin(torch.ones(0), torch.ones(0)),
        lambda: CyclicalLangevin(torch.tensor([1.0, 0.0]), torch.ones(2)),
        lambda: sample(gibbs(4), on(Binary()), torch.ones(2, 3), 1),
        lambda: sample(gibbs(20), on(Binary()), torch.ones(2, 30), 1),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"needs|at least one site|blocks of 4 sites.*at most 3|smaller block"):
        wrong()


def test_block_gibbs_refuses_an_energy_without_conditionals():
    for support, instead in ((Spin(), r"gibbs\(\) or dmala\(\)"), (Real(), r"mala\(\) or random_walk\(\)")):
        with pytest.raises(TypeError, match=rf"Neural has no such conditionals\. Use {instead}"):
            sample(BlockGibbs(), on(support), torch.ones(2, 3), 1)


class Layers(torch.nn.Module):
    """A plain module with conditionals: three visible spins, and one hidden copy of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.coupling = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return -torch.cosh(self.coupling * x[:, 0]).log()

    def sample_hidden(self, x, rng=None):
        return draws.uniform(x[:, :1], rng) < torch.sigmoid(2 * self.coupling * x[:, :1])

    def sample_visible(self, h, rng=None):
        logits = torch.cat([2 * self.coupling * (2.0 * h - 1), torch.zeros(len(h), 2)], 1)
        return torch.where(draws.uniform(logits, rng) < logits.sigmoid(), 1.0, -1.0)


def test_block_gibbs_uses_the_conditionals_of_a_plain_module():
    module, x = Layers(), torch.ones(400, 3)
    wrapped = Neural(module, support=Spin())
    ends = [sample(BlockGibbs(), energy, x, 2, seeded(1)) for energy in (module, wrapped)]
    rng, by_hand = seeded(1), x
    with torch.no_grad():
        for _ in range(2):
            by_hand = module.sample_visible(module.sample_hidden(by_hand, rng), rng)
    assert torch.equal(ends[0], by_hand) and torch.equal(ends[1], by_hand)
    assert (by_hand[:, 0] == 1).float().mean() > 0.8 > (by_hand[:, 1] == 1).float().mean()
    alike = copy.deepcopy(wrapped)
    alike.load_state_dict({"network.coupling": torch.tensor(-50.0)})
    assert not alike.sample_hidden(x, seeded()).any(), "a copy asks its own module"
    assert wrapped.sample_hidden(x, seeded()).float().mean() > 0.9


@pytest.mark.parametrize(
    ("reference", "support", "event"),
    [
        (Gaussian.isotropic(torch.zeros(3), variance=2.0), Real(), (3,)),
        (Gaussian.standard((1, 2, 2)), Box(-1.5, 1.0), (1, 2, 2)),
        (Gaussian.standard(()), Real(), ()),
        (Uniform((2,), Box(-1.0, 1.0)), Box(-0.5, 1.0), (2,)),
        (Independent.uniform((4,), Spin()), Spin(), (4,)),
        (Independent(torch.randn(2, 3, generator=seeded()), OneHot()), OneHot(), (2, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_independence_keeps_the_role_on_every_support(reference, support, event, dtype):
    kernel, energy = independence(reference), on(support)
    x = Uniform(event, support).exact_samples(9, seeded()) if isinstance(support, Box) else None
    x = (support.initial((9, *event), seeded()) if x is None else x).to(dtype)
    noise = noise_of(kernel, energy, x, 5)
    straight = sample(kernel, energy, x, 5, draws.Replay(noise))
    assert straight.dtype == dtype and straight.shape == x.shape and support.contains(straight).all()
    assert torch.equal(straight, sample(kernel, energy, x, 5, seeded()))
    flipped = sample(kernel, energy, x.flip(0), 5, draws.Replay([drawn.flip(0) for drawn in noise]))
    assert torch.equal(flipped, straight.flip(0))
    assert not torch.equal(straight, x)


def test_independence_accepts_row_by_row(rng):
    _, acceptance = run(APART["independence"], on(Real()), torch.randn(50, 3, generator=rng), 1, rng)[0]
    assert acceptance.unique().numel() > 10


@pytest.mark.parametrize(
    ("reference", "support"),
    [
        (Gaussian.standard(3), Binary()),
        (Uniform((3,), Box(0.0, 1.0)), Real()),
        (Independent.uniform((3,), Spin()), Binary()),
    ],
    ids=str,
)
def test_independence_refuses_a_law_that_does_not_reach_everywhere(reference, support):
    lives_on = rf"Independence draws on {re.escape(str(reference.support))}, but this energy lives on"
    with pytest.raises(TypeError, match=lives_on):
        sample(independence(reference), on(support), torch.ones(2, 3), 1)


def test_independence_refuses_other_shapes_and_laws_without_samples():
    with pytest.raises(ValueError, match=r"draws events of shape \(2,\), but the chains are of shape \(4, 3\)"):
        sample(independence(Gaussian.standard(2)), on(Real()), torch.ones(4, 3), 1)
    with pytest.raises(TypeError, match=r"exact_samples|Samplable"):
        independence(on(Real()))


@pytest.mark.parametrize(
    "reference",
    [
        Gaussian.isotropic(torch.zeros(3), variance=2.0),
        GaussianMixture.isotropic(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), weights=torch.tensor([1.0, 3.0])),
        Uniform((2,), Box(-1.0, 1.0)),
        Independent(torch.tensor([0.5, -1.0, 2.0]), Spin()),
        Independent(torch.randn(2, 3, generator=seeded()), OneHot()),
    ],
    ids=str,
)
def test_independence_compiles(reference):
    kernel, energy, x = independence(reference), on(reference.support), reference.exact_samples(64, seeded())
    state = run(Compiled(kernel), energy, x, 1, seeded())[0][0]
    assert type(state.bound).__name__ == "Bound", state.bound
    ends = [sample(each, energy, x, 6, seeded(1)) for each in (kernel, Compiled(kernel))]
    torch.testing.assert_close(*ends)
    assert not torch.equal(ends[0], x)


@pytest.mark.parametrize("reference", [DoubleWell(2), Rings()], ids=str)
@pytest.mark.parametrize("wrapped", [Compiled, lambda kernel: Parallel(kernel, 2)])
def test_a_proposal_by_rejection_draws_as_often_as_it_takes(reference, wrapped):
    kernel, energy = independence(reference), on(reference.support)
    for seed in range(6):
        x = reference.exact_samples(16, seeded(seed))
        ends = [sample(each, energy, x, 6, seeded(seed)) for each in (kernel, wrapped(kernel))]
        assert torch.equal(*ends)


@pytest.mark.parametrize("name", ["dmala", "dula", "gwg", "gibbs", "acs", "CyclicalLangevin"])
def test_what_compiles(name):
    kernel, support = DISCRETE[name], Spin()
    energy, x = on(support), support.initial((32, 6), seeded())
    state = run(Compiled(kernel), energy, x, 1, seeded())[0][0]
    assert type(state.bound).__name__ == "Bound", state.bound
    ends = [sample(each, energy, x, 12, seeded(1)) for each in (kernel, Compiled(kernel))]
    assert (ends[0] == ends[1]).float().mean() > 0.98


class Silent(Energy):
    """An energy that is not asked for a gradient."""

    support = Spin()

    def forward(self, x):
        return rough(x.detach())


def test_gibbs_needs_no_gradient_and_the_others_say_so(rng):
    x = Spin().initial((4, 3), rng)
    assert sample(gibbs(2), Silent(), x, 3, rng).shape == (4, 3)
    with pytest.raises(ValueError, match=r"no gradient with respect to x.*gibbs\(\) for discrete x"):
        sample(gwg(), Silent(), x, 1, rng)


def test_a_tuned_cycle_is_an_ordinary_kernel(rng):
    kernel, energy, x = AutomaticCycles(period=4, cycles=2), on(Spin()), Spin().initial((64, 9), rng)
    state, _ = kernel.run(energy, kernel.init(energy, x), kernel.tuning_steps, rng)
    found = kernel.adapted(state)
    assert isinstance(found, CyclicalLangevin)
    assert (found.step_sizes.diff() <= 0).all() and (found.balances.diff() <= 0).all()
    assert found.balances[-1] == 0.5 and found.step_sizes[-1] < found.step_sizes[0]
    kept, _ = kernel.run(energy, state, 5, rng)
    assert torch.equal(kept.smallest, state.smallest) and torch.equal(kept.largest, state.largest)
    assert torch.equal(kept.accepted, state.accepted)
