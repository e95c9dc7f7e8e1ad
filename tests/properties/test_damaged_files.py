"""Whatever happens to the bytes of a file, reading it gives data or a sentence, never another exception."""

import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from erg.data import load, read_inputs
from erg.errors import UserError
from tests.contracts.files import bytes_of, write_idx

LEVELS = bytes_of(0, 6, 5, 5)


def through_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def picture(kind: str) -> bytes:
    return through_memory(lambda file: Image.fromarray(bytes_of(0, 9, 9, 3)).save(file, kind))


def idx() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_idx(Path(folder) / "x.idx", LEVELS).read_bytes()


WHOLE = {
    "x.png": picture("PNG"),
    "x.jpg": picture("JPEG"),
    "x.gif": picture("GIF"),
    "x.bmp": picture("BMP"),
    "x.npy": through_memory(lambda file: np.save(file, LEVELS)),
    "x.npz": through_memory(lambda file: np.savez(file, x=LEVELS, y=np.arange(6))),
    "x.idx": idx(),
    "x.idx.gz": gzip.compress(idx(), mtime=0),
    "x.csv": b"a,b\n" + b"".join(b"%d,%f\n" % (k, k / 3) for k in range(5)),
}


def read(path: Path) -> None:
    if path.suffix in (".png", ".jpg", ".gif", ".bmp"):
        read_inputs([path], (3, 9, 9))
    else:
        load("digits", path=path)


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_file_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(WHOLE[name])
    read(tmp_path / name)


@pytest.mark.parametrize("name", WHOLE)
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_with_one_line(name, data):
    content = WHOLE[name]
    start = data.draw(st.integers(0, len(content) - 1))
    stop = start + data.draw(st.integers(0, 20))
    content = content[:start] + data.draw(st.binary(max_size=8)) + content[stop:]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            read(Path(folder) / name)
        except UserError as error:
            assert "\n" not in str(error)
