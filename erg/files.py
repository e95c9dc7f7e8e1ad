"""Write files so that a reader finds the old one or the new one, never half of it."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from erg.errors import UserError


def write_atomically(path: Path | str, write: Callable[[BinaryIO], Any]) -> None:
    """Write beside `path`, flush to disk, and rename over it; a failure leaves the old file as it was.

    Args:
        path: The target. Its folder is made if need be.
        write: Writes the content to an open binary file.

    Raises:
        UserError: If the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        # With "wb", np.save writes past the file object, and tells of a full disk only how many bytes it took.
        with os.fdopen(handle, "w+b") as file:
            write(cast(BinaryIO, file))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}; nothing that existed was changed."
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
