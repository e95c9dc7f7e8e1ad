"""Would the statistical test notice? Hamiltonian samplers with published or plausible bugs must be rejected."""

from dataclasses import dataclass

import pytest
import torch

from erg import draws, rows
from erg.energies import evaluate
from erg.roles import Kernel
from erg.samplers import nuts, underdamped
from erg.samplers.hamiltonian import nuts as no_u_turn
from erg.samplers.hamiltonian import tree
from erg.samplers.hamiltonian.hmc import kinetic, leapfrog, slope
from erg.samplers.rules import choose
from erg.support import Box, Real
from tests.statistical.laws import CHAINS, SIGMAS, TARGETS, departures


def unturned(energy, here, momentum, size):
    return leapfrog(energy, here, momentum, size, support=Real())


def late_kick(energy, here, momentum, size):
    """A whole kick in front of the drift: keeps volume, does not run backwards."""
    x = here.x + size * (momentum - size * here.gradient)
    return slope(energy, x), momentum - size * here.gradient


def no_last_kick(energy, here, momentum, size):
    momentum = momentum - size / 2 * here.gradient
    return slope(energy, here.x + size * momentum), momentum


def difference(before, after):
    return before - after


def reversed_difference(before, after):
    return after - before


@dataclass(frozen=True)
class Plain(Kernel):
    """HMC with parts that can be broken."""

    step_size: float = 0.7
    leapfrogs: int = 3
    integrate: object = unturned
    log_ratio: object = difference
    refresh: float = 1.0
    kinetic: float = 1.0
    rescue: bool = False
    project: bool = False

    def init(self, energy, x):
        return evaluate(energy, x)

    def step(self, energy, state, rng):
        momentum = self.refresh * draws.normal(state.x, rng)
        target, moved = state, momentum
        for _ in range(self.leapfrogs):
            target, moved = self.integrate(energy, target, moved, self.step_size)
        if self.project and isinstance(energy.support, Box):
            target = evaluate(energy, target.x.clamp(energy.support.low, energy.support.high))
        ratio = self.log_ratio(
            state.energy + self.kinetic * kinetic(momentum), target.energy + self.kinetic * kinetic(moved)
        )
        accepted = draws.uniform(ratio, rng).log() < ratio
        after = choose(accepted, target, state)
        if self.rescue:  # the published one: states of NaN energy are set to (almost) zero and accepted
            lost = target.energy.isnan()
            after = after._replace(x=rows.where(lost, torch.full_like(after.x, 1e-6), after.x))
        return after, accepted.float()


BROKEN = {
    "NaN set to zero and accepted": (Plain(rescue=True), "half_line"),
    "momentum not refreshed": (Plain(refresh=0.0), "gaussian"),
    "momentum too small": (Plain(refresh=0.7), "gaussian"),
    "energy sign wrong": (Plain(log_ratio=reversed_difference), "gaussian"),
    "kinetic energy left out": (Plain(kinetic=0.0), "gaussian"),
    "kinetic energy doubled": (Plain(kinetic=2.0), "gaussian"),
    "not reversible": (Plain(integrate=late_kick), "gaussian"),
    "last kick left out": (Plain(integrate=no_last_kick), "gaussian"),
    "always accepted": (Plain(log_ratio=lambda before, after: torch.zeros_like(after)), "gaussian"),
    "projected onto the box": (Plain(project=True), "slope"),
    "box ignored": (Plain(), "slope"),
    "underdamped at a large step is not exact": (underdamped(0.9, 1.0), "gumbel"),
}


@pytest.mark.parametrize("bug", BROKEN)
def test_a_broken_kernel_is_rejected(bug):
    kernel, target = BROKEN[bug]
    found = departures(kernel, TARGETS[target]((2,)), seed=1)
    assert max(found.values()) > SIGMAS, found


@pytest.mark.parametrize("target", ["gaussian", "gumbel", "half_line"])
def test_the_frame_of_the_broken_kernels_is_itself_right(target):
    found = departures(Plain(), TARGETS[target]((2,)), seed=1)
    assert max(found.values()) < SIGMAS, found


def fresh_jitter_each_leapfrog(energy, here, momentum, size):
    """A step size that depends on where one is."""
    return leapfrog(energy, here, momentum, size * (1 + 0.5 * here.x.sum(1).sin()), support=Real())


def test_a_step_size_that_depends_on_the_state_is_rejected():
    found = departures(Plain(integrate=fresh_jitter_each_leapfrog), TARGETS["gumbel"]((2,)), seed=1)
    assert max(found.values()) > SIGMAS, found


def last_leaf(u, probability):
    return torch.ones_like(u, dtype=torch.bool), u


def unweighted_leaf(u, probability):
    """A fair coin at every leaf but the first."""
    chance = torch.where(probability == 1, 1.0, 0.5)
    picked = u < chance
    return picked, torch.where(picked, u / chance, (u - chance) / (1 - chance))


def careless(kernel, energy, field, branch, stretch, *, event):
    """The second leaf of a pair, without asking whether the pair turns."""
    return tree._longer(kernel, energy, field, branch, event=event)


def open_ended(branch, left, middle):
    """Longer stretches are not asked either."""
    return branch


def kept(before, branch, first, forwards, u, *, several):
    """A branch that turned inside counts as whole; the tree stops there all the same."""
    whole = branch._replace(growing=before.growing & ~branch.diverged)
    after = tree.joined(before, whole, first, forwards, u, several=several)
    return after._replace(growing=after.growing & branch.growing)


def one_sided(before, branch, first, forwards, u, *, several):
    """The new half is always preferred."""
    return tree.joined(before, branch, first, forwards, torch.zeros_like(u), several=several)


TREE_BUGS = {
    "the last leaf of a branch": ({(tree, "_pick"): last_leaf}, "gumbel"),
    "leaves without weights": ({(tree, "_pick"): unweighted_leaf}, "gaussian"),
    "no turns inside of a branch": (
        {(no_u_turn, "second_leaf"): careless, (no_u_turn, "closed"): open_ended},
        "gaussian",
    ),
    "a branch that turned is kept": ({(no_u_turn, "joined"): kept}, "gaussian"),
    "always to the new half": ({(no_u_turn, "joined"): one_sided}, "gumbel"),
}


def tree_departure(target: str) -> float:
    """The largest departure in one dimension, where trees turn and end in many ways."""
    found = departures(nuts(0.9, max_depth=3), TARGETS[target]((1,)), seed=1, chains=CHAINS // 2)
    return max(found.values())


@pytest.mark.parametrize("bug", TREE_BUGS)
def test_a_broken_tree_is_rejected(bug, monkeypatch):
    changes, target = TREE_BUGS[bug]
    for (place, name), broken in changes.items():
        monkeypatch.setattr(place, name, broken)
    assert tree_departure(target) > SIGMAS


@pytest.mark.parametrize("target", ["gaussian", "gumbel"])
def test_the_tree_that_was_broken_is_itself_right(target):
    assert tree_departure(target) < SIGMAS
