"""Data in the reader's own files: what a path holds is told from its name."""

import re
from pathlib import Path

import numpy as np
import torch

from erg.data import images, mnist
from erg.data.arrays import labels, numbers, pixels, read_arrays, with_channels
from erg.data.dataset import Dataset, Split, hold_out, image_set
from erg.data.idx import read_idx
from erg.data.tables import column_names, read_csv, standardised
from erg.errors import UserError

KINDS = "a folder of pictures, an IDX file (.idx, -ubyte, with or without .gz), .npy, .npz or .csv"
_IDX = re.compile(r"(ubyte|\.idx\d*)(\.gz)?$")


def from_path(path: Path, *, seed: int) -> Dataset:
    """The data set in a folder or file; a tenth of the rows is held out unless the source says which.

    Raises:
        UserError: If the path is missing, of an unknown kind, or its content is not fit.
    """
    refuse_missing(path)
    name = path.resolve().name
    if path.is_dir() and _is_mnist_like(path):
        return mnist.read_folder(path, name)
    if path.is_dir():
        return image_set(name, *hold_out(images.read_folder(path), name=str(path), seed=seed))
    array, y = read_file(path)
    numbers(array, path)
    if array.ndim == 2:
        table = torch.from_numpy(array.astype(np.float64))
        columns = column_names(path) if path.suffix.lower() == ".csv" else None
        return standardised(name, Split(table, labels(y, len(table), path)), seed=seed, columns=columns)
    x = pixels(with_channels(array, path), path)
    return image_set(name, *hold_out(Split(x, labels(y, len(x), path)), name=str(path), seed=seed))


def refuse_missing(path: Path) -> None:
    """Refuse a path at which there is nothing.

    Raises:
        UserError: If so.
    """
    if not path.exists():
        raise UserError(f"There is no file or folder {path}; check the path.")


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array in a file, and its labels when it has any. An IDX file of images has them in the file beside it.

    Raises:
        UserError: If the kind is unknown or the content is damaged.
    """
    name = path.name.lower()
    if _IDX.search(name):
        beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
        return read_idx(path), read_idx(beside) if beside != path and beside.exists() else None
    if name.endswith((".npy", ".npz")):
        return read_arrays(path)
    if name.endswith(".csv"):
        return read_csv(path), None
    if name.endswith(images.SUFFIXES):
        raise UserError(f"{path} is one picture, but data should be {KINDS}; give the folder of pictures.")
    raise UserError(f"{path} is of an unknown kind; data should be {KINDS}.")


def _is_mnist_like(folder: Path) -> bool:
    return any((folder / f"train-images-idx3-ubyte{suffix}").exists() for suffix in ("", ".gz"))
