r"""Underdamped Langevin dynamics: Hamiltonian motion with friction and the noise that balances it.

.. math:: dx = v\,dt, \qquad dv = -\nabla E\,dt - \gamma v\,dt + \sqrt{2\gamma}\,dW

leaves :math:`e^{-E(x) - v^\top v / 2}` invariant. Momentum carries a chain across flat directions for a time
of about :math:`1/\gamma`, where overdamped Langevin wanders. A step of length h is split into kicks B, drifts A
and an Ornstein-Uhlenbeck step O in the middle, each of which is solved exactly: BAOAB.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.hamiltonian.hmc import drift, kick, kinetic, slope
from erg.samplers.rules import check_support, choose, precise, projected, support_of
from erg.samplers.tuning.search import check, fixed, lengthened
from erg.samplers.tuning.work import WorkSearch, beyond_rounding, resized, started
from erg.support import Box, Real

# Of the squared work of a step per dimension; the step grows as its fifth to sixth root.
ERROR = 1e-3
# Nats of work in a step: it has lost its way, and a row that searches does not make it.
LOST = 1000.0
# 1 / gamma in units of the autocorrelation time.
FORGET = 0.5


class Moving(NamedTuple):
    """Where each chain is and how it moves.

    Attributes:
        here: The position with its energy and gradient.
        velocity: Of the event's shape.
        started: Which rows have a velocity; the first step draws one.
        search: What each row has learned; None where both settings are given.
    """

    here: Evaluated
    velocity: Float[Tensor, "batch *event"]
    started: Bool[Tensor, " batch"]
    search: WorkSearch | None

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.here.x


@dataclass(frozen=True)
class Underdamped(Kernel):
    r"""Unadjusted underdamped Langevin by the BAOAB splitting. One gradient a step.

    .. math::
        v_1 &= v - \tfrac h2 \nabla E(x), & x_1 &= x + \tfrac h2 v_1, \\
        v_2 &= e^{-\gamma h} v_1 + \sqrt{1 - e^{-2\gamma h}}\,\xi, & x' &= x_1 + \tfrac h2 v_2, \\
        v' &= v_2 - \tfrac h2 \nabla E(x').

    On a Gaussian the positions have the exact covariance at every stable h, whatever the friction; elsewhere
    their bias is O(h^2), and O(h^4) in the limit of high friction. Velocities are biased: for unit curvature
    their variance is :math:`1 - h^2/4`. In the first step of a chain the noise is the starting velocity, and
    there is no friction. On a `Box` the walls reflect: free flight between walls is still solved exactly, where
    a projection would pile mass onto the faces.

    A setting that is None is found by each row on its own, during its first `search` steps: the step size from
    the work of the steps,

    .. math:: W = E(x') + \frac{|v'|^2}2 - E(x) - \frac{|v|^2}2 - \left(\frac{|v_2|^2}2 - \frac{|v_1|^2}2\right),

    the energy that neither noise nor friction explains, 0 for exact dynamics, whose mean square shall be 0.001 a
    dimension. The friction is first one over the root of the mean variance, then of 0.5 h times the autocorrelation
    time of the positions. `adapted` gives a kernel with the medians over rows, fixed; `warmup` does all of it, and
    finds the scale of the entries. Nothing rejects a step: where a law has places much narrower than most, a few rows
    enter one too fast and are thrown far out; `mclmc` and `nuts` are safe there.

    The acceptance is 1 where the energy is finite and 0 where it is not: a row that has left for infinity shows
    there. While a row searches, a step to a non-finite energy, or of more than 1000 nats of work, is not made; the
    row stays, gets a new velocity, and its acceptance is 0.

    Args:
        step_size: h, in units of x; a number, or one per chain. Stable below 2 over the root of the largest
            curvature of E.
        friction: gamma, per unit of time; a number, or one per chain. One over the largest standard
            deviation is a good start.
        search: Steps until the settings stay as they are.

    Raises:
        ValueError: If a setting is not positive.

    References:
        Leimkuhler & Matthews (2013), Rational construction of stochastic numerical methods for molecular
        sampling, arXiv:1203.5428
        Sivak, Chodera & Crooks (2013), Using nonequilibrium fluctuation theorems to understand and correct errors in
        equilibrium and nonequilibrium discrete Langevin dynamics simulations, arXiv:1107.2967 (the work)

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import sample
        >>> sample(Underdamped(0.5, friction=1.0), Gaussian.standard(3), torch.zeros(4, 3), 20).shape
        torch.Size([4, 3])
    """

    step_size: float | Float[Tensor, " batch"] | None = None
    friction: float | Float[Tensor, " batch"] | None = None
    search: int = 2000
    invariant: ClassVar[bool] = False
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    sought: ClassVar[tuple[str, ...]] = ("step_size", "friction")

    def __post_init__(self) -> None:
        check(self)

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Moving:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        here = slope(energy, projected(energy, x))
        length = None if self.friction is None else 1 / self.friction
        search = started(self.step_size, length, x, guess=0.25)
        return Moving(here, torch.zeros_like(x), torch.zeros_like(here.energy, dtype=torch.bool), search)

    def step(self, energy: EnergyLike, state: Moving, rng: Rng) -> tuple[Moving, Float[Tensor, " batch"]]:
        """Kick, drift, noise, drift, kick."""
        here, support = state.here, support_of(energy)
        noise = draws.normal(here.x, rng)
        step_size, friction = self._settings(state)
        h = rows.spread(step_size, here.x)
        start = rows.where(state.started, state.velocity, noise)
        x, before = drift(here.x, kick(start, here, h / 2), h / 2, support=support)
        after = rows.where(state.started, _damped(before, noise, step_size, friction), before)
        x, velocity = drift(x, after, h / 2, support=support)
        there = slope(energy, x)
        velocity = kick(velocity, there, h / 2)
        moved = Moving(there, velocity, torch.ones_like(state.started), None)
        if state.search is None:
            return moved, there.energy.isfinite().float()
        gained = kinetic(velocity) - kinetic(start) - (kinetic(after) - kinetic(before))
        work = precise(there.energy) - precise(here.energy) + gained
        work = beyond_rounding(work, here.energy, there.energy, kinetic(start), kinetic(velocity))
        return self._searched(state, moved, work, noise)

    def adapted(self, state: Any) -> "Underdamped":
        """The kernel with the step size and friction that the rows of `state` found: their medians."""
        found = state.search
        return self if found is None else fixed(self, {"step_size": found.step_size, "friction": 1 / found.length})

    def _settings(self, state: Moving) -> tuple[Any, Any]:
        if state.search is None:
            return self.step_size, self.friction
        return state.search.step_size, 1 / state.search.length

    def _searched(
        self, state: Moving, moved: Moving, work: Tensor, noise: Tensor
    ) -> tuple[Moving, Float[Tensor, " batch"]]:
        """The step of rows that search, made where it can be, and what they know after it."""
        inside, there = state.here.energy.isfinite(), moved.here
        good = there.energy.isfinite() & rows.finite(there.x) & rows.finite(moved.velocity)
        made = torch.where(inside, good & (work < LOST), rows.finite(there.x))
        here = choose(made, there, state.here)
        assert state.search is not None  # the caller has looked
        search = self._learned(state.search, here.x, good & ~work.isnan(), work, inside)
        return Moving(here, rows.where(made, moved.velocity, noise), moved.started, search), (made & good).float()

    def _learned(self, search: WorkSearch, x: Tensor, good: Tensor, work: Tensor, inside: Tensor) -> WorkSearch:
        """What a row knows after one more step; nothing changes when the search is over."""
        steps, entries = search.steps + 1, x[0].numel() if len(x) else 1
        going = steps <= self.search
        if self.step_size is None:
            search = resized(search, work.square() / (ERROR * entries), good, going & inside)
        if self.friction is None:
            unit = FORGET * search.step_size
            search = lengthened(search, steps, x, going, total=self.search, unit=unit, speed=entries**0.5)
        return search._replace(steps=steps)


def underdamped(
    step_size: float | Float[Tensor, " batch"] | None = None, friction: float | Float[Tensor, " batch"] | None = None
) -> Underdamped:
    """Underdamped Langevin by BAOAB: one gradient per step, a small bias, tunes itself; see `Underdamped`."""
    return Underdamped(step_size, friction)


def _damped(velocity: Tensor, noise: Tensor, step_size: float | Tensor, friction: float | Tensor) -> Tensor:
    kept = math.e ** (-friction * step_size)
    return rows.spread(kept, velocity) * velocity + rows.spread((1 - kept**2) ** 0.5, velocity) * noise
