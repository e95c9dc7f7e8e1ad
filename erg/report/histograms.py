"""How the energies of several sets of inputs are spread: one row per set, on one axis."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from erg.report.numbers import short
from erg.report.theme import TEXT, colour, figure, set_role, svg

ROW = 40.0
FRAME = 50.0
LONGEST = 16
_FIRST = ("data", "held_out", "samples", "noise")
_NAMES = {"data": "training data", "held_out": "held-out data", "samples": "samples", "noise": "uniform noise"}


def ordered(names: Mapping[str, object]) -> list[str]:
    """The sets in the order of a report: data, held-out, samples, noise, then the others by name."""
    known = [name for name in _FIRST if name in names]
    return known + sorted(name for name in names if name not in _FIRST)


def label(name: str) -> str:
    """A set's name for readers."""
    spoken = _NAMES.get(name, name.removeprefix("ood/").replace("_", " "))
    return spoken if len(spoken) <= LONGEST else spoken[: LONGEST - 1] + "…"


def histograms(name: str, energies: Mapping[str, Float[ndarray, "_"]], *, height: float | None = None) -> str:
    """Draw one histogram per row over a common energy axis, each with its median, as an inline SVG element.

    Every row fills its own height: rows compare shapes, not the sizes of the sets.

    Args:
        name: Names the plot to readers who cannot see it.
        energies: The sets, any number of rows each.
        height: Of the drawing; left out, as many rows as there are sets.
    """
    names = ordered(energies)
    drawing, axes = figure(height or ROW * len(names) + FRAME, left=118.0, right=18.0)
    edges = _edges([energies[key] for key in names])
    axes.set_yticks([])
    axes.grid(axis="x", color=colour("rule"), linewidth=0.7)
    for row, key in enumerate(reversed(names)):
        tint = colour(set_role(key.removeprefix("ood/"), row))
        values = energies[key]
        counts = np.histogram(values, edges)[0].astype(float)
        top = row + 0.86 * counts / max(counts.max(), 1.0)
        axes.stairs(top, edges, baseline=row, fill=True, color=tint, alpha=0.28, linewidth=0)
        axes.stairs(top, edges, baseline=row, color=tint, linewidth=1.1)
        median = float(np.median(values))
        axes.plot([median, median], [row, row + 0.86], color=tint, linewidth=1.6)
        axes.text(-0.02, row + 0.34, label(key), transform=axes.get_yaxis_transform(), ha="right", va="center",
                  color=tint, fontsize=TEXT, parse_math=False)  # fmt: skip
    axes.set_ylim(0, len(names))
    axes.set_xlim(edges[0], edges[-1])
    _energy_axis(axes)
    return svg(drawing, name, f"{name}: " + ", ".join(label(key) for key in names))


def _energy_axis(axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _edges(sets: list[Float[ndarray, "_"]], bins: int = 56) -> Float[ndarray, " edges"]:
    """Bins from the lowest to the highest of every set's central 99 %."""
    quantiles = np.array([np.quantile(values, (0.005, 0.995)) for values in sets])
    low, high = float(quantiles[:, 0].min()), float(quantiles[:, 1].max())
    reach = high - low
    if not reach > 1e-9 * max(abs(low), abs(high)):
        reach = max(abs(low), 1e-6)
    return np.linspace(low - 0.04 * reach, high + 0.04 * reach, bins + 1)
