"""The data sets that go by a name."""

from pathlib import Path

from erg.data import mnist as mnist_files
from erg.data.dataset import Dataset
from erg.data.digits import digits
from erg.errors import UserError


def load(name: str, *, path: Path | str | None = None, seed: int = 0) -> Dataset:
    """A data set by name."""
    if name == "digits":
        return digits()
    if name == "mnist":
        return mnist_files.mnist()
    raise UserError(f"unknown {name}")
