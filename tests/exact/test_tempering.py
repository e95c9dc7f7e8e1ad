"""Replica exchange against its formulas: swaps, what is remembered, what it costs, and the ladder it finds."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from erg.draws import Replay
from erg.energies import Counted, Gaussian, Mixture, Neural
from erg.energies.repeated import repeated
from erg.roles import Kernel
from erg.samplers import (
    Annealed,
    Compiled,
    Constant,
    LowPrecision,
    Parallel,
    Preconditioned,
    ReplicaExchange,
    chain,
    hmc,
    ladder,
    mala,
    random_walk,
    replica_exchange,
    sample,
    ula,
    underdamped,
)
from erg.samplers.compilation.compiled import Bound
from erg.samplers.rules import Metropolis
from erg.samplers.tempering.ladder import equalised
from erg.samplers.tempering.rescaling import remembered
from erg.support import Box

LADDER = (1.0, 1.6, 2.5, 4.0)


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).flatten(1).sum(1)


def skewed_gradient(x):
    return 1 - (-x).exp() + 0.4 * x**3


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def last(kernel, energy, x, steps, rng):
    return next(itertools.islice(chain(kernel, energy, x, rng), steps - 1, None))[0]


@dataclass(frozen=True)
class Resting(Kernel):
    """Never moves; remembers its energy."""

    def init(self, energy, x):
        return Metropolis.init(random_walk(1.0), energy, x)

    def step(self, energy, state, rng):
        return state, torch.ones(len(state.x))


@pytest.mark.parametrize("parity", [0, 1], ids=["even", "odd"])
def test_swaps_are_balanced_for_the_joint_law(parity):
    """Three temperatures and three states: the probability of every swap of every joint state, by its formula."""
    levels = torch.tensor([0.3, 1.9, 1.1], dtype=torch.float64)
    temperatures = (1.0, 1.7, 3.1)
    joint = torch.tensor(list(itertools.product(range(3), repeat=3)), dtype=torch.float64)[..., None]
    energy = Neural(lambda x: levels[x[:, 0].round().long()])
    kernel = ReplicaExchange(Resting(), temperatures, scales=(1.0, 1.0, 1.0)).with_replicas()
    steps = chain(kernel, energy, joint, Replay([torch.zeros(27, 2, dtype=torch.float64)] * 2))
    if parity:  # the first step offers the other pair
        kernel = ReplicaExchange(Resting(), temperatures, scales=(1.0, 1.0, 1.0))
        state = kernel.start(energy, joint)
        state = state._replace(steps=state.steps + 1)
        after, _ = kernel.step(energy, state, Replay([torch.zeros(27, 2, dtype=torch.float64)]))
    else:
        after = next(steps)[0].inner
    probability = 1 - after.rejected[:, parity].double()
    law = (-(levels[joint[..., 0].long()] / torch.tensor(temperatures, dtype=torch.float64)).sum(1)).exp()
    index = {tuple(row): i for i, row in enumerate(joint[..., 0].int().tolist())}
    for i, row in enumerate(joint[..., 0].int().tolist()):
        swapped = row.copy()
        swapped[parity], swapped[parity + 1] = row[parity + 1], row[parity]
        j = index[tuple(swapped)]
        expected = min(1.0, float(law[j] / law[i]))
        assert float(probability[i]) == pytest.approx(expected, abs=1e-6)
        # With a uniform of zero every offered swap of positive probability is made, and no other.
        assert after.replicas[i, :, 0].int().tolist() == swapped
    assert (after.rejected[:, 1 - parity] == 0).all()


@pytest.mark.parametrize("inner", [mala(0.2), random_walk(0.5), hmc(0.3, 2)], ids=["mala", "random_walk", "hmc"])
@pytest.mark.parametrize("scales", [None, (1.0, 1.2, 1.9, 2.2)], ids=["square roots", "given"])
def test_what_is_remembered_belongs_to_the_position(inner, scales):
    energy = Neural(skewed)
    kernel = ReplicaExchange(inner, LADDER, scales=scales)
    x = torch.randn(50, 3, generator=seeded(), dtype=torch.float64)
    steps = chain(kernel, energy, x, seeded())
    temperature = torch.tensor(LADDER, dtype=torch.float64).repeat(50)
    scale = torch.tensor(scales or [t**0.5 for t in LADDER], dtype=torch.float64).repeat(50)
    for state, _ in itertools.islice(steps, 8):
        found, at = remembered(state.inner), state.replicas.flatten(0, 1)
        torch.testing.assert_close(found.x * scale[:, None], at, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(found.energy, skewed(at) / temperature, atol=1e-10, rtol=1e-10)
        if found.gradient is not None:
            truth = skewed_gradient(at) * (scale / temperature)[:, None]
            torch.testing.assert_close(found.gradient, truth, atol=1e-10, rtol=1e-10)
        assert torch.equal(state.x, state.replicas[:, 0])
    assert 0.05 < state.rejection.mean() < 0.95


def test_a_replica_moves_as_the_kernel_alone_on_the_tempered_energy():
    x = torch.randn(5, 4, 3, generator=seeded(), dtype=torch.float64)
    noise = torch.randn(5, 4, 3, generator=seeded(2), dtype=torch.float64)
    accept, swap = torch.rand(5, 4, generator=seeded(3), dtype=torch.float64), torch.ones(5, 3, dtype=torch.float64)
    # A uniform of one makes no swap.
    together = sample(
        replica_exchange(mala(0.3), LADDER).with_replicas(), skewed, x, 1, Replay([noise, accept, swap])
    )
    for k, temperature in enumerate(LADDER):
        # In units of sqrt(T) a step h is a step h T.
        of_rung = Replay([noise[:, k], accept[:, k]])
        alone = sample(mala(0.3 * temperature), Neural(skewed) / temperature, x[:, k], 1, of_rung)
        torch.testing.assert_close(together[:, k], alone, atol=1e-12, rtol=1e-12)


def test_on_a_box_every_temperature_has_the_same_unit():
    energy = Neural(skewed, support=Box(-1.0, 1.0))
    state = last(replica_exchange(mala(0.1), LADDER), energy, torch.zeros(4, 2), 3, seeded())
    assert (state.scales == 1).all()
    with pytest.raises(ValueError, match=r"Scales are for energies on Real, but this one lives on Box"):
        sample(ReplicaExchange(mala(0.1), (1.0, 2.0), scales=(1.0, 1.4)), energy, torch.zeros(4, 2), 1)


@pytest.mark.parametrize(
    "inner, gradients, values",
    [(mala(0.1), 8, 0), (random_walk(0.5), 0, 8), (hmc(0.2, 3), 22, 0), (ula(0.1), 7, 7)],
    ids=["mala", "random_walk", "hmc", "ula"],
)
def test_evaluations_of_seven_steps_at_all_temperatures(inner, gradients, values):
    energy = Counted(Neural(skewed))
    state = last(replica_exchange(inner, LADDER), energy, torch.zeros(30, 2), 7, seeded())
    assert (energy.gradients, energy.values) == (gradients, values)
    assert (state.rejected.sum(0) > 0).all()


def test_momenta_stay_with_their_temperature():
    kernel = ReplicaExchange(underdamped(0.3, 1.5), (1.0, 3.0))
    state = kernel.start(Neural(skewed), torch.randn(6, 2, 2))
    swapped = torch.ones(6, 1, dtype=torch.bool)
    temperature, scale = torch.tensor([1.0, 3.0]).repeat(6), torch.tensor([1.0, 3.0**0.5]).repeat(6)
    moved = kernel._swap(state.inner, swapped, temperature, scale)
    assert remembered(moved) is not None
    same = [torch.equal(a, b) for a, b in zip(moved, state.inner, strict=True) if isinstance(a, torch.Tensor)]
    assert same and all(same)


def test_swaps_on_a_gaussian_are_rejected_as_often_as_in_closed_form():
    # E of a Gaussian in two dimensions is exponential with mean T: a swap is accepted with 2 b / (a + b), b < a.
    temperatures = (1.0, 1.5, 5.0)
    expected = [1 - 2 * low / (low + high) for low, high in itertools.pairwise(temperatures)]
    n = 4000
    x = torch.randn(n, 3, 2, generator=seeded()) * torch.tensor(temperatures).sqrt()[:, None]
    kernel = replica_exchange(mala(0.5), temperatures).with_replicas()
    state = last(kernel, Gaussian.standard(2), x, 6, seeded(2)).inner
    for found, truth in zip(state.rejection.tolist(), expected, strict=True):
        assert found == pytest.approx(truth, abs=0.02)


def test_the_adapted_ladder_has_equal_swap_rates():
    # For a Gaussian equal ratios give equal rates.
    energy, uneven = Gaussian.standard(2), (1.0, 10.0, 20.0, 64.0)
    kernel, x = replica_exchange(random_walk(1.2), uneven), torch.zeros(500, 2)
    for _ in range(3):
        kernel = kernel.adapted(last(kernel, energy, x, 60, seeded()))
    assert kernel.temperatures[0] == 1.0 and kernel.temperatures[-1] == 64.0
    for found, truth in zip(kernel.temperatures, (1.0, 4.0, 16.0, 64.0), strict=True):
        assert found == pytest.approx(truth, rel=0.1)


def test_a_barrier_is_divided_equally():
    temperatures, rejections = (1.0, 2.0, 4.0, 32.0), (0.1, 0.1, 0.3)
    # The barrier is linear in log T here, 0.1 a factor of two: equal parts are equal ratios.
    for found, truth in zip(equalised(temperatures, rejections), ladder(32.0, 4), strict=True):
        assert found == pytest.approx(truth)
    assert equalised((1.0, 2.0, 4.0), (0.0, 0.0)) == pytest.approx((1.0, 2.0, 4.0))


def test_scales_follow_the_acceptance():
    # Where the energy is linear far out, the spread grows with T and not with its root.
    energy = Neural(lambda x: (1 + x.square()).sqrt().sum(1))
    kernel = replica_exchange(random_walk(2.0), ladder(20.0, 4))
    runs = []
    for seed in range(6):
        runs.append(last(kernel, energy, torch.zeros(100, 1), 50, seeded(seed)))
        kernel = kernel.adapted(runs[-1])

    def unevenness(state):
        acceptance = state.accepted.sum(0) / state.steps.sum()
        return float((acceptance - acceptance[0]).abs().max())

    assert unevenness(runs[0]) > 0.2 and unevenness(runs[-1]) < unevenness(runs[0]) / 2
    assert kernel.scales[-1] > 2 * 20**0.5


def test_scales_of_one_given_on_the_real_numbers_follow_the_acceptance_too():
    kernel = ReplicaExchange(random_walk(1.0), (1.0, 4.0, 16.0), scales=(1.0, 1.0, 1.0))
    state = last(kernel, Gaussian.standard(1), torch.zeros(50, 1), 30, seeded())
    _, middle, hot = kernel.adapted(state).scales
    assert 1.05 < middle < hot


def test_too_short_a_run_suggests_nothing():
    kernel = replica_exchange(mala(0.3), LADDER)
    state = last(kernel, Neural(skewed), torch.zeros(3, 2), 1, seeded())
    assert kernel.adapted(state) == kernel


def test_all_replicas_may_be_carried_from_call_to_call():
    kernel, energy = replica_exchange(mala(0.3), LADDER).with_replicas(), Neural(skewed)
    x = torch.randn(6, 4, 2, generator=seeded(), dtype=torch.float64)
    rng = seeded(3)
    # An even number of steps, so that the second call offers the pairs whose turn it is.
    stopped = sample(kernel, energy, sample(kernel, energy, x, 4, rng), 3, rng)
    torch.testing.assert_close(stopped, sample(kernel, energy, x, 7, seeded(3)), atol=1e-10, rtol=1e-10)
    with pytest.raises(ValueError, match=r"of shape \(batch, 4, \*event\), .* but got \(6, 3, 2\); repeat"):
        sample(kernel, energy, x[:, :3], 1)


def test_a_condition_for_each_row_is_that_of_all_its_replicas():
    class Conditional(Neural):
        def forward(self, x, y):
            return (x - y[:, None]).square().sum(1)

    y = torch.linspace(-2, 2, 6)
    mask = torch.zeros(6, 3, dtype=torch.bool)
    mask[::2, 0] = True
    energies = {
        "given": Conditional(skewed).given(y),
        "tempered": Conditional(skewed).given(y) / torch.linspace(0.5, 2, 6),
        "held": Conditional(skewed).given(y).clamp(mask, torch.randn(6, 3, generator=seeded())),
        "mixed": Mixture([Conditional(skewed).given(y), Conditional(skewed).given(y + 1)]),
    }
    kernel, x = replica_exchange(mala(0.2), LADDER), torch.randn(6, 3, generator=seeded())
    noise = [torch.randn(6, 4, 3, generator=seeded()), torch.rand(6, 4, generator=seeded()), torch.rand(6, 3)] * 3
    for name, energy in energies.items():
        together = sample(kernel, energy, x, 3, Replay(noise))
        for row in range(6):
            alone = {
                "given": lambda r: Conditional(skewed).given(y[r]),
                "tempered": lambda r: Conditional(skewed).given(y[r]) / float(torch.linspace(0.5, 2, 6)[r]),
                "held": lambda r: Conditional(skewed).given(y[r]).clamp(mask[r : r + 1], energies["held"].values[r]),
                "mixed": lambda r: Mixture([Conditional(skewed).given(y[r]), Conditional(skewed).given(y[r] + 1)]),
            }[name](row)
            of_row = Replay([drawn[row : row + 1] for drawn in noise])
            torch.testing.assert_close(together[row : row + 1], sample(kernel, alone, x[row : row + 1], 3, of_row))
    plain = Neural(skewed) / 0.7
    assert repeated(plain, 4, event=1) is plain


def test_a_frozen_condition_out_of_reach_is_refused_with_what_to_do():
    inner = Neural(lambda x, y: (x - y[:, None]).square().sum(1)).given(torch.zeros(3))
    with pytest.raises(ValueError, match=r"one per row, but has 3 conditions for 12 rows; repeat"):
        sample(replica_exchange(mala(0.2), LADDER), lambda x: inner(x), torch.zeros(3, 2), 1)


@pytest.mark.parametrize("inner", [mala(0.3), Preconditioned(mala(0.3), torch.tensor([1.0, 2.0, 3.0]))])
def test_nested_coordinates_and_wrappers_follow_a_swap(inner):
    energy, x = Neural(skewed), torch.randn(20, 4, 3, generator=seeded(), dtype=torch.float64)
    state = last(replica_exchange(inner, LADDER).with_replicas(), energy, x, 5, seeded()).inner
    truth = skewed(state.replicas.flatten(0, 1)) / torch.tensor(LADDER, dtype=torch.float64).repeat(20)
    torch.testing.assert_close(remembered(state.inner).energy, truth, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    "compiled",
    [lambda k: Compiled(replica_exchange(k, (1.0, 2.0))), lambda k: replica_exchange(Compiled(k), (1.0, 2.0))],
    ids=["outside", "inside"],
)
def test_compiled_outside_and_inside_follows_the_eager_chain(compiled):
    energy, x, kernel = Neural(skewed), torch.randn(16, 3, generator=seeded()), compiled(mala(0.3))
    state = last(kernel, energy, x, 8, seeded())
    bound = state.bound if isinstance(kernel, Compiled) else state.inner.bound
    assert isinstance(bound, Bound), bound
    eager = last(replica_exchange(mala(0.3), (1.0, 2.0)), energy, x, 8, seeded())
    torch.testing.assert_close(state.x, eager.x, atol=1e-4, rtol=1e-4)


def test_swaps_compare_energies_of_the_full_network_wherever_it_is_rounded():
    layers = nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0)
    energy, x = nn.Sequential(*layers), 5 * torch.randn(64, 16, generator=seeded())
    temperatures = [1.0, 1.5, 2.0]
    outside = LowPrecision(replica_exchange(ula(0.5), temperatures))
    inside = replica_exchange(LowPrecision(ula(0.5)), temperatures)
    found, expected = (last(kernel, energy, x, 4, seeded(2)) for kernel in (outside, inside))
    torch.testing.assert_close(found.rejected, expected.rejected, rtol=0.0, atol=1e-5)


def test_infinite_and_absent_energies_are_handed_to_the_hot_replica():
    def edge(x):
        return torch.where(x[:, 0] < 0, torch.inf, torch.where(x[:, 0] > 5, torch.nan, x[:, 0]))

    x = torch.tensor([[-1.0, 2.0], [2.0, -1.0], [7.0, 2.0], [2.0, 7.0], [-1.0, -1.0]])[..., None]
    kernel = ReplicaExchange(Resting(), (1.0, 2.0), scales=(1.0, 1.0)).with_replicas()
    state = last(kernel, edge, x, 1, Replay([torch.full((5, 1), 0.5)]))
    assert state.x[:, 0, 0].tolist() == [2.0, 2.0, 2.0, 2.0, -1.0]
    assert state.inner.rejected[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: replica_exchange(mala(0.1), [2.0, 4.0]), r"start at 1\.0, the law to sample, and ascend"),
        (lambda: replica_exchange(mala(0.1), [1.0]), "needs two temperatures or more"),
        (lambda: replica_exchange(mala(0.1), [1.0, 4.0, 2.0]), "ascend, but got"),
        (lambda: replica_exchange(mala(0.1), [1.0, 1.0]), "ascend, but got"),
        (lambda: replica_exchange(mala(0.1), [1.0, math.inf]), "ascend, but got"),
        (
            lambda: ReplicaExchange(mala(0.1), (1.0, 2.0), scales=(1.0,)),
            "one positive, finite scale for each",
        ),
        (lambda: ReplicaExchange(mala(0.1), (1.0, 2.0), scales=(2.0, 3.0)), r"1\.0 for the first, but got"),
        (lambda: ladder(1.0, 3), "from 1 to a higher temperature"),
        (lambda: ladder(9.0, 1), "rungs of at least 2, but got"),
    ],
)
def test_wrong_ladders_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize(
    "inner",
    [replica_exchange(mala(0.1), [1.0, 2.0]), Annealed(mala(0.1), Constant(2.0)), Parallel(mala(0.1), 2)],
    ids=["twice", "annealed", "parallel"],
)
def test_kernels_that_belong_outside_are_refused(inner):
    with pytest.raises(
        TypeError, match=rf"but got a {type(inner).__name__} inside; put {type(inner).__name__} around"
    ):
        replica_exchange(inner, [1.0, 2.0])


def test_settings_may_be_replaced():
    kernel = replica_exchange(mala(0.1), [1, 2])
    assert kernel.temperatures == (1.0, 2.0)
    assert replace(kernel, temperatures=(1.0, 3.0)).temperatures == (1.0, 3.0)
