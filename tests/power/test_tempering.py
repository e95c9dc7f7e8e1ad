"""Would the tests of tempering notice? Published and likely bugs must be rejected."""

from dataclasses import dataclass

import pytest
import torch

from erg.samplers import ReplicaExchange, TemperedTransitions, mala
from erg.samplers.tempering.rescaling import changed, energies_of, rescaling
from tests.statistical.laws import SIGMAS, TARGETS, departures
from tests.statistical.tempered import LADDER, rung_departures, unequal


class WrongSign(ReplicaExchange):
    """Replicas swapped with the wrong sign."""

    def _swap_probability(self, energies):
        return super()._swap_probability(-energies)


class TemperedTwice(ReplicaExchange):
    """The energies in the ratio are already divided by their temperatures."""

    def _swap_probability(self, energies):
        return super()._swap_probability(energies / torch.tensor(self.temperatures))


class AlwaysSwaps(ReplicaExchange):
    def _swap_probability(self, energies):
        return torch.ones_like(super()._swap_probability(energies))


class OneDecision(ReplicaExchange):
    """One accept decision for all chains."""

    def _swap_probability(self, energies):
        return super()._swap_probability(energies).mean(0, keepdim=True).expand(len(energies), -1)


class Stale(ReplicaExchange):
    """Positions swapped, the remembered energies and gradients left behind."""

    def _swap(self, inner, swapped, temperature, scale):
        return inner._replace(x=super()._swap(inner, swapped, temperature, scale).x)


class NotRescaled(ReplicaExchange):
    """What is remembered moves with the state but stays at the former temperature."""

    def _swap(self, inner, swapped, temperature, scale):
        moved = super()._swap(inner, swapped, torch.ones_like(temperature), torch.ones_like(scale))
        return moved._replace(x=super()._swap(inner, swapped, temperature, scale).x)


@pytest.mark.parametrize("broken", [WrongSign, TemperedTwice, AlwaysSwaps, OneDecision, Stale, NotRescaled])
def test_a_broken_swap_is_rejected(broken):
    found = {
        name: rung_departures(broken(mala(0.4), LADDER), name, (2,), seed=1, chains=8_000)
        for name in ("gaussian", "gumbel")
    }
    assert max(max(each.values()) for each in found.values()) > SIGMAS, found


@dataclass(frozen=True)
class ColdKernelInside(TemperedTransitions):
    """A move at T = 1 begins and ends the tour; the ratio takes the energies outside of both."""

    def _tour(self, energy, state, rng):
        cold, weight = self._view(energy, 1.0), 1 - 1 / self.temperatures[1]
        moved, _ = self.kernel.step(cold, state, rng)
        tour, log_ratio = super()._tour(energy, moved, rng)
        end, _ = self.kernel.step(cold, tour, rng)
        up, down = (energies_of(cold, a) - energies_of(cold, b) for a, b in ((state, moved), (tour, end)))
        return end, log_ratio + weight * (up + down)


@dataclass(frozen=True)
class ColdKernelAtTheEnd(TemperedTransitions):
    """The move at T = 1 that belongs after the test is made before it, at the end of the tour."""

    def _tour(self, energy, state, rng):
        cold, weight = self._view(energy, 1.0), 1 - 1 / self.temperatures[1]
        tour, log_ratio = super()._tour(energy, state, rng)
        end, _ = self.kernel.step(cold, tour, rng)
        return end, log_ratio + weight * (energies_of(cold, tour) - energies_of(cold, end))


@dataclass(frozen=True)
class UpOnly(TemperedTransitions):
    """The ratio of the way down left out."""

    def _tour(self, energy, state, rng):
        view, high = self._view(energy, self.temperatures[1]), self.temperatures[1]
        log_ratio = (1 - 1 / high) * energies_of(self._view(energy, 1.0), state)
        state, _ = self.kernel.step(view, changed(state, rescaling(1 / high, high**-0.5)), rng)
        state, _ = self.kernel.step(view, state, rng)
        return changed(state, rescaling(high, high**0.5)), log_ratio - log_ratio.mean()


@pytest.mark.parametrize("broken", [ColdKernelInside, ColdKernelAtTheEnd, UpOnly])
def test_a_broken_tour_is_rejected(broken):
    found = departures(broken(mala(0.2), (1.0, 4.0)), unequal(), seed=2)
    assert max(found.values()) > SIGMAS, found


def test_the_frame_of_the_broken_tours_is_itself_right():
    for target in (unequal(), TARGETS["gumbel"]((2,))):
        found = departures(TemperedTransitions(mala(0.2), (1.0, 4.0)), target, seed=2)
        assert max(found.values()) < SIGMAS
