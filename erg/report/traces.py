"""How groups of chains went on, and how long they remember: one colour a group or quantity."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from erg.report.curves import label_ends, number_steps
from erg.report.numbers import short
from erg.report.series import limits
from erg.report.theme import colour, figure, svg

HEIGHT = 214.0
SHOWN = 3
SETTLED = 0.05
POINTS = 200


class Chains(NamedTuple):
    """A group of chains along one quantity."""

    label: str
    role: str
    values: Float[ndarray, "chains steps"]


class Memory(NamedTuple):
    """An autocorrelation with its standard error."""

    label: str
    role: str
    value: Float[ndarray, " lags"]
    error: Float[ndarray, " lags"]


def traces(name: str, steps: Float[ndarray, " steps"], groups: Sequence[Chains]) -> str:
    """Draw groups of chains over steps as an inline SVG element.

    Bands hold the central 90 % of a group, lines are medians, and the thin lines are single chains. The axis fits
    what comes after the first twentieth: where chains start may lie outside.

    Args:
        name: Names the plot to readers who cannot see it.
        steps: At which the chains were looked at.
        groups: Finite values, one or more chains each.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    drawing, axes = figure(HEIGHT, right=86.0)
    stride = -(-len(steps) // POINTS)
    steps, groups = steps[::stride], [group._replace(values=group.values[:, ::stride]) for group in groups]
    settled = int(SETTLED * len(steps))
    bands = [np.quantile(group.values, (0.05, 0.5, 0.95), axis=0) for group in groups]
    shown = [group.values[:SHOWN, settled:].ravel() for group in groups]
    reach = limits(np.concatenate([*(band[:, settled:].ravel() for band in bands), *shown]))
    if reach is not None:
        axes.set_ylim(*reach)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    number_steps(axes, (float(steps[0]), float(steps[-1])))
    for group, (low, middle, high) in zip(groups, bands, strict=True):
        tint = colour(group.role)
        axes.fill_between(steps, low, high, color=tint, alpha=0.16, linewidth=0)
        axes.plot(steps, group.values[:SHOWN].T, color=tint, linewidth=0.6, alpha=0.55)
        axes.plot(steps, middle, color=tint, linewidth=1.8, solid_joinstyle="round")
    ends = [(float(band[1, -1]), group.label, group.role) for group, band in zip(groups, bands, strict=True)]
    label_ends(axes, ends)
    return svg(drawing, name, f"{name}: " + ", ".join(group.label for group in groups))


def memories(name: str, lags: Float[ndarray, " lags"], lines: Sequence[Memory]) -> str:
    """Draw autocorrelations over lags with bands of two standard errors, as an inline SVG element.

    Args:
        name: Names the plot to readers who cannot see it.
        lags: In steps.
        lines: The autocorrelations.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    drawing, axes = figure(HEIGHT, right=86.0)
    lowest = min([0.0, *(float(np.nanmin(line.value)) for line in lines)])
    axes.set_ylim(max(lowest, -1.0) - 0.06, 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    number_steps(axes, (float(lags[0]), float(lags[-1])))
    axes.axhline(0.0, color=colour("muted"), linewidth=0.8)
    for line in lines:
        tint = colour(line.role)
        axes.fill_between(lags, line.value - 2 * line.error, line.value + 2 * line.error, color=tint, alpha=0.2,
                          linewidth=0)  # fmt: skip
        axes.plot(lags, line.value, color=tint, linewidth=1.8)
    label_ends(axes, [(float(line.value[-1]), line.label, line.role) for line in lines])
    return svg(drawing, name, f"{name}: " + ", ".join(line.label for line in lines))
