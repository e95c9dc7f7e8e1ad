"""Would the statistical test notice? Each kernel here carries a published bug and must be rejected."""

from dataclasses import dataclass, replace

import pytest
import torch

from erg import draws, rows
from erg.energies import evaluate, evaluate_energy
from erg.roles import Kernel
from erg.samplers import Langevin, Metropolis, RandomWalk, mala, random_walk, ula
from erg.samplers.rules import choose
from erg.support import Box
from tests.statistical.laws import SIGMAS, TARGETS, TEMPERATURE, departures


class HalfNoise(Langevin):
    def propose(self, source, rng):
        return self._mean(source) + 0.5 * (2 * self.step_size) ** 0.5 * draws.normal(source.x, rng)


class NoiseScaledByStep(Langevin):
    def propose(self, source, rng):
        return self._mean(source) + 2 * self.step_size * draws.normal(source.x, rng)


class NormalisedGradient(Langevin):
    """Scales small gradients up to unit length in the name of clipping."""

    def _mean(self, source):
        norm = source.gradient.flatten(1).norm(dim=1)
        return source.x - self.step_size * source.gradient / rows.spread(norm.clamp(min=1e-6), source.x)


class Reversed(Langevin):
    """q(x'|x) and q(x|x') exchanged."""

    def log_prob(self, source, target):
        return super().log_prob(target, source)


class NoDensity(Langevin):
    """The proposal density left out of the ratio."""

    def log_prob(self, source, target):
        return torch.zeros_like(source.energy)


class UphillWalk(RandomWalk):
    """The energy difference with the wrong sign: what a wrong log q of 2 (E' - E) amounts to."""

    def log_prob(self, source, target):
        return 2 * source.energy


@dataclass(frozen=True)
class Decided(Kernel):
    """A Metropolis kernel whose decision is `decide(log_ratio, rng)`."""

    proposal: Langevin | RandomWalk
    decide: object

    def init(self, energy, x):
        return self.evaluate(energy, x)

    def evaluate(self, energy, x):
        return evaluate(energy, x) if self.proposal.needs_gradient else evaluate_energy(energy, x)

    def step(self, energy, state, rng):
        target = self.evaluate(energy, self.proposal.propose(state, rng))
        ratio = state.energy - target.energy
        ratio = ratio + self.proposal.log_prob(target, state) - self.proposal.log_prob(state, target)
        accepted = self.decide(ratio, rng)
        return choose(accepted, target, state), accepted.float()


def always(log_ratio, rng):
    return torch.ones_like(log_ratio, dtype=torch.bool)


def one_uniform(log_ratio, rng):
    return draws.uniform(log_ratio[:1], rng).log() < log_ratio


def one_decision_of_the_mean(log_ratio, rng):
    return (draws.uniform(log_ratio[:1], rng).log() < log_ratio.mean()).expand_as(log_ratio)


def one_decision_of_the_sum(log_ratio, rng):
    return (draws.uniform(log_ratio[:1], rng).log() < log_ratio.sum()).expand_as(log_ratio)


def each(log_ratio, rng):
    return draws.uniform(log_ratio, rng).log() < log_ratio


@dataclass(frozen=True)
class NaNToZero(Decided):
    """A state of NaN energy is set to zero and accepted."""

    def step(self, energy, state, rng):
        moved, acceptance = super().step(energy, state, rng)
        proposed = self.evaluate(energy, self.proposal.propose(state, rng))
        lost = proposed.energy.isnan()
        return moved._replace(x=rows.where(lost, torch.full_like(moved.x, 1e-6), moved.x)), acceptance


@dataclass(frozen=True)
class Clamping(Decided):
    """Proposals outside of a box are moved onto its face instead of being rejected."""

    def step(self, energy, state, rng):
        box = energy.support
        x = self.proposal.propose(state, rng)
        x = x.clamp(box.low, box.high) if isinstance(box, Box) else x
        target = self.evaluate(energy, x)
        ratio = state.energy - target.energy
        ratio = ratio + self.proposal.log_prob(target, state) - self.proposal.log_prob(state, target)
        accepted = self.decide(ratio, rng)
        return choose(accepted, target, state), accepted.float()


@dataclass(frozen=True)
class Sticky(Kernel):
    """Never moves."""

    def init(self, energy, x):
        return evaluate(energy, x)

    def step(self, energy, state, rng):
        return state, torch.ones_like(state.energy)


BROKEN = {
    "ratio missing": (ula(0.4), {"gaussian", "gumbel"}),
    "ratio missing, walk": (Decided(RandomWalk(1.2), always), {"gaussian", "gumbel"}),
    "proposal ratio missing": (Metropolis(NoDensity(0.4)), {"gaussian", "gumbel"}),
    "proposal ratio reversed": (Metropolis(Reversed(0.4)), {"gaussian", "gumbel"}),
    "energy ratio reversed": (Metropolis(UphillWalk(1.2)), {"gaussian", "gumbel"}),
    "half the noise": (Metropolis(HalfNoise(0.4)), {"gaussian", "gumbel"}),
    "noise scaled by h": (Metropolis(NoiseScaledByStep(0.4)), {"gaussian", "gumbel"}),
    "half the noise, unadjusted": (Decided(HalfNoise(0.01), always), {"gaussian", "gumbel"}),
    "noise scaled by h, unadjusted": (Decided(NoiseScaledByStep(0.01), always), {"gaussian", "gumbel"}),
    "gradients normalised, unadjusted": (Decided(NormalisedGradient(0.05), always), {"gaussian", "gumbel"}),
    "one uniform for the batch": (Decided(Langevin(0.8), one_uniform), {"gaussian", "gumbel"}),
    "one decision, mean ratio": (Decided(Langevin(0.8), one_decision_of_the_mean), {"gaussian", "gumbel"}),
    "one decision, summed ratio": (Decided(Langevin(0.8), one_decision_of_the_sum), {"gaussian", "gumbel"}),
    "NaN set to zero and accepted": (NaNToZero(Langevin(0.4), each), {"half_line"}),
    "NaN set to zero, walk": (NaNToZero(RandomWalk(1.2), each), {"half_line"}),
    "clamped to the box": (Clamping(RandomWalk(1.2), each), {"slope"}),
    "box ignored": (Decided(Langevin(0.4), each), {"slope"}),
    "never moves": (Sticky(), {"gaussian", "gumbel"}),
}


@pytest.mark.parametrize("bug", BROKEN)
def test_a_broken_kernel_is_rejected(bug):
    kernel, targets = BROKEN[bug]
    found = {name: departures(kernel, TARGETS[name]((2,)), seed=1) for name in targets}
    assert max(max(each.values()) for each in found.values()) > SIGMAS, found


@pytest.mark.parametrize(
    "kernel", [Decided(Langevin(0.4), each), Decided(RandomWalk(1.2), each)], ids=["mala", "walk"]
)
def test_the_frame_of_the_broken_kernels_is_itself_right(kernel):
    for name in ("gaussian", "gumbel", "half_line"):
        assert max(departures(kernel, TARGETS[name]((2,)), seed=1).values()) < SIGMAS


@pytest.mark.parametrize("kernel", [mala(0.4), random_walk(1.2)], ids=["mala", "random_walk"])
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("wrong", [1 / TEMPERATURE, TEMPERATURE], ids=["not applied", "applied twice"])
def test_a_wrong_temperature_is_rejected(kernel, name, wrong):
    target = TARGETS[name]((2,))
    hotter = replace(target, energy=target.energy / wrong)
    assert max(departures(kernel, hotter, seed=1).values()) > SIGMAS
