"""Does every public kernel keep its role?"""

import re

import jaxtyping
import pytest
import torch
from torch import nn

from erg import draws
from erg.energies import Gaussian, Neural, Path
from erg.samplers import (
    Biased,
    Compiled,
    Constant,
    Langevin,
    LowPrecision,
    Parallel,
    Preconditioned,
    Scheduled,
    advance,
    ais,
    annealed,
    chain,
    descent,
    mala,
    random_walk,
    replica_exchange,
    sample,
    tempered_transitions,
    ula,
    warmup,
)
from erg.samplers.chain import prepare
from erg.support import Binary, Box, Spin
from tests.contracts.kernels import (
    APART,
    AT_LEAST_TWO,
    DETERMINISTIC,
    DISCRETE,
    EXACT,
    KERNELS,
    REAL_ONLY,
    noise_of,
    public_kernels,
    public_moves,
    run,
)

EVENTS = [(), (1,), (3,), (1, 4, 4)]
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
every_name = pytest.mark.parametrize("name", KERNELS)
every_event = pytest.mark.parametrize("event", EVENTS, ids=str)


def quartic(x):
    """Works for any event, the empty one included."""
    x = x.reshape(len(x), -1)
    return (x.square().square() / 8 + (x - 0.4).square()).sum(1)


def fits(name, event):
    return name not in AT_LEAST_TWO or torch.Size(event).numel() >= 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_public_kernel_and_move_has_a_case():
    assert public_kernels() >= {"mala", "ula", "sgld", "random_walk", "Metropolis", "Unadjusted"}
    cases = KERNELS | DISCRETE | APART
    assert public_kernels() <= set(cases)
    used = {type(getattr(kernel, name)) for kernel in cases.values() for name in vars(kernel)}
    assert public_moves() <= used


@every_name
@every_event
def test_shape_is_kept_and_the_input_is_untouched(name, event, rng):
    if not fits(name, event):
        return
    kernel = KERNELS[name]
    x = torch.randn(6, *event, generator=rng)
    before = x.clone()
    for state, acceptance in run(kernel, quartic, x, 3, rng):
        assert state.x.shape == x.shape
        assert acceptance.shape == (6,)
        assert ((acceptance >= 0) & (acceptance <= 1)).all()
    end = sample(kernel, quartic, x, 3, rng)
    assert end.shape == x.shape
    assert not end.requires_grad
    end.zero_()
    assert torch.equal(x, before) and not x.requires_grad and x.grad is None


@every_kernel
def test_no_steps_return_a_copy(kernel, rng):
    x = torch.randn(4, 2, generator=rng)
    end, acceptance = advance(kernel, quartic, x, 0, rng)
    assert torch.equal(end, x) and end.data_ptr() != x.data_ptr()
    assert torch.equal(acceptance, torch.ones(4))


@every_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_dtype_is_kept(kernel, dtype, rng):
    x = torch.randn(6, 3, generator=rng).to(dtype)
    for state, acceptance in run(kernel, quartic, x, 3, rng):
        assert state.x.dtype == dtype
        assert state.x.isfinite().all()
        assert acceptance.is_floating_point()
    assert sample(kernel, quartic, x, 2, rng).dtype == dtype


@pytest.mark.parametrize("constructor", [mala, ula, descent, random_walk])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_step_sizes_for_each_chain_keep_the_dtype_of_the_chains(constructor, dtype, rng):
    kernel = constructor(torch.linspace(0.1, 0.3, 6))
    assert sample(kernel, quartic, torch.zeros(6, 3, dtype=dtype), 3, rng).dtype == dtype


@every_name
@every_event
def test_same_seed_same_result_and_the_global_generator_is_left_alone(name, event):
    if not fits(name, event):
        return
    kernel = KERNELS[name]
    x = torch.randn(5, *event, generator=seeded())
    before = torch.get_rng_state()
    first = sample(kernel, quartic, x, 4, seeded(1))
    assert torch.equal(first, sample(kernel, quartic, x, 4, seeded(1)))
    assert torch.equal(torch.get_rng_state(), before)
    other = sample(kernel, quartic, x, 4, seeded(2))
    assert torch.equal(first, other) == (name in DETERMINISTIC)


@every_kernel
def test_without_a_generator_the_global_one_decides(kernel):
    x = torch.zeros(5, 2)
    torch.manual_seed(3)
    first = sample(kernel, quartic, x, 4)
    torch.manual_seed(3)
    assert torch.equal(first, sample(kernel, quartic, x, 4))


