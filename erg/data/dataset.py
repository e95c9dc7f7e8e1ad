"""What every loader returns: rows to train on, rows held out, and where they live.

One convention: images are float32 in [-1, 1] with event shape (channels, height, width) on
``Box(-1, 1)``; rows of a table are standardised vectors on ``Real()``. A held-out split that the source
does not bring along is drawn from its rows, the same for the same seed, and balanced over the labels
when there are any.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg.errors import UserError
from erg.support import Box, Support

HELD_OUT = 0.1


@dataclass(frozen=True)
class Split:
    """Rows of one kind, with a label each when the source has labels."""

    x: Float[Tensor, "n *event"]
    y: Int[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Scaling:
    """The mean and scale that standardised a table, one of each a column; a constant column has scale 1."""

    mean: Float[Tensor, " columns"]
    scale: Float[Tensor, " columns"]

    def apply(self, x: Float[Tensor, "n columns"]) -> Float[Tensor, "n columns"]:
        """Original units to standardised float32."""
        return ((x.double() - self.mean) / self.scale).float()

    def undo(self, x: Float[Tensor, "n columns"]) -> Float[Tensor, "n columns"]:
        """Standardised values back to original units, in float64."""
        return x.double() * self.scale + self.mean


@dataclass(frozen=True)
class Dataset:
    """A data set, ready to train on.

    Args:
        name: What the reports call it.
        train: The rows to learn from.
        held_out: Rows that training never sees.
        shape: The event shape, one row without the batch axis.
        support: Where one row lives.
        scaling: How a table was standardised. Images have none.
        columns: What the columns of a table are called, when its file says so.
    """

    name: str
    train: Split
    held_out: Split
    shape: tuple[int, ...]
    support: Support
    scaling: Scaling | None = None
    columns: tuple[str, ...] | None = None


def image_set(name: str, train: Split, held_out: Split) -> Dataset:
    """A data set of images, (n, channels, height, width) in [-1, 1]."""
    return Dataset(name, train, held_out, tuple(train.x.shape[1:]), Box(-1.0, 1.0))


def hold_out(split: Split, *, name: str, seed: int, fraction: float = HELD_OUT) -> tuple[Split, Split]:
    """Divide rows into training and held-out rows, at least one each.

    Rows are shuffled, then ranked within their label by the share of the label's rows before them; the lowest
    ranks are held out. So every label gives its share, to within one row.

    Args:
        split: All rows.
        name: What error messages call the source.
        seed: Same seed, same division.
        fraction: The share to hold out.

    Raises:
        UserError: If there are fewer than two rows.
    """
    rows = len(split)
    if rows < 2:
        raise UserError(
            f"{name} needs at least 2 rows, one to train on and one to hold out, but has {rows}; add more."
        )
    count = min(rows - 1, max(1, round(rows * fraction)))
    order = np.random.default_rng(seed).permutation(rows)
    if split.y is not None:
        order = order[np.argsort(_ranks(split.y.numpy()[order]), kind="stable")]
    held_out, train = np.sort(order[:count]), np.sort(order[count:])
    return _take(split, train), _take(split, held_out)


def _ranks(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """For each row, the share of the rows of its label that come before it, in (0, 1)."""
    ranks = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = (np.arange(len(members)) + 0.5) / len(members)
    return ranks


def _take(split: Split, rows: Int[np.ndarray, " k"]) -> Split:
    index = torch.from_numpy(rows)
    return Split(split.x[index], None if split.y is None else split.y[index])
