"""Curves over training steps, labelled where they end, with recoveries marked."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from erg.report.numbers import short
from erg.report.series import Series, limits, thin
from erg.report.theme import TEXT, colour, drawable, figure, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 214.0


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Args:
        label: Stands at the end of the line.
        role: Whose colour it takes.
        series: The logged values.
    """

    label: str
    role: str
    series: Series


def curves(
    name: str,
    lines: Sequence[Curve],
    *,
    recoveries: Sequence[float] = (),
    reference: float | None = None,
    span: tuple[float, float] | None = None,
) -> str:
    """Draw lines over steps as an inline SVG element.

    A logarithmic axis is used for positive values that span more than two decades.

    Args:
        name: Names the plot to readers who cannot see it.
        lines: The curves, in order of importance.
        recoveries: Steps at which the run recovered from divergence.
        reference: A level worth comparing with, drawn as a line.
        span: The range of steps, so that all plots of a page share it.
    """
    drawing, axes = figure(HEIGHT, right=86.0 if any(line.label for line in lines) else 16.0)
    values = np.concatenate([line.series.values for line in lines] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    logarithmic = len(values) > 0 and bool(0 < 100 * values.min() < values.max())
    _scale(axes, values, logarithmic=logarithmic, reference=reference)
    _steps(axes, lines, span)
    if reference is not None:
        axes.axhline(reference, color=colour("muted"), linewidth=0.8)
    ends = []
    for line in lines:
        end = _draw(axes, line)
        if end is not None:
            ends.append((end, line.label, line.role))
    for step in recoveries:
        axes.axvline(step, color=colour("bad"), linewidth=0.9, linestyle=(0, (3, 2)))
        axes.plot(step, 1.0, marker="v", markersize=6, color=colour("bad"), transform=axes.get_xaxis_transform(),
                  clip_on=False, markeredgewidth=0)  # fmt: skip
    label_ends(axes, ends)
    return svg(drawing, name, f"{name}: " + ", ".join(line.label for line in lines if line.label))


def _draw(axes: "Axes", line: Curve) -> float | None:
    """Draw one curve and return the level at which it ends."""
    band = thin(line.series)
    tint = colour(line.role)
    if len(band.steps) < len(line.series.steps):
        axes.fill_between(band.steps, band.low, band.high, color=tint, alpha=0.2, linewidth=0)
    axes.plot(band.steps, band.middle, color=tint, linewidth=1.7, solid_joinstyle="round")
    finite = np.flatnonzero(np.isfinite(band.middle))
    if len(finite) == 0:
        return None
    last = finite[-1]
    if len(finite) <= 40:
        axes.plot(band.steps[finite], band.middle[finite], "o", color=tint, markersize=4, markeredgewidth=0)
    return float(band.middle[last])


def _scale(axes: "Axes", values: np.ndarray, *, logarithmic: bool, reference: float | None) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    if logarithmic:
        axes.set_yscale("log")
        reach = limits(np.log10(values))
        assert reach is not None
        axes.set_ylim(10 ** reach[0], 10 ** reach[1])
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        reach = limits(np.append(values, [] if reference is None else [reference]))
        if reach is not None:
            axes.set_ylim(*reach)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _steps(axes: "Axes", lines: Sequence[Curve], span: tuple[float, float] | None) -> None:
    everything = np.concatenate([line.series.steps for line in lines] or [np.zeros(0)])
    if span is None:
        span = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
    number_steps(axes, span)


def number_steps(axes: "Axes", span: tuple[float, float]) -> None:
    """Number the horizontal axis by steps, from the first to the last."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(span[0], span[1] if span[1] > span[0] else span[0] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each label at the right edge beside the end of its line, pushed apart where they would touch."""
    box = axes.get_window_extent()
    bottom, height = box.y0, box.height
    scale = axes.figure.dpi / 72
    gap = 1.25 * TEXT * scale
    places = []
    for level, label, role in ends:
        y = axes.transData.transform((axes.get_xlim()[0], level))[1]
        places.append([min(max(y, bottom), bottom + height), label, role])
    places.sort(key=lambda place: place[0])
    for below, above in itertools.pairwise(places):
        above[0] = max(above[0], below[0] + gap)
    ceiling = bottom + height
    for place in reversed(places):
        place[0] = min(place[0], ceiling)
        ceiling = place[0] - gap
    for y, label, role in places:
        axes.annotate(drawable(label), (1.0, (y - bottom) / height), xycoords="axes fraction", xytext=(8, 0),
                      textcoords="offset points", color=colour(role), fontsize=TEXT, va="center_baseline",
                      annotation_clip=False, parse_math=False)  # fmt: skip