@every_kernel
def test_the_layout_of_the_input_does_not_matter(kernel):
    x = torch.randn(6, 3, 4, 4, generator=seeded())
    plain = sample(kernel, quartic, x, 3, seeded())
    strided = torch.empty(4, 4, 3, 6).permute(3, 2, 0, 1).copy_(x)
    assert not strided.is_contiguous()
    for other in (strided, x.to(memory_format=torch.channels_last), x.repeat(1, 1, 1, 2)[..., :4]):
        torch.testing.assert_close(sample(kernel, quartic, other, 3, seeded()), plain)


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - REAL_ONLY))
@every_event
def test_stays_in_a_box(name, event, rng):
    kernel = KERNELS[name]
    box = Box(-0.5, 0.75)
    steep = Neural(lambda x: -30 * quartic(x), support=box)
    for state, _ in run(kernel, steep, box.initial((8, *event), rng), 6, rng):
        assert box.contains(state.x).all()


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - REAL_ONLY))
def test_a_start_outside_of_a_box_is_brought_into_it(name, rng):
    box = Box(-0.5, 0.75)
    downhill_outwards = Neural(lambda x: -30 * quartic(x), support=box)
    end = sample(KERNELS[name], downhill_outwards, torch.full((4, 3), 5.0), 3, rng)
    assert box.contains(end).all()


@every_name
@pytest.mark.parametrize("support", [Binary(), Spin(), Box(0.0, 1.0)], ids=["binary", "spin", "box"])
def test_refuses_an_energy_that_lives_elsewhere(name, support):
    if isinstance(support, Box) and name not in REAL_ONLY:
        return
    places = "Real" if name in REAL_ONLY else "Real or Box"
    with pytest.raises(
        TypeError, match=rf"moves on {places}, but this energy lives on {re.escape(str(support))}[.;] "
    ):
        sample(KERNELS[name], Neural(quartic, support=support), torch.ones(2, 3), 1)


@every_name
def test_half_of_the_chains_start_at_infinite_energy(name, rng):
    def disc(x):
        r = x.square().sum(1)
        return torch.where(r < 4, r, torch.inf)

    x = torch.randn(400, 2, generator=rng) * 0.5
    x[::2] = 2.2 + 0.1 * x[::2]
    finite = disc(x).isfinite()
    assert finite.float().mean() == pytest.approx(0.5, abs=0.05)
    for state, acceptance in run(KERNELS[name], disc, x, 30, rng):
        assert state.x.isfinite().all() and acceptance.isfinite().all()
        if name in EXACT:
            now = disc(state.x).isfinite()
            assert (now >= finite).all(), "a chain left a finite energy for an infinite one"
            finite = now
    if name in EXACT:
        assert finite.float().mean() > 0.6, "chains at infinite energy never find a finite one"


@pytest.mark.parametrize("name", ["MCLMC", "mclmc"])
def test_what_makes_every_step_walks_out_of_a_region_without_a_finite_energy(name, rng):
    def disc(x):
        r = x.square().sum(1)
        return torch.where(r < 4, r, torch.inf)

    # Two steps and more from the edge.
    end = sample(KERNELS[name], disc, torch.full((64, 2), 2.2), 300, rng)
    assert disc(end).isfinite().float().mean() > 0.6


@pytest.mark.parametrize("name", sorted(EXACT))
def test_a_region_of_nan_is_never_entered_and_can_be_left(name, rng):
    def root(x):  # NaN energy and NaN gradient below zero
        return (x.sqrt() + x.square()).sum(1)

    x = torch.rand(200, 1 if fits(name, (1,)) else 2, generator=rng)
    x[::2] *= -0.2
    assert root(x)[::2].isnan().all()
    inside = ~root(x).isnan()
    for state, acceptance in run(KERNELS[name], root, x, 30, rng):
        now = ~root(state.x).isnan()
        assert state.x.isfinite().all() and acceptance.isfinite().all()
        assert (now >= inside).all()
        inside = now
    # In two dimensions most trajectories that come from outside are turned back at the steep edge.
    assert inside[::2].float().mean() >= (0.1 if name in AT_LEAST_TWO else 1)


@every_kernel
def test_rows_of_nan_do_not_touch_the_others(kernel):
    def broken(x):
        return torch.where(x[:, 0] > 5, torch.nan, x.square().sum(1))

    x = torch.randn(8, 2, generator=seeded())
    x[::2] = 9.0
    x[4] = torch.nan
    noise = noise_of(kernel, broken, x, 5)
    together = sample(kernel, broken, x, 5, draws.Replay(noise))
    alone = sample(kernel, broken, x[1::2], 5, draws.Replay([drawn[1::2] for drawn in noise]))
    assert alone.isfinite().all()
    assert torch.equal(together[1::2], alone)


