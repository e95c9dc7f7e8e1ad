"""The data sets that go by a name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from erg.data.binary import binarised
from erg.data.dataset import Dataset
from erg.data.digits import digits
from erg.data.lattices import ising
from erg.data.mnist import cache, complete, find, misdirection, mnist
from erg.data.sources import KINDS, from_path
from erg.errors import UserError
from erg.nearest import hint
from erg.support import Box, Real, Support

_OWN = "yours, with --data.path=PATH"
_BUILT_IN: dict[str, Callable[[int], Dataset]] = {
    "digits": lambda seed: digits(),
    "mnist": lambda seed: mnist(),
    "ising": ising,
}
_PATH_ONLY: dict[str, tuple[Support, str]] = {"images": (Box(-1.0, 1.0), "images"), "table": (Real(), "a table")}
_NAMES = ", ".join([*_BUILT_IN, *_PATH_ONLY])


@dataclass(frozen=True)
class Known:
    """A data set that `load` knows by name.

    Args:
        name: The name.
        description: What it is and how large, in one line.
        found: Whether it can be had without a download; the reader's own data always can.
        where: Where it is, or how to get it.
    """

    name: str
    description: str
    found: bool
    where: str


def load(
    name: str | None, *, path: Path | str | None = None, seed: int = 0, binarise: float | None = None
) -> Dataset:
    """A data set by name, or the one at `path` in its place.

    Args:
        name: `digits`, `mnist` or `ising`; `images` or `table` for one's own data, which a `path` must give; None or
            empty takes whatever `path` holds.
        path: Train on this instead: a folder of pictures or of the four IDX files, an IDX file, `.npy`, `.npz`
            or `.csv`. Its kind is told from its name, and must be images or a table if `name` says so.
        seed: Which rows are held out, where the source does not say. `digits` and `mnist` have a fixed division;
            `ising` is drawn by it.
        binarise: Make pixels 1 above this grey level in [0, 1] and 0 elsewhere, on `Binary`.

    Raises:
        UserError: If the name is unknown, a path is needed, or the data are missing or unfit.
    """
    dataset = _loaded(name, path, seed)
    return dataset if binarise is None else binarised(dataset, binarise)


def available() -> list[Known]:
    """The data sets known by name, and where they are. Reads no data."""
    fault = misdirection()
    folder = None if fault else find()
    where = fault or (str(folder) if folder else f"downloaded to {cache()} at first use, 11 MB")
    return [
        Known("digits", "1,797 grey handwritten digits, 8x8", True, "inside scikit-learn"),
        Known(
            "mnist", "60,000 + 10,000 grey handwritten digits, 28x28", folder is not None and complete(folder), where
        ),
        Known("ising", "2,000 + 1,000 states of 100 spins on a torus, of known couplings", True, "drawn anew"),
        Known("images", "pictures of one size, grey or RGB; IDX or array files of images", True, _OWN),
        Known("table", "rows of numbers: .csv, or a two-axis array", True, _OWN),
    ]


def _loaded(name: str | None, path: Path | str | None, seed: int) -> Dataset:
    _check(name, path)
    if path is None:
        return _BUILT_IN[name or ""](seed)
    dataset = from_path(Path(path).expanduser(), seed=seed)
    if name in _PATH_ONLY and dataset.support != _PATH_ONLY[name][0]:
        got = "a table" if dataset.support == Real() else "images"
        raise UserError(f"Expected {_PATH_ONLY[name][1]} in {path}, but it holds {got}; use the other recipe.")
    return dataset


def _check(name: str | None, path: Path | str | None) -> None:
    if path is None and not name:
        raise UserError(f"Expected a data set, but got neither a name nor a path; name one of {_NAMES}.")
    if name and name not in _BUILT_IN | _PATH_ONLY:
        near = hint(name, [*_BUILT_IN, *_PATH_ONLY]) or "; choose one of them, or give --data.path."
        raise UserError(f"Data sets are {_NAMES}, but got {name!r}{near}")
    if path is None and name in _PATH_ONLY:
        raise UserError(f"{name!r} needs data of your own, but got no path; give --data.path, {KINDS}.")
