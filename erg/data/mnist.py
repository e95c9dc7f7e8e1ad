"""MNIST: 60,000 + 10,000 handwritten digits of 28x28, in four IDX files.

Looked for in ``$ERG_DATA/mnist``, then in the cache folder, then downloaded there. What is checked after a
download is the content: mirrors compress the same files differently.

References:
    LeCun, Cortes & Burges, The MNIST database of handwritten digits. CC BY-SA 3.0.
"""

import hashlib
import http.client
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from erg.data.arrays import labels, pixels, with_channels
from erg.data.dataset import Dataset, Split, image_set
from erg.data.idx import read_idx
from erg.errors import UserError
from erg.files import write_atomically

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


class Content(NamedTuple):
    """What a file holds once it is unpacked."""

    size: int
    sha256: str


FILES = {
    "train-images-idx3-ubyte": Content(47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": Content(60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": Content(7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": Content(10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
_TIMEOUT = 30.0
_LIMIT = 2**26
_PIECE = 2**16


def mnist() -> Dataset:
    """MNIST, downloaded when it is nowhere on this machine; its 10,000 test digits are held out.

    Raises:
        UserError: If ``ERG_DATA`` names no folder, MNIST is not found and cannot be downloaded, or a file is damaged.
    """
    fault = misdirection()
    if fault is not None:
        raise UserError(f"{fault}; correct it, or unset it to have MNIST downloaded.")
    folder = find()
    if folder is None:
        folder = cache()
        download(folder)
    return read_folder(folder, "mnist")


def read_folder(folder: Path, name: str) -> Dataset:
    """A set in the layout of MNIST: four IDX files, gzip or plain.

    Raises:
        UserError: If a file is missing or damaged, or images and labels differ in number.
    """
    return image_set(name, *(_read_part(folder, part) for part in ("train", "t10k")))


def find() -> Path | None:
    """The folder with the four files, or None: ``$ERG_DATA/mnist`` if it exists, then the cache."""
    data = os.environ.get("ERG_DATA")
    if data and (Path(data) / "mnist").is_dir():
        return Path(data) / "mnist"
    return cache() if complete(cache()) else None


def misdirection() -> str | None:
    """What is wrong with ``ERG_DATA``, or None."""
    data = os.environ.get("ERG_DATA")
    return f"ERG_DATA is {data}, which is no folder" if data and not Path(data).is_dir() else None


def complete(folder: Path) -> bool:
    """Whether all four files are there."""
    return all(_path(folder, file).exists() for file in FILES)


def cache() -> Path:
    """Where downloads go: ``$XDG_CACHE_HOME/erg/mnist``, by default ``~/.cache/erg/mnist``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "erg" / "mnist"


def download(
    folder: Path, *, mirrors: Sequence[str] | None = None, files: Mapping[str, Content] | None = None
) -> None:
    """Fetch the files that `folder` lacks. A file appears when its content is verified, not before.

    Args:
        folder: Made if need be.
        mirrors: Addresses to try in turn, each ending in a slash; by default the public ones.
        files: What to fetch and what it must hold; by default the files of MNIST.

    Raises:
        UserError: If no mirror gives a file with the right content, or the folder cannot be written.
    """
    for name, content in (files or FILES).items():
        if not _path(folder, name).exists():
            _save(folder / f"{name}.gz", _fetch(f"{name}.gz", content, mirrors or MIRRORS))


def _read_part(folder: Path, part: str) -> Split:
    image_file, label_file = (_path(folder, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    x = pixels(with_channels(read_idx(image_file), image_file), image_file)
    return Split(x, labels(read_idx(label_file), len(x), label_file))


def _path(folder: Path, file: str) -> Path:
    plain = folder / file
    return plain if plain.exists() else folder / f"{file}.gz"


def _save(path: Path, data: bytes) -> None:
    write_atomically(path, lambda file: file.write(data))


def _fetch(file: str, content: Content, mirrors: Sequence[str]) -> bytes:
    failures = []
    for mirror in mirrors:
        try:
            data = _get(mirror + file)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror} {getattr(error, 'reason', None) or error}")
            continue
        if _holds(data, content):
            return data
        failures.append(f"{mirror} gave a file with another checksum")
    raise UserError(
        f"Cannot download {file} ({'; '.join(failures)}): set ERG_DATA to a folder that holds mnist/{file}, "
        "or train on data of your own with --data.path."
    )


def _get(address: str) -> bytes:
    """The body at an address, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    console = Console(file=sys.stderr)
    with urlopen(address, timeout=_TIMEOUT) as response, Progress(*columns, console=console, transient=True) as bar:
        length = int(response.headers.get("Content-Length") or 0)
        task = bar.add_task(address.rsplit("/", 1)[-1], total=length or None)
        body = bytearray()
        while len(body) <= _LIMIT and (piece := response.read(_PIECE)):
            body += piece
            bar.update(task, completed=len(body))
    if length > len(body):
        raise http.client.IncompleteRead(bytes(body), length - len(body))
    return bytes(body)


def _holds(data: bytes, content: Content) -> bool:
    """Whether `data` unpacks to the content. One byte past its size is enough to tell a larger file."""
    try:
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        unpacked = unpacker.decompress(data, content.size + 1)
    except zlib.error:
        return False
    return len(unpacked) == content.size and hashlib.sha256(unpacked).hexdigest() == content.sha256