@every_kernel
def test_runs_under_no_grad_and_refuses_inference_mode(kernel, rng):
    x = torch.zeros(3, 2)
    with torch.no_grad():
        sample(kernel, quartic, x, 2, rng)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"inference_mode.*use torch\.no_grad"):
        sample(kernel, quartic, x, 2, rng)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"inference_mode.*use torch\.no_grad"):
        next(chain(kernel, quartic, x, rng))


@every_kernel
def test_a_column_of_energies_is_refused(kernel):
    with pytest.raises(
        ValueError, match=r"shape \((\d+),\), but this one returned \(\1, 1\); return energy\.squeeze"
    ):
        sample(kernel, torch.nn.Linear(2, 1), torch.zeros(3, 2), 1)


@every_kernel
def test_closure_module_and_energy_are_the_same(kernel):
    class Plain(torch.nn.Module):
        def forward(self, x):
            return quartic(x)

    x = torch.randn(4, 2, generator=seeded())
    ends = [sample(kernel, energy, x, 3, seeded()) for energy in (quartic, Plain(), Neural(quartic))]
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])


def test_wrong_starts_are_refused():
    with pytest.raises(TypeError, match=r"Chains start at a floating tensor .* but got torch\.int64"):
        prepare(quartic, torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(TypeError, match=r"floating tensor .* but got one number without a batch"):
        prepare(quartic, torch.tensor(0.0))
    with pytest.raises(ValueError, match="steps of at least 0, but got -1"):
        sample(KERNELS["ula"], quartic, torch.zeros(3, 2), -1)


@pytest.mark.parametrize("level", [torch.zeros(()), nn.Parameter(torch.zeros(()))], ids=["constant", "trainable"])
def test_an_energy_that_does_not_depend_on_x_is_refused_where_a_gradient_is_needed(level):
    with pytest.raises(ValueError, match=r"no gradient with respect to x.*use random_walk\(\)"):
        sample(ula(0.1), lambda x: level.expand(len(x)), torch.zeros(3, 2), 1)
    assert sample(random_walk(0.1), lambda x: level.expand(len(x)), torch.zeros(3, 2), 1).shape == (3, 2)


@pytest.fixture
def unchecked() -> None:
    """Users run without the checks of annotations that `conftest` installs, and meet our own."""
    jaxtyping.config.update("jaxtyping_disable", True)


WRAPPERS = {
    "sample()": lambda kernel: sample(kernel, quartic, torch.zeros(3, 2), 1),
    "chain()": lambda kernel: next(chain(kernel, quartic, torch.zeros(3, 2))),
    "warmup()": lambda kernel: warmup(kernel, quartic, torch.zeros(3, 2), 1),
    "Annealing": lambda kernel: ais(Path(Gaussian.standard(2), quartic), lambda beta: kernel, betas=2),
    "Biased": Biased,
    "Compiled": Compiled,
    "LowPrecision": LowPrecision,
    "Parallel": lambda kernel: Parallel(kernel, 2),
    "Preconditioned": lambda kernel: Preconditioned(kernel, torch.ones(2)),
    "Scheduled": lambda kernel: Scheduled(kernel, {}),
    "Annealed": lambda kernel: annealed(kernel, Constant(1.0)),
    "ReplicaExchange": lambda kernel: replica_exchange(kernel, [1.0, 2.0]),
    "TemperedTransitions": lambda kernel: tempered_transitions(kernel, [1.0, 2.0]),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Langevin(0.1), "Langevin; put the move in a rule, as in Unadjusted(Langevin(...))."),
        (mala, "mala; call it with its settings, as in mala(...)."),
        (None, "NoneType; pass one, such as mala(step_size=0.1)."),
    ],
    ids=["move", "constructor", "None"],
)
def test_what_is_no_kernel_is_refused_with_what_to_use(wrapper, given, said, unchecked):
    with pytest.raises(TypeError, match=re.escape(f"{wrapper} needs a kernel, but got {said}")):
        WRAPPERS[wrapper](given)


def test_a_scale_may_be_a_number(rng):
    x = torch.randn(5, 3, generator=rng)
    ends = [
        sample(Preconditioned(mala(0.2), scale), quartic, x, 3, torch.Generator().manual_seed(0))
        for scale in (1.5, torch.tensor(1.5))
    ]
    assert torch.equal(*ends)


@pytest.mark.parametrize("value", [[0.1, 0.2], "a", None])
def test_a_setting_that_is_no_number_is_refused(value, unchecked):
    with pytest.raises(TypeError, match=rf"needs a number or a tensor .* but got {type(value).__name__}; torch"):
        mala(value)


def test_a_schedule_that_is_a_number_is_refused(unchecked):
    with pytest.raises(TypeError, match=r"a function of the step for step_size, but got 0\.1; use Constant\(0\.1\)"):
        Scheduled(mala(0.1), {"step_size": 0.1})
