r"""Microcanonical Langevin: isokinetic flight whose direction is slowly forgotten, without a Metropolis test.

A particle at unit speed crosses the typical set where a random walk would diffuse, and a little noise in its
direction makes it forget where it came from after a length L. See `isokinetic` for the dynamics, and `mams` for
the version with a Metropolis test.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.hamiltonian.hmc import slope
from erg.samplers.microcanonical import moments
from erg.samplers.microcanonical.isokinetic import Flight, check_dimensions, fly, refreshed, still, work
from erg.samplers.microcanonical.moments import Moments
from erg.samplers.microcanonical.search import BLOCKS, first, fixed, lengthened, settings
from erg.samplers.rules import check_support, choose
from erg.support import Real

# Of the error of a step per dimension; the step grows as its sixth root.
ERROR = 5e-4
# How many steps the estimate of the best step size remembers.
MEMORY = 150
# L in units of the autocorrelation length.
FORGET = 0.4


class Search(NamedTuple):
    """What each row has learned about the settings it needs.

    Attributes:
        steps: Made so far.
        step_size: In use.
        length: In use.
        ceiling: Four fifths of the smallest step size that led to a non-finite energy.
        weight: Of the remembered errors.
        errors: Their weighted sum, as they would be at the step size in use.
        moments: Of the positions since the last change of `length`.
    """

    steps: Float[Tensor, " batch"]
    step_size: Float[Tensor, " batch"]
    length: Float[Tensor, " batch"]
    ceiling: Float[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    errors: Float[Tensor, " batch"]
    moments: Moments


class Gliding(NamedTuple):
    """Where each chain is, which way it goes, and what it has learned.

    Attributes:
        at: The position with its energy and gradient.
        direction: Of unit length; 0 before the first step.
        search: None where both settings are given.
    """

    at: Evaluated
    direction: Float[Tensor, "batch *event"]
    search: Search | None

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

    def __post_init__(self) -> None:
        for name in ("step_size", "length"):
            if getattr(self, name) is not None:
                rows.positive(name, getattr(self, name), of=MCLMC)
        if self.search < 10 * BLOCKS:
            raise ValueError(f"MCLMC needs a search of {10 * BLOCKS} steps or more, but got {self.search}.")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Gliding:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        check_dimensions(x, of=MCLMC)
        return Gliding(slope(energy, x), still(x), self._start(x))

    def step(self, energy: EnergyLike, state: Gliding, rng: Rng) -> tuple[Gliding, Float[Tensor, " batch"]]:
        """Forget a little, fly one step."""
        start = state.at
        step_size, length = settings(self, state.search, state.x)
        direction = refreshed(state.direction, draws.normal(state.direction, rng), (-step_size / length).exp())
        flight = fly(energy, Flight(start, direction, torch.zeros_like(step_size)), step_size)
        inside, good = start.energy.isfinite(), flight.finite
        at = choose(good, flight.at, start)
        back = rows.spread(-inside.to(direction.dtype), direction) * direction
        search = state.search and self._learned(state.search, at.x, good, work(start, flight), inside)
        return Gliding(at, rows.where(good, flight.direction, back), search), good.float()

    def adapted(self, state: Gliding) -> "MCLMC":
        """The kernel with the step size and length that the rows of `state` found: their medians."""
        return fixed(self, state.search)

    def _start(self, x: Tensor) -> Search | None:
        if self.step_size is not None and self.length is not None:
            return None
        step_size, length = first(self, x)
        zero = torch.zeros_like(step_size)
        return Search(zero, step_size, length, zero + torch.inf, zero, zero, moments.nothing(x))

    def _learned(self, search: Search, x: Tensor, good: Tensor, work: Tensor, inside: Tensor) -> Search:
        """What a row knows after one more step; nothing changes when the search is over."""
        steps = search.steps + 1
        going = steps <= self.search
        if self.step_size is None:
            search = _resized(search, work, good, going & inside, entries=x[0].numel() if len(x) else 1)
        if self.length is None:
            search = lengthened(search, steps, x, going, total=self.search, unit=FORGET * search.step_size)
        return search._replace(steps=steps)


def mclmc(
    step_size: float | Float[Tensor, " batch"] | None = None, length: float | Float[Tensor, " batch"] | None = None
) -> MCLMC:
    """Microcanonical Langevin Monte Carlo: two gradients per step, a small bias, tunes itself; see `MCLMC`."""
    return MCLMC(step_size, length)


def _resized(search: Search, work: Tensor, good: Tensor, going: Tensor, *, entries: int) -> Search:
    """The step size whose error is `ERROR` a dimension, from errors that count less the further off they are."""
    size = search.step_size
    ratio = (work.square() / (entries * ERROR)).clamp(1e-8, 1e30)
    trust = (-0.5 * (ratio.log() / 9).square()).exp()
    decay = (MEMORY - 1) / (MEMORY + 1)
    weight = torch.where(good, decay * search.weight + trust, search.weight)
    errors = torch.where(good, decay * search.errors + trust * ratio.nan_to_num(nan=1.0), search.errors)
    ceiling = torch.where(good, search.ceiling, (0.8 * size).minimum(search.ceiling))
    wanted = torch.where(weight > 0, size * (weight / errors) ** (1 / 6), size)
    step_size = torch.where(going, torch.where(good, wanted, size).minimum(ceiling), size)
    return search._replace(
        step_size=step_size,
        ceiling=torch.where(going, ceiling, search.ceiling),
        weight=torch.where(going, weight, search.weight),
        errors=torch.where(going, errors * (step_size / size) ** 6, search.errors),
    )
