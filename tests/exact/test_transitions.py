"""Tempered transitions by enumeration of every path, annealing and stages against plain kernels."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from erg.draws import Replay
from erg.energies import Counted, Gaussian, Neural
from erg.samplers import (
    Annealed,
    Compiled,
    Constant,
    Geometric,
    Metropolis,
    Parallel,
    Scheduled,
    Stage,
    annealed,
    chain,
    hmc,
    mala,
    random_walk,
    replica_exchange,
    run_stages,
    sample,
    tempered_transitions,
    ula,
    underdamped,
)
from erg.samplers.compilation.compiled import Bound, Eager
from erg.samplers.tempering.rescaling import remembered
from erg.support import Spin

LEVELS = {-1.0: 0.5, 1.0: 1.75}  # exact in float32


@dataclass(frozen=True)
class Turn:
    """Proposes the other value of a single spin. Draws nothing: each step is one decision."""

    moves_on: ClassVar[tuple[type, ...]] = (Spin,)
    needs_gradient: ClassVar[bool] = False

    def propose(self, source, rng):
        return -source.x

    def log_prob(self, source, target):
        return torch.zeros_like(source.energy)


def two_levels(x):
    return torch.where(x[:, 0] > 0, LEVELS[1.0], LEVELS[-1.0]).to(x.dtype)


def skewed(x):
    return (x + (-x).exp() + 0.1 * x**4).flatten(1).sum(1)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def paths(start, temperatures):
    """Every path of a tour: its decisions, its probability and its end, from the Metropolis rule alone."""
    for decisions in itertools.product([True, False], repeat=len(temperatures)):
        place, probability = start, 1.0
        for turned, temperature in zip(decisions, temperatures, strict=True):
            turn = min(1.0, math.exp((LEVELS[place] - LEVELS[-place]) / temperature))
            probability *= turn if turned else 1 - turn
            place = -place if turned else place
        if probability > 0:
            yield decisions, probability, place


@pytest.mark.parametrize("ladder", [(1.0, 1.5), (1.0, 1.4, 3.0), (1.0, 2.0, 2.0, 5.0)], ids=str)
def test_tours_are_in_detailed_balance(ladder):
    energy, kernel = Neural(two_levels, support=Spin()), tempered_transitions(Metropolis(Turn()), ladder)
    tour = (*ladder[1:], *reversed(ladder[1:]))
    flow = {(-1.0, 1.0): 0.0, (1.0, -1.0): 0.0}
    for start in LEVELS:
        for decisions, probability, end in paths(start, tour):
            uniforms = [0.0 if turned else 1 - 1e-9 for turned in decisions]
            noise = [torch.full((1,), u, dtype=torch.float64) for u in (*uniforms, 0.5, 0.5)]
            x = torch.tensor([[start]], dtype=torch.float64)
            _, accepted = next(chain(kernel, energy, x, Replay(noise)))
            if end != start:
                flow[start, end] += math.exp(-LEVELS[start]) * probability * float(accepted)
    assert flow[-1.0, 1.0] > 0.01
    assert flow[-1.0, 1.0] == pytest.approx(flow[1.0, -1.0], abs=1e-12)


@pytest.mark.parametrize("inner", [mala(0.2), random_walk(0.5), hmc(0.3, 2)], ids=["mala", "random_walk", "hmc"])
def test_what_is_remembered_belongs_to_the_position(inner):
    x = torch.randn(30, 3, generator=seeded(), dtype=torch.float64)
    steps = chain(tempered_transitions(inner, (1.0, 1.5, 2.5)), skewed, x, seeded(2))
    for state, _ in itertools.islice(steps, 4):
        found = remembered(state)
        torch.testing.assert_close(found.energy, skewed(state.x), atol=1e-10, rtol=1e-10)
        if found.gradient is not None:
            truth = 1 - (-state.x).exp() + 0.4 * state.x**3
            torch.testing.assert_close(found.gradient, truth, atol=1e-10, rtol=1e-10)


def test_a_ladder_of_n_plus_one_costs_two_n_plus_one_steps():
    energy = Counted(Neural(skewed))
    sample(tempered_transitions(mala(0.2), (1.0, 1.5, 2.0, 3.0)), energy, torch.zeros(5, 2), 3, seeded())
    assert (energy.gradients, energy.values) == (1 + 3 * 7, 0)
    energy = Counted(Neural(skewed))
    sample(annealed(hmc(0.2, 3), Geometric(4.0, 0.1, steps=5)), energy, torch.zeros(5, 2), 6, seeded())
    assert (energy.gradients, energy.values) == (1 + 6 * 3, 0)


@pytest.mark.parametrize(
    "inner", [ula(0.1), Compiled(mala(0.1)), Parallel(mala(0.1), 2), Annealed(mala(0.1), Constant(2.0))]
)
def test_kernels_that_break_the_ratio_are_refused(inner):
    with pytest.raises(TypeError, match=r"that Unadjusted does not|does not; use an adjusted kernel|inside; put "):
        tempered_transitions(inner, (1.0, 2.0))


@pytest.mark.parametrize(
    "inner, carried",
    [
        (Scheduled(mala(0.1), {"step_size": Constant(0.1)}), "steps"),
        (replica_exchange(mala(0.1), (1.0, 2.0)), "scales"),
    ],
    ids=["schedule", "replicas"],
)
def test_kernels_that_carry_more_than_a_position_are_refused(inner, carried):
    with pytest.raises(TypeError, match=rf"this one carries '{carried}' from step to step; use one that"):
        sample(tempered_transitions(inner, (1.0, 2.0)), skewed, torch.zeros(2, 2), 1)


def test_unadjusted_momenta_are_refused():
    with pytest.raises(TypeError, match=r"TemperedTransitions needs a kernel that"):
        sample(tempered_transitions(underdamped(0.3, 1.5), (1.0, 2.0)), skewed, torch.zeros(2, 2), 1)


def test_compiled_tours_follow_the_eager_ones():
    kernel, x = tempered_transitions(mala(0.2), (1.0, 1.5)), torch.randn(8, 2, generator=seeded())
    state = next(itertools.islice(chain(Compiled(kernel), skewed, x, seeded()), 3, None))[0]
    assert isinstance(state.bound, Bound), state.bound
    torch.testing.assert_close(state.x, sample(kernel, skewed, x, 4, seeded()), atol=1e-4, rtol=1e-4)


def test_annealing_moves_as_the_kernel_at_each_temperature():
    cooling = Geometric(4.0, 0.5, steps=3)
    x = torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    noise = [
        torch.randn(6, 2, generator=seeded(2), dtype=torch.float64),
        torch.rand(6, generator=seeded(3)).double(),
    ] * 5
    expected = x
    for t, temperature in enumerate((4.0, 2.0, 1.0, 0.5, 0.5)):
        assert cooling(t) == pytest.approx(temperature)
        # In units of sqrt(T) a step h is a step h T.
        kernel = mala(0.2 * temperature)
        expected = sample(kernel, Neural(skewed) / temperature, expected, 1, Replay(noise[2 * t : 2 * t + 2]))
    found = sample(annealed(mala(0.2), cooling), skewed, x, 5, Replay(noise))
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_compiled_goes_inside_of_annealing():
    x, cooling = torch.randn(6, 2, generator=seeded()), Geometric(4.0, 0.5, steps=3)
    steps = chain(annealed(Compiled(mala(0.2)), cooling), skewed, x, seeded())
    state = next(itertools.islice(steps, 4, None))[0]
    assert isinstance(state.inner.bound, Bound), state.inner.bound
    torch.testing.assert_close(
        state.x, sample(annealed(mala(0.2), cooling), skewed, x, 5, seeded()), atol=1e-4, rtol=1e-4
    )
    outside = next(chain(Compiled(annealed(mala(0.2), cooling)), skewed, x, seeded()))[0].bound
    assert isinstance(outside, Eager) and "a state of tensors was expected" in outside.reason


def test_stages_are_samples_one_after_the_other():
    stages = [
        Stage(Gaussian.standard(2), mala(0.3), 3),
        Stage(skewed, random_walk(0.5), 0),
        Stage(skewed, ula(0.1), 2),
    ]
    x = torch.randn(4, 2, generator=seeded())
    ends = [end for end, _ in run_stages(stages, x, seeded(5))]
    rng = seeded(5)
    middle = sample(mala(0.3), Gaussian.standard(2), x, 3, rng)
    assert torch.equal(ends[0], middle) and torch.equal(ends[1], middle)
    assert torch.equal(ends[2], sample(ula(0.1), skewed, middle, 2, rng))
    assert list(run_stages([], x)) == []


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: Geometric(1.0, math.inf, steps=3), "a positive end"),
        (lambda: Geometric(1.0, 0.0, steps=3), "a positive end"),
        (lambda: Geometric(1.0, 0.5, steps=0), "steps of at least 1"),
        (lambda: annealed(mala(0.1), Constant(0.0)), "positive and finite, but the schedule gives 0.0 at step 0"),
        (lambda: annealed(mala(0.1), lambda step: float("nan")), "positive and finite, but the schedule gives nan"),
        (lambda: Stage(skewed, mala(0.1), -1), "steps of at least 0, but got -1"),
        (lambda: tempered_transitions(mala(0.1), (1.0,)), "two temperatures or more"),
        (lambda: tempered_transitions(mala(0.1), (1.0, 3.0, 2.0)), "ascend, but got"),
    ],
)
def test_wrong_settings_are_refused_at_construction(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
