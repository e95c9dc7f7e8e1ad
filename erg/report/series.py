"""Series of logged numbers, kept small enough to draw however long the run was."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray


class Series(NamedTuple):
    """The values of one key in the order in which they were logged; not-a-number where a value was not finite."""

    steps: Float[ndarray, " points"]
    values: Float[ndarray, " points"]

    @property
    def non_finite(self) -> int:
        """How many values were NaN, infinite or missing."""
        return int((~np.isfinite(self.values)).sum())


class Band(NamedTuple):
    """A thinned series: the median of every stretch of steps between its smallest and its largest value."""

    steps: Float[ndarray, " stretches"]
    low: Float[ndarray, " stretches"]
    middle: Float[ndarray, " stretches"]
    high: Float[ndarray, " stretches"]


def thin(series: Series, stretches: int = 160) -> Band:
    """At most `stretches` medians with their extremes; a short series comes back as it is.

    Values that are not finite are left out, except that a stretch of nothing else leaves a gap.
    """
    order = np.argsort(series.steps, kind="stable")
    steps, values = series.steps[order], series.values[order].copy()
    values[~np.isfinite(values)] = np.nan
    if len(steps) <= stretches:
        return Band(steps, values, values, values)
    pieces = [piece for piece in np.array_split(np.arange(len(steps)), stretches) if len(piece)]
    rows = [_summary(steps[piece], values[piece]) for piece in pieces]
    return Band(*np.array(rows).T)


def limits(values: Float[ndarray, " points"], margin: float = 0.06) -> tuple[float, float] | None:
    """An axis range that a few wild values cannot squeeze the rest out of; None without a finite value."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(q) for q in np.quantile(values, (0.01, 0.99)))
    inner = inner_high - inner_low
    if inner > 0 and high - low > 6 * inner:
        low, high = max(low, inner_low - inner), min(high, inner_high + inner)
    reach = high - low
    if not reach > 1e-9 * max(abs(low), abs(high)):
        reach = max(abs(low), abs(high), 1e-12)
    return low - margin * reach, high + margin * reach


def _summary(
    steps: Float[ndarray, " points"], values: Float[ndarray, " points"]
) -> tuple[float, float, float, float]:
    finite = values[~np.isnan(values)]
    if len(finite) == 0:
        return float(np.median(steps)), np.nan, np.nan, np.nan
    return float(np.median(steps)), float(finite.min()), float(np.median(finite)), float(finite.max())
