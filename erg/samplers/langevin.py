r"""Moves along the gradient: Langevin, its image recipe, and descent.

Overdamped Langevin dynamics :math:`dx = -\nabla E\,dt + \sqrt 2\,dW` leaves exp(-E) invariant. One
Euler step of length h is the proposal; descent is its limit at temperature zero.

The image recipe "step a, noise s" moves by :math:`-a \nabla E + s\,\xi`. That is Langevin with
h = a T on the tempered energy E / T at the temperature

.. math:: T = \frac{s^2}{2a},

so "step 10, noise 0.005" samples at T = 1.25e-6: close to descent, with just enough noise to keep
chains apart. `temperature` converts.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import Evaluated, Tuning
from erg.samplers.rules import Metropolis, Unadjusted, precise
from erg.support import Box, Real


@dataclass(frozen=True)
class Langevin:
    r"""Proposes one Euler step of overdamped Langevin dynamics.

    .. math:: x' = x - h \nabla E(x) + \sqrt{2h}\,\xi, \qquad \xi \sim \mathcal N(0, I)

    Unadjusted, its stationary law differs from exp(-E) by O(h). Under `Metropolis` the law is exact.

    Args:
        step_size: h, in squared units of x; a number, or one per chain. Stable below 2 over the
            largest curvature of E.

    Raises:
        ValueError: If `step_size` is not positive.

    References:
        Roberts & Tweedie (1996), Exponential convergence of Langevin distributions, doi:10.2307/3318418
        Roberts & Rosenthal (1998), Optimal scaling of discrete approximations to Langevin diffusions,
        doi:10.1111/1467-9868.00123 (the acceptance that is best under `Metropolis`)
    """

    step_size: float | Float[Tensor, " batch"]
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    needs_gradient: ClassVar[bool] = True
    tuning: ClassVar[Tuning] = Tuning("step_size", acceptance=0.574)

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=Langevin)

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One candidate per row."""
        noise = draws.normal(source.x, rng)
        h = rows.spread(self.step_size, source.x)
        return (self._mean(source) + noise * (2 * h) ** 0.5).to(source.x.dtype)

    def log_prob(self, source: Evaluated, target: Evaluated) -> Float[Tensor, " batch"]:
        """log q(target | source), up to a constant, in float32 or better."""
        return -rows.total((precise(target.x) - self._mean(source)).square()) / (4 * self.step_size)

    def _mean(self, source: Evaluated) -> Tensor:
        assert source.gradient is not None  # the rule evaluates gradients because needs_gradient is set
        x = precise(source.x)
        return x - rows.spread(self.step_size, x) * precise(source.gradient)


@dataclass(frozen=True)
class ImageLangevin:
    r"""The image recipe: separate step and noise, a clamped gradient, pixels kept in a box.

    .. math:: x' = \mathrm{box}\left(x - a\,\mathrm{clip}_c(\nabla E(x)) + s\,\xi\right)

    It has no density (the box piles mass on its faces), so it cannot be Metropolis-corrected.

    Args:
        step_size: a.
        noise: s, the standard deviation of the noise, in units of x. 0 is allowed.
        clip: c, the largest absolute value of a gradient entry; None leaves gradients alone.
        box: (low, high) for every entry; None leaves states alone.

    Raises:
        ValueError: If a size is not positive, or the box is empty.

    References:
        Nijkamp et al. (2019), On the anatomy of MCMC-based maximum likelihood learning, arXiv:1903.12370
        Du & Mordatch (2019), Implicit generation and generalization in energy-based models, arXiv:1903.08689
    """

    step_size: float
    noise: float
    clip: float | None = None
    box: tuple[float, float] | None = None
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=ImageLangevin)
        rows.numbers({"noise": self.noise}, of="ImageLangevin")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"ImageLangevin needs a finite noise of 0 or more, but got {self.noise}.")
        if self.clip is not None:
            rows.positive("clip", self.clip, of=ImageLangevin)
        if self.box is not None:
            Box(*self.box)

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One candidate per row."""
        gradient = source.gradient
        assert gradient is not None  # the rule evaluates gradients because needs_gradient is set
        if self.clip is not None:
            gradient = gradient.clamp(-self.clip, self.clip)
        x = source.x - self.step_size * gradient
        # While a step is traced for compilation its settings are tensors; zero stays a number.
        if isinstance(self.noise, Tensor) or self.noise > 0:
            x = x + self.noise * draws.normal(x, rng)
        return x if self.box is None else x.clamp(*self.box)


@dataclass(frozen=True)
class Descent:
    r"""Goes downhill: :math:`x' = x - h \nabla E(x)`. Langevin at temperature zero; finds modes.

    Args:
        step_size: h, in squared units of x.

    Raises:
        ValueError: If `step_size` is not positive.
    """

    step_size: float | Float[Tensor, " batch"]
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=Descent)

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """The one point downhill of each row; draws nothing."""
        assert source.gradient is not None  # the rule evaluates gradients because needs_gradient is set
        return source.x - rows.spread(self.step_size, source.x) * source.gradient


def ula(step_size: float | Float[Tensor, " batch"]) -> Unadjusted:
    """The unadjusted Langevin algorithm: one gradient per step, a law biased by O(step_size)."""
    return Unadjusted(Langevin(step_size))


def mala(step_size: float | Float[Tensor, " batch"]) -> Metropolis:
    """The Metropolis-adjusted Langevin algorithm: one gradient per step, the exact law."""
    return Metropolis(Langevin(step_size))


def sgld(
    step_size: float, noise: float, clip: float | None = None, box: tuple[float, float] | None = None
) -> Unadjusted:
    """The image recipe as a kernel; see `ImageLangevin`.

    Example:
        >>> sgld(10.0, 0.005, clip=0.03, box=(-1, 1)).move.noise
        0.005
    """
    return Unadjusted(ImageLangevin(step_size, noise, clip, box))


def descent(step_size: float | Float[Tensor, " batch"]) -> Unadjusted:
    """Gradient descent on the state as a kernel."""
    return Unadjusted(Descent(step_size))


def temperature(step_size: float, noise: float) -> float:
    r"""The temperature :math:`T = s^2 / (2a)` at which "step a, noise s" is Langevin dynamics.

    Example:
        >>> temperature(step_size=10.0, noise=0.005)
        1.25e-06
    """
    return noise**2 / (2 * step_size)
