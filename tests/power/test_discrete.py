"""Would the tests of discrete kernels notice? Each kernel here carries a bug and must be rejected."""

from dataclasses import dataclass

import pytest
import torch

from erg import draws
from erg.energies import evaluate_energy
from erg.roles import Kernel
from erg.samplers import DiscreteLangevin, GibbsWithGradients, Metropolis
from erg.samplers.discrete.sites import other
from tests.exact.discrete_spaces import WORLDS, imbalance, informed_matrix, langevin_matrix, matrix_of
from tests.statistical.test_discrete import SIGMAS, departure


class NoReverse(GibbsWithGradients):
    """The reverse probability left out: q(x'|x) and q(x|x') taken as equal."""

    def log_prob(self, source, target):
        return torch.zeros_like(source.energy)


class WrongBalance(DiscreteLangevin):
    """Proposes at one balance, corrects for another."""

    def log_prob(self, source, target):
        return DiscreteLangevin(self.step_size, 0.5, self.support).log_prob(source, target)


class SpinsAsBits(DiscreteLangevin):
    """A spin's change taken as long as a bit's: half the gradient difference, a quarter of the length."""

    def on(self, support):
        return super().on(support).unchecked(4 * self.step_size, self.balance / 2, support)


@dataclass(frozen=True)
class AlwaysFlips(Kernel):
    """Gibbs that takes the other value of a site whenever it is the likelier one, and never the less likely."""

    def init(self, energy, x):
        return evaluate_energy(energy, x)

    def step(self, energy, state, rng):
        site = (draws.uniform(state.energy, rng) * state.x.shape[1]).long()
        chosen = torch.arange(state.x.shape[1]) == site[:, None]
        there = evaluate_energy(energy, torch.where(chosen, other(state.x, energy.support), state.x))
        return there, torch.ones_like(state.energy)


ADJUSTED = {
    "reverse probability missing": Metropolis(NoReverse()),
    "corrected for another balance": Metropolis(WrongBalance(2.0, 0.9)),
}


@pytest.mark.parametrize("bug", ADJUSTED)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_wrong_correction_is_rejected(bug, world, rng):
    assert departure(ADJUSTED[bug], world, rng) > SIGMAS


@pytest.mark.parametrize("world", [WORLDS["binary"], WORLDS["spin"]], ids=["binary", "spin"])
def test_gibbs_that_always_flips_is_rejected(world, rng):
    assert departure(AlwaysFlips(), world, rng) > SIGMAS


def test_spins_taken_as_bits_are_noticed():
    """The correction would hide it: the law is right, the proposal is not the one that was promised."""
    world = WORLDS["spin"]
    q = matrix_of(SpinsAsBits(0.9), world, adjusted=False)
    assert (q - langevin_matrix(world, 0.9, 0.5)).abs().max() > 1e-2


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_enumeration_notices_a_matrix_without_its_correction(world):
    for q in (informed_matrix(world), langevin_matrix(world, 2.3, 0.8)):
        assert imbalance(world, q) > 1e-4
