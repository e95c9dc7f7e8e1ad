r"""Log Z on the real numbers or a box, up to three dimensions, by quadrature.

Each axis is cut into panels with Gauss-Legendre points, and the panels are halved until two results agree; their
difference is the error. On the real numbers the mass has to be found first: a coarse grid grows until its faces
hold a negligible share, and then shrinks onto the cells that matter. What such a grid cannot see, a second mode that
is far away and narrow, is not in the result: name the bounds yourself where that may be.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg.estimate import Estimate
from erg.support import Box

DIMENSIONS = 3
_ORDER = 8
_COARSE = {1: 4096, 2: 192, 3: 40}
_POINTS = {1: 2**20, 2: 2**22, 3: 2**23}
_CHUNK = 2**16
# Cells whose share of the largest one is below this are not looked at more closely: e^-40 = 4e-18.
_DEPTH = 40.0
_FIRST, _LARGEST = 8.0, 1e6


class Bounds(NamedTuple):
    """A box with sides of its own."""

    low: Float[Tensor, " dimensions"]
    high: Float[Tensor, " dimensions"]


def integrated(
    score: Callable[[Float[Tensor, "batch *event"]], Float[Tensor, " batch"]],
    event: tuple[int, ...],
    *,
    box: Box | None,
    tolerance: float,
    bounds: Bounds | None = None,
) -> Estimate:
    """Log Z by quadrature, with the difference of the last two refinements as its error.

    Args:
        score: The energies of states of up to three dimensions, both in float64.
        event: The shape of one state.
        box: Where the states live; None for the real numbers.
        tolerance: In nats. Refinement stops there, or when a grid would have too many points.
        bounds: Where to look; found when left out.

    Raises:
        ValueError: If there are more than three dimensions, or no mass is found.
    """
    dimensions = torch.Size(event).numel()
    if not 1 <= dimensions <= DIMENSIONS:
        raise ValueError(
            f"Quadrature takes 1 to {DIMENSIONS} dimensions, but events of shape {tuple(event)} have {dimensions}; "
            "estimate log Z with ais() or smc() instead."
        )

    def log_density(x: Tensor) -> Tensor:
        energies = score(x.reshape(len(x), *event))
        return torch.where(energies.isfinite(), -energies, -torch.inf)

    if bounds is None:
        bounds = _found(log_density, box, dimensions)
    panels = 4
    value = _gauss_legendre(log_density, bounds, panels)
    while True:
        panels *= 2
        finer = _gauss_legendre(log_density, bounds, panels)
        error = abs(finer - value)
        if error <= tolerance or (2 * panels * _ORDER) ** dimensions > _POINTS[dimensions]:
            return Estimate(finer, error)
        value = finer


def _found(log_density: Callable[[Tensor], Tensor], box: Box | None, dimensions: int) -> Bounds:
    """Where the mass is: in the box if there is one, and cut down to the cells that matter."""
    ones = torch.ones(dimensions, dtype=torch.float64)
    if box is not None:
        return _shrunk(log_density, Bounds(box.low * ones, box.high * ones), dimensions)
    reach = _FIRST
    while reach <= _LARGEST:
        bounds = Bounds(-reach * ones, reach * ones)
        shrunk = _shrunk(log_density, bounds, dimensions)
        if bool(((shrunk.low > bounds.low) & (shrunk.high < bounds.high)).all()):
            return _shrunk(log_density, shrunk, dimensions)
        reach *= 4
    raise ValueError(
        f"No box up to {_LARGEST:g} holds the mass of exp(-E): it does not fall off; pass an energy with a finite "
        "integral, or one on a Box."
    )


def _shrunk(log_density: Callable[[Tensor], Tensor], bounds: Bounds, dimensions: int) -> Bounds:
    """The bounds of all cells of a coarse grid that matter, one cell wider on each side."""
    cells = _COARSE[dimensions]
    width = (bounds.high - bounds.low) / cells
    middles = [
        low + side * (torch.arange(cells, dtype=torch.float64) + 0.5)
        for low, side in zip(bounds.low, width, strict=True)
    ]
    values = torch.cat([log_density(chunk) for chunk, _ in _grid(middles, [torch.zeros(cells)] * dimensions)])
    largest = values.max()
    if largest == -torch.inf:
        return bounds
    matter = (values > largest - _DEPTH).reshape([cells] * dimensions).nonzero()
    low = (bounds.low + width * (matter.amin(0) - 1)).maximum(bounds.low)
    high = (bounds.low + width * (matter.amax(0) + 2)).minimum(bounds.high)
    return Bounds(low, high)


def _gauss_legendre(log_density: Callable[[Tensor], Tensor], bounds: Bounds, panels: int) -> float:
    """The log of the integral over the bounds, with `panels` panels an axis."""
    points, weights = _legendre()
    axes, logs = [], []
    for low, high in zip(bounds.low, bounds.high, strict=True):
        half = (high - low) / panels / 2
        middles = low + half * (2 * torch.arange(panels, dtype=torch.float64) + 1)
        axes.append((middles[:, None] + half * points).flatten())
        logs.append((half * weights).log().repeat(panels))
    total = torch.tensor(-math.inf, dtype=torch.float64)
    for x, log_weight in _grid(axes, logs):
        total = torch.logaddexp(total, (log_density(x) + log_weight).logsumexp(0))
    return total.item()


def _grid(axes: list[Tensor], logs: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The points of a product grid and the logs of their weights, in chunks."""
    sizes = [len(axis) for axis in axes]
    count = math.prod(sizes)
    for start in range(0, count, _CHUNK):
        index = torch.arange(start, min(start + _CHUNK, count))
        places: list[Tensor] = []
        for size in reversed(sizes):
            places.insert(0, index % size)
            index = index // size
        yield (
            torch.stack([axis[place] for axis, place in zip(axes, places, strict=True)], dim=1),
            torch.stack([log[place] for log, place in zip(logs, places, strict=True)]).sum(0),
        )


def _legendre() -> tuple[Tensor, Tensor]:
    """Points and weights on [-1, 1], from the eigenvalues of the Legendre polynomials' recurrence."""
    k = torch.arange(1, _ORDER, dtype=torch.float64)
    beside = k / (4 * k.square() - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return points, 2 * vectors[0].square()
