"""Writes the files that the tests of data read."""

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def bytes_of(seed: int, *shape: int) -> np.ndarray:
    """Random grey levels, both extremes among them."""
    levels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    levels.flat[:2] = 0, 255
    return levels


def write_idx(path: Path, array: np.ndarray, code: int = 0x08) -> Path:
    content = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    content += array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_pictures(folder: Path, levels: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(levels):
        Image.fromarray(picture).save(folder / f"{number:03d}{suffix}")
    return folder
