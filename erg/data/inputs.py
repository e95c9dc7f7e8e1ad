"""Rows to score, read from files and folders into the event shape of a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erg.data.arrays import grey_levels, numbers, pixels
from erg.data.binary import binarise
from erg.data.dataset import Scaling
from erg.data.images import SUFFIXES, as_grey, list_images, read_image
from erg.data.sources import read_file, refuse_missing
from erg.data.tables import column_names
from erg.errors import UserError

Labelled = tuple[Tensor, list[str]]


def read_inputs(
    paths: Sequence[Path | str],
    shape: tuple[int, ...],
    *,
    scaling: Scaling | None = None,
    columns: Sequence[str] | None = None,
    threshold: float | None = None,
) -> tuple[Float[Tensor, "rows *event"], list[str]]:
    """One batch of all rows in some files and folders, and a name for each row.

    Three-axis events are images: pictures, folders of pictures (subfolders included), and arrays by the pixel rule
    of `erg.data.arrays`. Others are rows of arrays and tables. An array may hold one event or a batch of them.

    Args:
        paths: Files or folders, in the order of the rows.
        shape: The event shape of the run.
        scaling: How the run's table was standardised; the rows are brought to the same units.
        columns: What the columns of the run's table are called; those of a file with a header are put in this order.
        threshold: Grey level in [0, 1] above which the pixels of the run are 1; None leaves them grey.

    Returns:
        The rows, and their names: the file, or file[row] where a file holds a batch.

    Raises:
        UserError: If there are no paths, or one cannot be read or has another shape or other columns; both are named.
    """
    if not paths:
        raise UserError("Expected files or folders to read, but got none; name at least one.")
    parts = [part for path in map(Path, paths) for part in _parts(path, shape, columns)]
    x, labels = torch.cat([rows for rows, _ in parts]), [name for _, names in parts for name in names]
    if scaling is not None:
        return scaling.apply(x), labels
    return x.float() if threshold is None else binarise(x.float(), threshold), labels


def _parts(path: Path, shape: tuple[int, ...], columns: Sequence[str] | None) -> Iterator[Labelled]:
    refuse_missing(path)
    if path.is_dir():
        for file in list_images(path):
            yield _picture(file, shape)
    elif path.suffix.lower() in SUFFIXES:
        yield _picture(path, shape)
    else:
        yield _array(path, shape, columns)


def _picture(path: Path, shape: tuple[int, ...]) -> Labelled:
    picture = read_image(path)
    if shape[:1] == (1,):
        grey = as_grey(picture)
        picture = picture if grey is None else grey
    if picture.shape != shape:
        raise UserError(
            f"{path} should have (channels, height, width) {shape}, but has {picture.shape}; convert or resize it."
        )
    return grey_levels(picture[None]), [str(path)]


def _array(path: Path, shape: tuple[int, ...], columns: Sequence[str] | None) -> Labelled:
    array, _ = read_file(path)
    numbers(array, path)
    if columns is not None and array.shape[1:] == shape and path.suffix.lower() == ".csv":
        array = _ordered(array, path, columns)
    batch, single = _batched(array, shape, path)
    images = len(shape) == 3
    rows = pixels(batch, path) if images else torch.from_numpy(batch.astype(np.float64))
    return rows, [str(path)] if single else [f"{path}[{row}]" for row in range(len(rows))]


def _ordered(array: np.ndarray, path: Path, columns: Sequence[str]) -> np.ndarray:
    """The columns in the order of the run's table. Without a header they are taken to be in it."""
    header = column_names(path)
    if header is None or header == tuple(columns):
        return array
    if sorted(header) != sorted(columns) or len(set(header)) < len(header):
        raise UserError(
            f"{path} should have the columns {', '.join(columns)}, but has {', '.join(header)}; rename them."
        )
    return array[:, [header.index(column) for column in columns]]


def _batched(array: np.ndarray, shape: tuple[int, ...], path: Path) -> tuple[np.ndarray, bool]:
    """The array with a batch axis, and whether it holds one event without one. One grey channel may be left out."""
    events = [shape, shape[1:]] if len(shape) == 3 and shape[0] == 1 else [shape]
    for event in events:
        if array.shape == event:
            return array.reshape(1, *shape), True
        if array.shape[1:] == event:
            return array.reshape(-1, *shape), False
    raise UserError(f"{path} should hold rows of shape {shape}, but has shape {array.shape}; give matching data.")
