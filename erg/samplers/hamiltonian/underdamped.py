r"""Underdamped Langevin dynamics: Hamiltonian motion with friction and the noise that balances it.

.. math:: dx = v\,dt, \qquad dv = -\nabla E\,dt - \gamma v\,dt + \sqrt{2\gamma}\,dW

leaves :math:`e^{-E(x) - v^\top v / 2}` invariant. Momentum carries a chain across flat directions for a time
of about :math:`1/\gamma`, where overdamped Langevin wanders. A step of length h is split into kicks B, drifts A
and an Ornstein-Uhlenbeck step O in the middle, each of which is solved exactly: BAOAB.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.hamiltonian.hmc import drift, kick, slope
from erg.samplers.rules import check_support, support_of
from erg.support import Box, Real


class Moving(NamedTuple):
    """Where each chain is and how it moves.

    Attributes:
        here: The position with its energy and gradient.
        velocity: Of the event's shape.
        started: Which rows have a velocity; the first step draws one.
    """

    here: Evaluated
    velocity: Float[Tensor, "batch *event"]
    started: Bool[Tensor, " batch"]

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

    The acceptance is 1 where the energy is finite and 0 where it is not.

    Args:
        step_size: h, in units of x; a number, or one per chain. Stable below 2 over the root of the largest
            curvature of E.
        friction: gamma, per unit of time; a number, or one per chain. One over the largest standard
            deviation is a good start.

    Raises:
        ValueError: If a setting is not positive.

    References:
        Leimkuhler & Matthews (2013), Rational construction of stochastic numerical methods for molecular
        sampling, arXiv:1203.5428

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import sample
        >>> sample(Underdamped(0.5, friction=1.0), Gaussian.standard(3), torch.zeros(4, 3), 20).shape
        torch.Size([4, 3])
    """

    step_size: float | Float[Tensor, " batch"]
    friction: float | Float[Tensor, " batch"]
    invariant: ClassVar[bool] = False
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=Underdamped)
        rows.positive("friction", self.friction, of=Underdamped)

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Moving:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        here = slope(energy, x)
        return Moving(here, torch.zeros_like(x), torch.zeros_like(here.energy, dtype=torch.bool))

    def step(self, energy: EnergyLike, state: Moving, rng: Rng) -> tuple[Moving, Float[Tensor, " batch"]]:
        """Kick, drift, noise, drift, kick."""
        here, support = state.here, support_of(energy)
        noise = draws.normal(here.x, rng)
        h = rows.spread(self.step_size, here.x)
        velocity = kick(rows.where(state.started, state.velocity, noise), here, h / 2)
        x, velocity = drift(here.x, velocity, h / 2, support=support)
        velocity = rows.where(state.started, self._damped(velocity, noise), velocity)
        x, velocity = drift(x, velocity, h / 2, support=support)
        here = slope(energy, x)
        return Moving(
            here, kick(velocity, here, h / 2), torch.ones_like(state.started)
        ), here.energy.isfinite().float()

    def _damped(self, velocity: Tensor, noise: Tensor) -> Tensor:
        kept = math.e ** (-self.friction * self.step_size)
        return rows.spread(kept, velocity) * velocity + rows.spread((1 - kept**2) ** 0.5, velocity) * noise


def underdamped(step_size: float | Float[Tensor, " batch"], friction: float | Float[Tensor, " batch"]) -> Underdamped:
    """Underdamped Langevin by BAOAB: one gradient per step, positions with a small bias; see `Underdamped`."""
    return Underdamped(step_size, friction)
