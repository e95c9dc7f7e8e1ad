r"""Microcanonical Langevin: isokinetic flight whose direction is slowly forgotten, without a Metropolis test.

A particle at unit speed crosses the typical set where a random walk would diffuse, and a little noise in its
direction makes it forget where it came from after a length L. See `isokinetic` for the dynamics, and `mams` for
the version with a Metropolis test.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.hamiltonian.hmc import slope
from erg.samplers.microcanonical.isokinetic import Flight, check_dimensions, fly, refreshed, still, work
from erg.samplers.rules import check_support, choose
from erg.samplers.tuning.search import check, fixed, lengthened, settings
from erg.samplers.tuning.work import WorkSearch, beyond_rounding, resized, started
from erg.support import Real

# Of the error of a step per dimension; the step grows as its sixth root.
ERROR = 5e-4
# L in units of the autocorrelation length.
FORGET = 0.4


class Gliding(NamedTuple):
    """Where each chain is, which way it goes, and what it has learned.

    Attributes:
        at: The position with its energy and gradient.
        direction: Of unit length; 0 before the first step.
        search: None where both settings are given.
    """

    at: Evaluated
    direction: Float[Tensor, "batch *event"]
    search: WorkSearch | None

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.at.x


@dataclass(frozen=True)
class MCLMC(Kernel):
    r"""Microcanonical Langevin Monte Carlo. Two gradients a step, no rejections, a small bias.

    .. math:: u \leftarrow \frac{c\,u + \sqrt{(1 - c^2)/d}\;\xi}{\|\cdot\|}, \quad c = e^{-h/L}, \qquad
              (x, u) \leftarrow \text{one isokinetic step of size } h

    The noise keeps the law exactly; the bias is that of the step, O(h^2). At the step size that the kernel
    finds for itself the mean squared work of a step, 0 for exact dynamics, is 0.0005 a dimension. `MAMS`
    has no bias.

    A setting that is None is found by each row on its own, during its first `search` steps: the step
    size from the error of the steps, whose square grows as :math:`h^6`; the length first as the root of the
    summed variances, then as 0.4 h times the autocorrelation time of the positions. `adapted` gives a kernel with
    the medians over rows, fixed.

    A step to a non-finite energy is not made: the row stays, turns around, and its acceptance is 0
    instead of 1. A row that starts at one flies straight, in a new direction a step, until it finds a finite one.

    Args:
        step_size: h, in units of x; a number, or one per chain.
        length: L, in units of x, after which the direction is forgotten; a number, or one per chain.
        search: Steps until the settings stay as they are.

    Raises:
        ValueError: If a setting is not positive; at `init`, if an event has fewer than two entries.
        TypeError: At `init`, if the energy does not live on `Real`.

    References:
        Robnik, De Luca, Silverstein & Seljak (2023), Microcanonical Hamiltonian Monte Carlo, arXiv:2212.08549
        Robnik & Seljak (2023), Fluctuation without dissipation: microcanonical Langevin Monte Carlo,
        arXiv:2303.18221

    Example:
        >>> from erg.energies import Counted, Gaussian
        >>> from erg.samplers import sample
        >>> energy = Counted(Gaussian.standard(3))
        >>> sample(MCLMC(0.5, length=2.0), energy, torch.zeros(4, 3), steps=10).shape
        torch.Size([4, 3])
        >>> energy.gradients  # one at the start, two a step
        21
    """

    step_size: float | Float[Tensor, " batch"] | None = None
    length: float | Float[Tensor, " batch"] | None = None
    search: int = 2000
    moves_on: ClassVar[tuple[type, ...]] = (Real,)
    invariant: ClassVar[bool] = False
    sought: ClassVar[tuple[str, ...]] = ("step_size", "length")

    def __post_init__(self) -> None:
        check(self)

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Gliding:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        check_dimensions(x, of=MCLMC)
        guess = x[:1].numel() ** 0.5 / 4
        return Gliding(slope(energy, x), still(x), started(self.step_size, self.length, x, guess=guess))

    def step(self, energy: EnergyLike, state: Gliding, rng: Rng) -> tuple[Gliding, Float[Tensor, " batch"]]:
        """Forget a little, fly one step."""
        start = state.at
        step_size, length = settings(self, state.search, state.x)
        direction = refreshed(state.direction, draws.normal(state.direction, rng), (-step_size / length).exp())
        flight = fly(energy, Flight(start, direction, torch.zeros_like(step_size)), step_size)
        inside, good = start.energy.isfinite(), flight.finite
        # Of the same length each, trials from one place would never reach farther.
        at = choose(torch.where(inside, good, rows.finite(flight.at.x)), flight.at, start)
        back = rows.spread(-inside.to(direction.dtype), direction) * direction
        search = state.search and self._learned(state.search, at.x, good, _error(start, flight), inside)
        return Gliding(at, rows.where(good, flight.direction, back), search), good.float()

    def adapted(self, state: Any) -> "MCLMC":
        """The kernel with the step size and length that the rows of `state` found: their medians."""
        found = state.search
        return self if found is None else fixed(self, {"step_size": found.step_size, "length": found.length})

    def _learned(self, search: WorkSearch, x: Tensor, good: Tensor, work: Tensor, inside: Tensor) -> WorkSearch:
        """What a row knows after one more step; nothing changes when the search is over."""
        steps = search.steps + 1
        going = steps <= self.search
        if self.step_size is None:
            ratio = work.square() / (ERROR * x[0].numel() if len(x) else 1)
            search = resized(search, ratio, good, going & inside)
        if self.length is None:
            search = lengthened(search, steps, x, going, total=self.search, unit=FORGET * search.step_size)
        return search._replace(steps=steps)


def mclmc(
    step_size: float | Float[Tensor, " batch"] | None = None, length: float | Float[Tensor, " batch"] | None = None
) -> MCLMC:
    """Microcanonical Langevin Monte Carlo: two gradients per step, a small bias, tunes itself; see `MCLMC`."""
    return MCLMC(step_size, length)


def _error(start: Evaluated, flight: Flight) -> Float[Tensor, " batch"]:
    return beyond_rounding(work(start, flight), start.energy, flight.at.energy, flight.squeezed)
