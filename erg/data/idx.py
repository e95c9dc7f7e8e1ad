"""The IDX format: big-endian arrays, the format of MNIST.

A file is four bytes (0, 0, type, dimensions), one 32-bit size per dimension, then the values, the last
dimension fastest. Gzip is recognised by its first two bytes, not by the name.
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from erg.errors import UserError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PIECE = 2**20


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, plain or gzip.

    Raises:
        UserError: If the file is missing, is not IDX, is cut short, has bytes to spare or is a broken gzip.
    """
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            return _parse(gzip.GzipFile(fileobj=raw) if zipped else raw, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); copy or download it again.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; check the path.") from error


def _parse(file: io.BufferedIOBase, path: Path) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise UserError(
            f"{path} is not an IDX file: it should start with 0, 0, a type and a number of dimensions, "
            f"but starts with {list(magic)}; give the original file."
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise UserError(f"{path} ends inside its header of {4 + 4 * magic[3]} bytes; copy or download it again.")
    shape = struct.unpack(f">{magic[3]}I", header)
    kind = np.dtype(TYPES[magic[2]])
    values = _read(file, math.prod(shape) * kind.itemsize, path)
    return np.frombuffer(values, kind).reshape(shape).astype(kind.newbyteorder("="))


def _read(file: io.BufferedIOBase, expected: int, path: Path) -> bytes:
    """Exactly the bytes that the header promises, read in pieces: a damaged header may promise any number."""
    values = bytearray()
    while len(values) <= expected and (piece := file.read(min(_PIECE, expected - len(values) + 1))):
        values += piece
    if len(values) != expected:
        got = f"only {len(values)}" if len(values) < expected else "more"
        raise UserError(f"{path} should hold {expected} bytes of values, but holds {got}; copy or download it again.")
    return bytes(values)
