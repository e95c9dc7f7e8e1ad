r"""Do chains from two kinds of start end in one law?

A chain cannot tell by itself that it has not been everywhere. Two groups of chains that start far apart, at data and
at noise, can: as long as their laws differ, at least one of them is not that of the model. `meeting` compares them
along low-dimensional summaries, over the second half of the run, in three ways:

- *shift*: the difference of the groups' means, and of their mean distances from the median (a difference in width),
  in standard deviations. Chains are independent and each has one mean over time, so the errors are honest however
  slowly chains mix. The groups are apart where a difference is both beyond chance (`CHANCE`, by Student's t) and
  worth mentioning (`TOLERANCE`: two halves so far apart have an R-hat of 1.01).
- *split R-hat* of all chains together: above `MIXED`, single chains have not seen the whole law yet, so groups that
  agree may agree only because their starts were spread alike.
- *drift* of the energy from the third to the fourth quarter of the run.

References:
    Nijkamp et al. (2019), On the anatomy of MCMC-based maximum likelihood learning of energy-based models,
    arXiv:1903.12370 (why models trained with short chains look right for the steps they were trained with, and not
    beyond)
    Margossian et al. (2024), Nested R-hat: assessing the convergence of Markov chain Monte Carlo when running many
    short chains, arXiv:2110.13017
"""

from enum import Enum
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg.estimate import Estimate
from erg.evaluation.convergence import Convergence, convergence

TOLERANCE = 0.3
CHANCE = 6e-5
MIXED = 1.05
STILL = 0.1
WINDOWS = 20
LOST = 0.1
LEAST_STEPS = 40
LEAST_CHAINS = 4


class Outcome(Enum):
    """What two groups of chains showed."""

    CONVERGED = "converged"
    """They meet, and every chain has seen the whole law."""
    SLOW = "slow"
    """They cannot be told apart, but single chains have not seen the whole law."""
    LATE = "late"
    """They are apart over the second half of the run, but no longer at its end."""
    APART = "apart"
    """They do not meet."""
    BROKEN = "broken"
    """Too many chains reached states or energies that are not finite."""


class Shift(NamedTuple):
    """How far the groups are apart along one summary, in standard deviations.

    Attributes:
        location: Mean of the second group minus that of the first.
        width: The same for the distance from the common median.
        apart: Whether either is beyond chance and beyond the tolerance.
    """

    location: Estimate
    width: Estimate
    apart: bool

    @property
    def largest(self) -> Estimate:
        """The one with the larger absolute value."""
        return max(self.location, self.width, key=lambda part: abs(part.value))


class Group(NamedTuple):
    """One group's energies, in nats; means over its chains.

    Attributes:
        start: At the start.
        end: Over the last quarter.
        drift: From the third to the last quarter.
        lost: How many chains came to values that are not finite; they are left out everywhere else.
        still: The share of chains that hardly moved in the second half: by a tenth of the width of all chains, root
            mean square over the summaries other than the energy. NaN where there is no such summary.
    """

    start: Estimate
    end: Estimate
    drift: Estimate
    lost: int
    still: Estimate


class Meeting(NamedTuple):
    """What a comparison of two groups of chains found.

    Attributes:
        outcome: In a word.
        shifts: One a summary, over the second half.
        after: Kept steps after which the groups could no longer be told apart, window by window; None if never.
        convergence: Of all chains together, over the second half, a number a summary.
        first: The energies of the first group.
        second: The energies of the second group.
    """

    outcome: Outcome
    shifts: tuple[Shift, ...]
    after: int | None
    convergence: Convergence | None
    first: Group
    second: Group


def meeting(
    first: Float[Tensor, "chains_a steps summaries"], second: Float[Tensor, "chains_b steps summaries"]
) -> Meeting:
    """Compare two groups of chains by summaries of every kept step, from the start on; the energy comes first.

    Args:
        first: Such as chains from data.
        second: Such as chains from noise.

    Raises:
        ValueError: If a group has fewer than four chains, or there are fewer than 40 steps or no summaries.

    Example:
        >>> rng = torch.Generator().manual_seed(0)
        >>> a, b = torch.randn(2, 16, 200, 1, generator=rng)
        >>> meeting(a, b).outcome.value, meeting(a, b + 2).outcome.value
        ('converged', 'apart')
    """
    _check(first, second)
    whole = [group.double().isfinite().flatten(1).all(1) for group in (first, second)]
    kept = [group[fine].double() for group, fine in zip((first, second), whole, strict=True)]
    lost = [int((~fine).sum()) for fine in whole]
    sound = min(map(len, kept)) >= LEAST_CHAINS and sum(lost) <= LOST * (len(first) + len(second))
    groups = [_group(group, gone, kept) for group, gone in zip(kept, lost, strict=True)]
    if not sound:
        return Meeting(Outcome.BROKEN, (), None, None, *groups)
    half = first.shape[1] // 2
    late = [group[:, half:] for group in kept]
    shifts, after = _shifts(*late), _meets_after(*kept)
    found = convergence(torch.cat(late))
    return Meeting(_outcome(shifts, after, found, half), shifts, after, found, *groups)


