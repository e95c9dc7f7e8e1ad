r"""Microcanonical Monte Carlo with a Metropolis test: isokinetic trajectories that are accepted or rejected.

See `isokinetic` for the dynamics, and `mclmc` for the version without a test.
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
from erg.samplers.microcanonical.isokinetic import Flight, check_dimensions, fly, still, unit, work
from erg.samplers.rules import check_support, choose
from erg.samplers.tuning import moments
from erg.samplers.tuning.moments import Moments
from erg.samplers.tuning.search import check, first, fixed, lengthened, settings
from erg.support import Real

ACCEPTANCE = 0.9
JITTER = 0.3
# Isokinetic steps of a trajectory, at most: a row that has lost its way must not hold the others for ever.
MOST = 1000
# The length in units of the autocorrelation length.
REACH = 0.4


class AcceptanceSearch(NamedTuple):
    """What each row has learned about the settings it needs.

    Attributes:
        steps: Made so far.
        step_size: In use.
        length: In use.
        since: Steps since the step sizes began to be averaged.
        average: Of their logs.
        moments: Of the positions since the last change of `length`.
    """

    steps: Float[Tensor, " batch"]
    step_size: Float[Tensor, " batch"]
    length: Float[Tensor, " batch"]
    since: Float[Tensor, " batch"]
    average: Float[Tensor, " batch"]
    moments: Moments


class Tested(NamedTuple):
    """Where each chain is, and what it has learned.

    Attributes:
        at: The position with its energy and gradient.
        search: None where both settings are given.
    """

    at: Evaluated
    search: AcceptanceSearch | None

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.at.x


@dataclass(frozen=True)
class MAMS(Kernel):
    r"""The Metropolis-adjusted microcanonical sampler: the exact law, two gradients an isokinetic step.

    From a fresh direction a trajectory of :math:`n = \mathrm{round}(L / h)` isokinetic steps is accepted with
    probability

    .. math::
        a = \min\left(1, e^{-W}\right), \qquad
        W = E(x') - E(x) - \log\left|\frac{\partial (x', u')}{\partial (x, u)}\right|

    A length that never changes can come back to where it started, so each row draws its own
    step size, uniform in :math:`h\,(1 \pm 0.3)`, for each trajectory. Drawing the number of steps instead would
    make all rows wait for the longest, twice the mean; measured against that, a trajectory of fixed count
    costs the same gradients a row and none is wasted. Costs 2n gradients a step, the largest n if rows differ.

    A setting that is None is found by each row on its own, during its first `search` steps: the step
    size for an acceptance of 0.9, by stochastic approximation; the length first as the root of the summed variances,
    then as 0.4 times the autocorrelation length. Until then the law is only nearly kept. `adapted` gives a
    kernel with the medians over rows, fixed, and exact.

    A trajectory that ends at a non-finite energy is rejected; a row that starts at one takes the first finite end
    it is offered.

    Args:
        step_size: h, in units of x; a number, or one per chain.
        length: L, of a trajectory, in units of x; a number, or one per chain.
        search: Steps until the settings stay as they are.

    Raises:
        ValueError: If a setting is not positive; at `init`, if an event has fewer than two entries.
        TypeError: At `init`, if the energy does not live on `Real`.

    References:
        Robnik, Cohn-Gordon & Seljak (2025), Metropolis adjusted microcanonical Hamiltonian Monte Carlo,
        arXiv:2503.01707
        Robbins & Monro (1951), A stochastic approximation method, doi:10.1214/aoms/1177729586

    Example:
        >>> from erg.energies import Counted, Gaussian
        >>> from erg.samplers import sample
        >>> energy = Counted(Gaussian.standard(3))
        >>> sample(MAMS(0.5, length=1.5), energy, torch.zeros(4, 3), steps=10).shape
        torch.Size([4, 3])
        >>> energy.gradients  # one at the start, then ten trajectories of three steps
        61
    """

    step_size: float | Float[Tensor, " batch"] | None = None
    length: float | Float[Tensor, " batch"] | None = None
    search: int = 300
    moves_on: ClassVar[tuple[type, ...]] = (Real,)
    settles: ClassVar[bool] = True
    sought: ClassVar[tuple[str, ...]] = ("step_size", "length")

    def __post_init__(self) -> None:
        check(self)
        # A number of steps, not a setting: while a step is traced for compilation the settings are tensors.
        size, length = self.step_size, self.length
        count = None
        if isinstance(size, float | int) and isinstance(length, float | int):
            count = _count(size, length)
        object.__setattr__(self, "_count", count)
        # A row that still learns depends on its past by more than its position.
        object.__setattr__(self, "invariant", self.step_size is not None and self.length is not None)

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Tested:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        check_dimensions(x, of=MAMS)
        return Tested(slope(energy, x), self._start(x))

    def step(self, energy: EnergyLike, state: Tested, rng: Rng) -> tuple[Tested, Float[Tensor, " batch"]]:
        """One trajectory, one decision per row."""
        start = state.at
        step_size, length = settings(self, state.search, state.x)
        flight = self._fly(energy, start, step_size, length, rng)
        probability = _probability(start, flight)
        accepted = draws.uniform(probability, rng) < probability
        at = choose(accepted, flight.at, start)
        search = state.search and self._learned(state.search, at.x, probability, start.energy.isfinite())
        return Tested(at, search), probability

    def adapted(self, state: Any) -> "MAMS":
        """The kernel with the step size and length that the rows of `state` found: their medians."""
        found = state.search
        return self if found is None else fixed(self, {"step_size": found.step_size, "length": found.length})

    def _fly(self, energy: EnergyLike, start: Evaluated, step_size: Tensor, length: Tensor, rng: Rng) -> Flight:
        u = draws.uniform(step_size, rng)
        direction = unit(draws.normal(still(start.x), rng))
        size = step_size * (1 + JITTER * (2 * u - 1))
        flight = Flight(start, direction, torch.zeros_like(step_size))
        count: int | None = self._count  # type: ignore[attr-defined]
        if count is not None:
            for _ in range(count):
                flight = fly(energy, flight, size)
            return flight
        counts = (length / step_size).round().clamp(1, MOST)
        for done in range(int(counts.max()) if len(counts) else 0):
            flight = _where(counts > done, fly(energy, flight, size), flight)
        return flight

    def _start(self, x: Tensor) -> AcceptanceSearch | None:
        if self.step_size is not None and self.length is not None:
            return None
        step_size, length = first(self.step_size, self.length, x, guess=x[:1].numel() ** 0.5 / 4)
        zero = torch.zeros_like(step_size)
        return AcceptanceSearch(zero, step_size, length, zero, step_size.log(), moments.nothing(x))

    def _learned(self, search: AcceptanceSearch, x: Tensor, acceptance: Tensor, inside: Tensor) -> AcceptanceSearch:
        """What a row knows after one more step; nothing changes when the search is over."""
        steps = search.steps + 1
        going = steps <= self.search
        if self.step_size is None:
            going_on = going & inside
            early, half, over = steps <= self.search // 5, steps == self.search // 2, steps == self.search
            search = _resized(search, acceptance, going_on, early=early, anew=half, over=over)
        if self.length is None:
            search = lengthened(search, steps, x, going, total=self.search, unit=REACH * search.length)
        return search._replace(steps=steps)


def mams(
    step_size: float | Float[Tensor, " batch"] | None = None, length: float | Float[Tensor, " batch"] | None = None
) -> MAMS:
    """The Metropolis-adjusted microcanonical sampler: the exact law, tunes itself; see `MAMS`."""
    return MAMS(step_size, length)


def _count(step_size: float, length: float) -> int:
    return min(max(1, round(length / step_size)), MOST)


def _where(going: Tensor, new: Flight, old: Flight) -> Flight:
    return Flight(
        choose(going, new.at, old.at),
        rows.where(going, new.direction, old.direction),
        torch.where(going, new.squeezed, old.squeezed),
    )


def _probability(start: Evaluated, flight: Flight) -> Float[Tensor, " batch"]:
    log_ratio = torch.where(start.energy.isfinite(), -work(start, flight), torch.inf)
    return torch.where(flight.finite, log_ratio.exp().clamp(max=1.0), 0.0).nan_to_num(nan=0.0)


def _resized(
    search: AcceptanceSearch, acceptance: Tensor, going: Tensor, *, early: Tensor, anew: Tensor, over: Tensor
) -> AcceptanceSearch:
    """Great strides at first, then Robbins-Monro steps of the log step size, and their average in the end."""
    since = torch.where(early, 0.0, search.since + 1)
    missed = acceptance - ACCEPTANCE
    stride = torch.where(early, 0.4 * missed.sign(), 2 / (since + 5) ** 0.6 * missed)
    log = search.step_size.log() + stride
    average = torch.where(early, log, search.average + since.clamp(min=1) ** -0.75 * (log - search.average))
    kept = torch.where(anew | over, average, log).exp()
    return search._replace(
        step_size=torch.where(going, kept, search.step_size),
        since=torch.where(going, torch.where(anew, 0.0, since), search.since),
        average=torch.where(going, average, search.average),
    )
