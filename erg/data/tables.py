"""Tables of numbers: CSV files, and columns brought to mean 0 and scale 1.

Cells are separated by commas, semicolons or tabs, whichever the first line has most of. A first row
without any number is a header; every other cell must be a finite number. Blank lines are passed over.
"""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from erg.data.dataset import Dataset, Scaling, Split, hold_out
from erg.errors import UserError
from erg.support import Real

_CONSTANT = 1e-12


class _Line(NamedTuple):
    number: int
    cells: list[str]


def read_csv(path: Path) -> Float[np.ndarray, "rows columns"]:
    """The numbers of a CSV file, in float64.

    Raises:
        UserError: If the file is missing, is not text, has no rows of numbers, or has rows of unequal length, or if a
            cell is not a finite number; line and column are named, counted from 1.
    """
    lines = _lines(path)
    names = [str(column) for column in range(1, len(lines[0].cells) + 1)] if lines else []
    if lines and not any(_number(cell) is not None for cell in lines[0].cells):
        names = [f"{column} ({' '.join(cell.split())})" for column, cell in zip(names, lines[0].cells, strict=True)]
        lines = lines[1:]
    if not lines:
        raise UserError(f"{path} should hold rows of numbers, but holds none; add data.")
    return np.array([_row(line, names, path) for line in lines])


def column_names(path: Path) -> tuple[str, ...] | None:
    """The header of a CSV file, or None when its first row is numbers.

    Raises:
        UserError: As `read_csv` does, for a file that cannot be read.
    """
    lines = _lines(path)
    header = bool(lines) and not any(_number(cell) is not None for cell in lines[0].cells)
    return tuple(" ".join(cell.split()) for cell in lines[0].cells) if header else None


def standardised(name: str, everything: Split, *, seed: int, columns: tuple[str, ...] | None = None) -> Dataset:
    """A table as a data set: rows held out, then every column shifted and scaled by the training rows' statistics.

    Args:
        name: What the reports call it.
        everything: All rows, float64, in their own units.
        seed: Same seed, same held-out rows.
        columns: What the columns are called.

    Raises:
        UserError: If there are fewer than two rows, or a column is too large to be scaled.
    """
    train, held_out = hold_out(everything, name=name, seed=seed)
    mean, spread = train.x.mean(0), train.x.std(0, correction=0)
    if not spread.isfinite().all():
        column = int(spread.isfinite().logical_not().nonzero()[0]) + 1
        raise UserError(f"Column {column} of {name} should have a finite variance, but overflows; rescale it.")
    constant = spread <= _CONSTANT * mean.abs()
    scaling = Scaling(mean, torch.where(constant, 1.0, spread))
    train, held_out = (Split(scaling.apply(split.x), split.y) for split in (train, held_out))
    return Dataset(name, train, held_out, tuple(train.x.shape[1:]), Real(), scaling, columns)


def _lines(path: Path) -> list[_Line]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
            return [_Line(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}); save it as one.") from error


def _row(line: _Line, names: list[str], path: Path) -> list[float]:
    if len(line.cells) != len(names):
        raise UserError(
            f"{path} should have {len(names)} columns in every row, but line {line.number} has {len(line.cells)}; "
            "mend it."
        )
    row = []
    for name, cell in zip(names, line.cells, strict=True):
        value = _number(cell)
        if value is None or not math.isfinite(value):
            raise UserError(
                f"{path} should hold finite numbers only, but line {line.number}, column {name} is {cell.strip()!r}; "
                "mend or remove it."
            )
        row.append(value)
    return row


def _number(cell: str) -> float | None:
    """The number in a cell. Python's digit groups, 1_000, are a slip in a table and not a number."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
