"""Checkpoints that survive being killed at any moment.

A new checkpoint is written beside the others, flushed to disk and only then moved into place:

1. ``next.pt`` is written (under a temporary name, then renamed, so that it is whole when it exists);
2. ``last.pt`` becomes ``previous.pt``;
3. ``next.pt`` becomes ``last.pt``.

Whichever step a kill interrupts, the newest whole file is found among the three. Every file ends with
its length and checksum, so that truncation and flipped bits are noticed, and is otherwise what
`torch.save` writes: ``torch.load(path, weights_only=True)`` reads it.
"""

import os
import pickle
import re
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from erg.errors import UserError
from erg.files import write_atomically

FORMAT = 1
_TRAILER = re.compile(rb"\nerg checkpoint crc32 ([0-9a-f]{8}) length ([0-9]{16})\n")
_TRAILER_BYTES = 55
_CHUNK = 1 << 20


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: Where they are kept; made at the first save.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.pt"

    @property
    def previous(self) -> Path:
        """The one before."""
        return self.folder / "previous.pt"

    @property
    def best(self) -> Path:
        """The best one, by whatever measure the caller has."""
        return self.folder / "best.pt"

    @property
    def exist(self) -> bool:
        """Whether anything was saved, be it damaged."""
        return any(path.exists() for path in self._candidates)

    @property
    def _candidates(self) -> tuple[Path, ...]:
        """Where a checkpoint to go on from may be, newest first."""
        return self.folder / "next.pt", self.last, self.previous

    def save(self, payload: Mapping[str, Any]) -> None:
        """Make `payload` the last checkpoint, and the last one the previous.

        Args:
            payload: Tensors, numbers, strings, None, and dicts, lists and tuples of these.

        Raises:
            TypeError: If something else is among it: it could not be loaded safely.
            UserError: If the disk is full or the folder cannot be written. The old checkpoints are unharmed.
        """
        fresh = self.folder / "next.pt"
        # A kill while writing leaves its temporary file behind.
        for leftover in self.folder.glob(".*.pt.*.part"):
            leftover.unlink(missing_ok=True)
        _write(fresh, payload)
        try:
            # A damaged file must not replace a good one.
            if _fault(self.last) is None:
                os.replace(self.last, self.previous)
            os.replace(fresh, self.last)
        except OSError as error:
            raise UserError(f"Cannot write {self.last}: {error.strerror}; {fresh} holds the checkpoint.") from error

    def save_best(self, payload: Mapping[str, Any]) -> None:
        """Make `payload` the best checkpoint. Raises as `save` does."""
        _write(self.best, payload)

    def load(
        self, device: torch.device | str = "cpu", *, notify: Callable[[str], Any] = warnings.warn
    ) -> dict[str, Any]:
        """The newest good checkpoint.

        Args:
            device: Where its tensors go.
            notify: Is told in a sentence when a newer one was damaged.

        Raises:
            UserError: If there is none, if all are damaged, or if it has another format.
        """
        faults: list[str] = []
        for path in self._candidates:
            fault = _fault(path)
            if fault is None:
                if faults:
                    notify(f"{'; '.join(faults)}; going on from {path.name}.")
                return _read(path, device)
            if path.exists():
                faults.append(f"{path} {fault}")
        if faults:
            raise UserError(f"No checkpoint can be read: {'; '.join(faults)}.")
        raise UserError(f"There is no checkpoint in {self.folder}; the run has not saved one yet.")

    def load_best(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """The best checkpoint.

        Raises:
            UserError: If there is none, if it is damaged, or if it has another format.
        """
        fault = _fault(self.best)
        if fault is not None:
            raise UserError(f"{self.best} {fault}; use the last checkpoint.")
        return _read(self.best, device)


class _Summed:
    """A file that sums up what is written to it, and remembers why it could not be."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.crc, self.length = file, 0, 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self.length += memoryview(data).nbytes
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _write(path: Path, payload: Mapping[str, Any]) -> None:
    check_plain(payload)

    def write(file: BinaryIO) -> None:
        summed = _Summed(file)
        try:
            torch.save({"format": FORMAT, "payload": dict(payload)}, cast(BinaryIO, summed))
        except RuntimeError:
            # torch says only that its position in the file is unexpected.
            if summed.error is not None:
                raise summed.error from None
            raise
        file.write(b"\nerg checkpoint crc32 %08x length %016d\n" % (summed.crc, summed.length))

    write_atomically(path, write)


def _read(path: Path, device: torch.device | str) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors and plain data, so it is not loaded.") from error
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} has checkpoint format {content['format']}, but this version of erg reads format {FORMAT}; "
            "resume with the version that wrote it."
        )
    return content["payload"]


def _fault(path: Path) -> str | None:
    """What is wrong with the file, or None."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size - _TRAILER_BYTES
            file.seek(max(length, 0))
            trailer = _TRAILER.fullmatch(file.read())
            if trailer is None or int(trailer[2]) != length:
                return "is incomplete"
            file.seek(0)
            crc = 0
            while length:
                chunk = file.read(min(_CHUNK, length))
                crc, length = zlib.crc32(chunk, crc), length - len(chunk)
            return None if crc == int(trailer[1], 16) else "is damaged (its checksum differs)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def check_plain(value: Any, name: str = "payload") -> None:
    """Refuse what cannot be loaded with `weights_only`.

    Raises:
        TypeError: With the place and the type.
    """
    if type(value) in (Tensor, nn.Parameter, int, float, bool, str, type(None)):
        return
    if type(value) in (dict, OrderedDict):
        for key, child in value.items():
            check_plain(key, f"a key of {name}")
            check_plain(child, f"{name}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, child in enumerate(value):
            check_plain(child, f"{name}[{index}]")
    else:
        raise TypeError(
            f"A checkpoint holds tensors and plain data, but {name} is a {type(value).__name__}; convert it first."
        )
