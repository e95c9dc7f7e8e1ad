"""Rows as files: a picture, an array or a table, by the suffix."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from erg.files import write_atomically, write_text
from erg.training.grids import grid, write_png


def write_rows(out: Path, x: Tensor, columns: Sequence[str] | None, *, across: int | None = None) -> None:
    """Write rows to FILE.png (in [-1, 1]), FILE.csv or, with any other suffix, as FILE.npy.

    Args:
        out: Where.
        x: Shape (rows, *event).
        columns: What the columns of a table are called.
        across: Images per row of a picture; nearly square when left out.
    """
    if out.suffix == ".png":
        write_png(out, grid(x, columns=across))
    elif out.suffix == ".csv":
        write_text(out, _as_csv(x, columns or [f"column_{number + 1}" for number in range(x.shape[1])]))
    else:
        write_atomically(out, lambda file: np.save(file, x.numpy()))


def _as_csv(x: Tensor, columns: Sequence[str]) -> str:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows([f"{value:.9g}" for value in row] for row in x.tolist())
    return table.getvalue()