def _outcome(shifts: tuple[Shift, ...], after: int | None, found: Convergence, half: int) -> Outcome:
    if after is None:
        return Outcome.APART
    if any(shift.apart for shift in shifts):
        return Outcome.LATE if after > half else Outcome.APART
    # A summary that never changes has no R-hat, and nothing to be mixed.
    return Outcome.SLOW if bool((found.rhat > MIXED).any()) else Outcome.CONVERGED


def _shifts(first: Tensor, second: Tensor) -> tuple[Shift, ...]:
    """Of one stretch of steps, a summary each."""
    everything = torch.cat([first.flatten(0, 1), second.flatten(0, 1)])
    width = ((first.flatten(0, 1).var(0) + second.flatten(0, 1).var(0)) / 2).sqrt()
    median = everything.median(0).values
    located = [_difference(first, second, width), _difference((first - median).abs(), (second - median).abs(), width)]
    errors = _errors_by_chance(len(first) + len(second) - 2)

    def beyond(part: Estimate) -> bool:
        return abs(part.value) > max(TOLERANCE, errors * part.standard_error)

    return tuple(
        Shift(place, spread, beyond(place) or beyond(spread)) for place, spread in zip(*located, strict=True)
    )


def _difference(first: Tensor, second: Tensor, width: Tensor) -> list[Estimate]:
    """Second mean minus first in units of `width`; a chain's mean over time is one independent draw."""
    means = [group.mean(1) for group in (first, second)]
    difference = means[1].mean(0) - means[0].mean(0)
    error = sum((mean.var(0) / len(mean) for mean in means), torch.zeros_like(width)).sqrt()
    # Where nothing varies, equal means are no difference and any other is an infinite one.
    units = difference.where(difference == 0, difference / width), error.where(error == 0, error / width)
    return [Estimate(value, spread) for value, spread in zip(*(unit.tolist() for unit in units), strict=True)]


@cache
def _errors_by_chance(freedom: int) -> float:
    """How many standard errors a difference exceeds with probability `CHANCE` though there is none."""
    from scipy.stats import t

    return float(t.isf(CHANCE / 2, freedom))


def _meets_after(first: Tensor, second: Tensor) -> int | None:
    """The end of the last window in which the groups are apart; None if that is the last one of all."""
    steps = first.shape[1]
    bounds = [round(n * steps / WINDOWS) for n in range(WINDOWS + 1)]
    for n in reversed(range(WINDOWS)):
        stretch = slice(bounds[n], bounds[n + 1])
        if any(shift.apart for shift in _shifts(first[:, stretch], second[:, stretch])):
            return None if n == WINDOWS - 1 else bounds[n + 1]
    return 0


def _group(group: Tensor, lost: int, both: list[Tensor]) -> Group:
    energy, steps = group[..., 0], group.shape[1]
    if len(group) < 2:
        unknown = Estimate(float("nan"), float("nan"))
        return Group(unknown, unknown, unknown, lost, unknown)
    third, fourth = energy[:, steps // 2 : 3 * steps // 4].mean(1), energy[:, 3 * steps // 4 :].mean(1)
    return Group(
        Estimate.of_mean(energy[:, 0]),
        Estimate.of_mean(fourth),
        Estimate.of_mean(fourth - third),
        lost,
        Estimate.of_mean(_still(group[:, steps // 2 :, 1:], both).double()),
    )


def _still(late: Float[Tensor, "chains steps places"], both: list[Tensor]) -> Bool[Tensor, " chains"] | Tensor:
    if late.shape[2] == 0:
        return torch.full((len(late),), torch.nan)
    half = both[0].shape[1] // 2
    width = torch.cat([group[:, half:, 1:].flatten(0, 1) for group in both]).std(0)
    return late.var(1).mean(1) <= STILL**2 * width.square().mean()


def _check(first: Tensor, second: Tensor) -> None:
    if first.shape[1:] != second.shape[1:] or min(len(first), len(second)) < LEAST_CHAINS:
        raise ValueError(
            f"A comparison needs two groups of at least {LEAST_CHAINS} chains with the same steps and summaries, but "
            f"got shapes {tuple(first.shape)} and {tuple(second.shape)}; run as many steps of both."
        )
    if first.shape[1] < LEAST_STEPS or first.shape[2] < 1:
        raise ValueError(
            f"A comparison needs at least {LEAST_STEPS} steps and one summary, but got {first.shape[1]} and "
            f"{first.shape[2]}; run longer."
        )
