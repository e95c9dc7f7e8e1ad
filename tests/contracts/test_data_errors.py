"""Bad data are refused with one sentence that names the file and says what to do. Every file here is real."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erg.data import load, read_inputs
from erg.errors import UserError
from tests.contracts.files import bytes_of, write_idx, write_pictures


def refusal(path: Path, name: str = "images") -> str:
    """The sentence with which a path is refused."""
    with pytest.raises(UserError) as caught:
        load(name, path=path)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_missing_path_is_named(tmp_path):
    assert f"no file or folder {tmp_path / 'nothing'}" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mnits", "did you mean 'mnist'"),
        ("Digits", "did you mean 'digits'"),
        (None, "neither a name nor a path"),
        ("", "neither a name nor a path"),
        ("zebra", "choose one of them"),
        ("images", "give --data.path"),
        ("table", "give --data.path"),
    ],
)
def test_unknown_names_and_names_that_need_a_path(name, sentence):
    with pytest.raises(UserError, match=sentence):
        load(name)


def test_a_table_is_not_images_and_images_are_not_a_table(tmp_path):
    assert "holds a table; use the other recipe" in refusal(written(tmp_path / "t.csv", "1,2\n3,4\n"))
    images = saved(tmp_path / "x.npy", bytes_of(0, 3, 2, 2))
    assert "holds images; use the other recipe" in refusal(images, "table")


def test_unknown_kinds_of_file_and_single_pictures(tmp_path):
    assert "unknown kind" in refusal(written(tmp_path / "x.docx", "x"))
    write_pictures(tmp_path, bytes_of(0, 1, 4, 4))
    assert "is one picture" in refusal(tmp_path / "000.png")


class TestFolders:
    def test_empty(self, tmp_path):
        assert "holds none" in refusal(tmp_path)
        written(tmp_path / "notes.txt", "not a picture")
        assert "holds none" in refusal(tmp_path)

    def test_one_picture_only(self, tmp_path):
        assert "at least 2 rows" in refusal(write_pictures(tmp_path, bytes_of(0, 1, 4, 4)))

    def test_a_truncated_picture(self, tmp_path):
        write_pictures(tmp_path, bytes_of(0, 3, 40, 40))
        whole = (tmp_path / "001.png").read_bytes()
        for length in (0, 4, 20, 40, len(whole) // 2):
            written(tmp_path / "001.png", whole[:length])
            assert "001.png: it is damaged or not a picture" in refusal(tmp_path)

    def test_a_gif_that_ends_where_a_second_frame_begins(self, tmp_path):
        write_pictures(tmp_path, bytes_of(0, 2, 4, 4), ".gif")
        whole = (tmp_path / "001.gif").read_bytes()
        written(tmp_path / "001.gif", whole[:-1] + b"," + bytes(9 * [1]))
        assert "001.gif: it is damaged or not a picture" in refusal(tmp_path)

    def test_a_text_file_named_png(self, tmp_path):
        write_pictures(tmp_path, bytes_of(0, 3, 4, 4))
        written(tmp_path / "002.png", "hello")
        assert "002.png: it is damaged or not a picture" in refusal(tmp_path)

    def test_the_first_picture_of_another_size(self, tmp_path):
        write_pictures(tmp_path, bytes_of(0, 4, 4, 4))
        Image.fromarray(bytes_of(0, 4, 6)).save(tmp_path / "002.png")
        sentence = refusal(tmp_path)
        assert "002.png is 6x4" in sentence and "000.png is 4x4" in sentence

    def test_grey_among_colour(self, tmp_path):
        write_pictures(tmp_path, bytes_of(0, 4, 4, 4, 3))
        Image.fromarray(bytes_of(0, 4, 4)).save(tmp_path / "002.png")
        assert "002.png is grey but" in refusal(tmp_path)

    def test_transparency_animation_and_deep_pixels(self, tmp_path):
        for name in ("clear", "moving", "deep", "print"):
            write_pictures(tmp_path / name, bytes_of(0, 2, 4, 4))
        Image.fromarray(bytes_of(0, 4, 4, 4), "RGBA").save(tmp_path / "clear" / "001.png")
        assert "transparent" in refusal(tmp_path / "clear")
        frames = [Image.fromarray(frame) for frame in bytes_of(0, 3, 4, 4)]
        frames[0].save(tmp_path / "moving" / "002.gif", save_all=True, append_images=frames[1:])
        assert "animation of 3" in refusal(tmp_path / "moving")
        Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000).save(tmp_path / "deep" / "001.png")
        assert "8-bit grey or RGB" in refusal(tmp_path / "deep")
        Image.new("CMYK", (4, 4)).save(tmp_path / "print" / "001.jpg")
        assert "its mode is CMYK" in refusal(tmp_path / "print")

    def test_pictures_at_mixed_depths(self, tmp_path):
        write_pictures(tmp_path / "ant", bytes_of(0, 3, 4, 4))
        write_pictures(tmp_path, bytes_of(0, 1, 4, 4))
        assert "000.png does not; move it" in refusal(tmp_path)

    def test_mnist_layout_with_a_file_missing(self, tmp_path):
        write_idx(tmp_path / "train-images-idx3-ubyte", bytes_of(0, 3, 4, 4))
        assert "train-labels-idx1-ubyte.gz: No such file" in refusal(tmp_path, "mnist")

    def test_mnist_layout_with_labels_missing(self, tmp_path):
        for part in ("train", "t10k"):
            write_idx(tmp_path / f"{part}-images-idx3-ubyte", bytes_of(0, 3, 4, 4))
            write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.zeros(2, np.uint8))
        assert "one label per row, shape (3,)" in refusal(tmp_path, "mnist")


class TestIdx:
    def test_truncated_anywhere(self, tmp_path):
        whole = write_idx(tmp_path / "x.idx", bytes_of(0, 5, 4, 4)).read_bytes()
        for length in range(len(whole)):
            refusal(written(tmp_path / "x.idx", whole[:length]))
        assert "hold 80 bytes of values, but holds only 79" in refusal(tmp_path / "x.idx")

    def test_bytes_to_spare(self, tmp_path):
        whole = write_idx(tmp_path / "x.idx", bytes_of(0, 5, 4, 4)).read_bytes()
        assert "but holds more" in refusal(written(tmp_path / "x.idx", whole + b"!"))

    def test_a_header_that_promises_more_than_there_is_memory(self, tmp_path):
        header = struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3)
        for content in (header, gzip.compress(header)):
            assert "holds only 0" in refusal(written(tmp_path / "x.idx", content))

    def test_not_idx(self, tmp_path):
        assert "is not an IDX file" in refusal(written(tmp_path / "x.idx", "hello there"))

    def test_a_damaged_gzip(self, tmp_path):
        whole = bytearray(write_idx(tmp_path / "x.idx.gz", bytes_of(0, 50, 8, 8)).read_bytes())
        assert "damaged gzip" in refusal(written(tmp_path / "x.idx.gz", bytes(whole[:-9])))
        whole[len(whole) // 2] ^= 0xFF
        assert "damaged gzip" in refusal(written(tmp_path / "x.idx.gz", bytes(whole)))

    def test_labels_are_not_images(self, tmp_path):
        path = write_idx(tmp_path / "labels-idx1-ubyte", np.zeros(9, np.uint8))
        assert "should have shape (rows, columns)" in refusal(path)


class TestArrays:
    @pytest.mark.parametrize(
        ("array", "sentence"),
        [
            (np.array([[1], "a"], dtype=object), "holds Python objects"),
            (np.array([["a", "b"]]), "holds <U1"),
            (np.zeros((3, 2, 2), bool), "holds bool"),
            (np.zeros((3, 2, 2), complex), "holds complex128"),
            (np.zeros((0, 2, 2)), "at least one row"),
            (np.zeros((3, 0, 2)), "at least one row"),
            (np.zeros(7), "should have shape"),
            (np.zeros((2, 2, 2, 2, 2)), "should have shape"),
            (np.zeros((5, 8, 8, 3)), "channels last"),
            (np.full((3, 2, 2), 2.0), "pixels from 2 to 2"),
            (np.linspace(-1, 1.0001, 12).reshape(3, 2, 2), "to 1.0001, expected"),
            (np.arange(-1, 11).reshape(3, 2, 2), "integer pixels from -1"),
            (np.arange(250, 262).reshape(3, 2, 2), "integer pixels from 250 to 261"),
            (np.arange(12).reshape(3, 2, 2) % 2, "save 0 and 1 as floating"),
            (np.zeros((1, 2, 2)), "at least 2 rows"),
        ],
    )
    def test_wrong_types_shapes_and_ranges(self, tmp_path, array, sentence):
        assert sentence in refusal(saved(tmp_path / "x.npy", array))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("shape", [(5, 2, 2), (5, 3)])
    def test_non_finite_values_and_their_row(self, tmp_path, bad, shape):
        array = np.zeros(shape)
        array[3, 1] = bad
        assert "row 3 has NaN or infinity" in refusal(saved(tmp_path / "x.npy", array))

    def test_damaged_files(self, tmp_path):
        whole = saved(tmp_path / "x.npy", bytes_of(0, 5, 4, 4)).read_bytes()
        for content in (b"", whole[:5], whole[:50], whole[:-1], b"hello"):
            assert "x.npy" in refusal(written(tmp_path / "x.npy", content))
        np.savez_compressed(tmp_path / "x.npz", x=bytes_of(0, 50, 8, 8))
        whole = (tmp_path / "x.npz").read_bytes()
        middle = len(whole) // 2
        for content in (whole[:middle], whole[:middle] + b"\0\0\0\0" + whole[middle + 4 :]):
            assert "damaged or not in NumPy's format" in refusal(written(tmp_path / "x.npz", content))

    def test_several_arrays_without_x(self, tmp_path):
        np.savez(tmp_path / "x.npz", first=np.zeros(3), second=np.zeros(3))
        assert "holds first, second; name the data x" in refusal(tmp_path / "x.npz")
        np.savez(tmp_path / "x.npz")
        assert "holds none" in refusal(tmp_path / "x.npz")

    @pytest.mark.parametrize(
        ("y", "sentence"),
        [(np.zeros(4), "shape (5,)"), (np.full(5, 0.5), "fractions"), (np.array(list("abcde")), "holds <U1")],
    )
    def test_labels_that_do_not_fit(self, tmp_path, y, sentence):
        np.savez(tmp_path / "x.npz", x=bytes_of(0, 5, 2, 2), y=y)
        assert sentence in refusal(tmp_path / "x.npz")

    def test_python_objects_are_never_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "sprung",))

        refusal(saved(tmp_path / "x.npy", np.array([Trap()], dtype=object)))
        assert not (tmp_path / "sprung").exists()


class TestTables:
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("", "holds none"),
            ("\n\n", "holds none"),
            ("a,b\n", "holds none"),
            ("1,2\n", "at least 2 rows"),
            ("1,2\n3,4\n5,6,7\n", "2 columns in every row, but line 3 has 3"),
            ("a,b\n1,2\n\n3\n", "line 4 has 1"),
            ("1,2\n3,x\n", "line 2, column 2 is 'x'"),
            ("width,height\n1,2\n3,4\n5, tall\n", "line 4, column 2 (height) is 'tall'"),
            ("1,2\n3,\n", "line 2, column 2 is ''"),
            ("1,2\n3,nan\n", "line 2, column 2 is 'nan'"),
            ("1,2\n-inf,4\n", "line 2, column 1 is '-inf'"),
            ("1,2\n1_000,4\n", "'1_000'"),
            ("id,2\n3,4\n", "line 1, column 1 is 'id'"),
            ("1e200,1\n-1e200,1\n1e200,2\n1e200,2\n", "Column 1"),
            (b"\xff\xfe1\x00,\x002\x00", "not a CSV file in UTF-8"),
        ],
    )
    def test_bad_tables(self, tmp_path, content, sentence):
        assert sentence in refusal(written(tmp_path / "t.csv", content), "table")

    def test_a_constant_column_becomes_zeros(self, tmp_path):
        dataset = load("table", path=written(tmp_path / "t.csv", "".join(f"{k},0.1\n" for k in range(30))))
        for split in (dataset.train, dataset.held_out):
            assert split.x.isfinite().all() and (split.x[:, 1].abs() < 1e-6).all()


class TestInputs:
    @pytest.mark.parametrize(
        ("name", "array", "shape", "sentence"),
        [
            ("x.npy", bytes_of(0, 2, 5, 5), (1, 4, 4), "rows of shape (1, 4, 4), but has shape (2, 5, 5)"),
            ("x.npy", bytes_of(0, 2, 3, 4, 4), (1, 4, 4), "but has shape (2, 3, 4, 4)"),
            ("x.npy", np.zeros((2, 4)), (3,), "rows of shape (3,), but has shape (2, 4)"),
            ("x.npy", np.full((2, 4, 4), np.nan), (1, 4, 4), "row 0 has NaN"),
            ("x.npy", np.full((2, 4, 4), 7.0), (1, 4, 4), "expected all in [0, 1]"),
            ("x.npy", np.array(["a"]), (1,), "holds <U1"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, name, array, shape, sentence):
        with pytest.raises(UserError) as caught:
            read_inputs([saved(tmp_path / name, array)], shape)
        assert sentence in str(caught.value) and name in str(caught.value)

    @pytest.mark.parametrize(
        ("levels", "shape"),
        [
            (bytes_of(0, 5, 4), (1, 4, 4)),
            (bytes_of(0, 4, 4, 3), (1, 4, 4)),
            (bytes_of(0, 4, 4), (3, 4, 4)),
            (bytes_of(0, 4, 4), (16,)),
        ],
    )
    def test_pictures_that_do_not_fit(self, tmp_path, levels, shape):
        write_pictures(tmp_path, levels[None])
        for path in (tmp_path, tmp_path / "000.png"):
            with pytest.raises(UserError) as caught:
                read_inputs([path], shape)
            got = (levels.shape[2] if levels.ndim == 3 else 1, *levels.shape[:2])
            assert all(part in str(caught.value) for part in ("000.png", str(shape), str(got)))

    def test_one_bad_file_among_good_ones_is_the_one_named(self, tmp_path):
        write_pictures(tmp_path, bytes_of(0, 3, 4, 4))
        written(tmp_path / "001.png", "hello")
        with pytest.raises(UserError, match=r"001\.png"):
            read_inputs([tmp_path], (1, 4, 4))

    def test_nothing_to_read(self, tmp_path):
        with pytest.raises(UserError, match="name at least one"):
            read_inputs([], (1, 4, 4))
        with pytest.raises(UserError, match="no file or folder"):
            read_inputs([tmp_path / "gone"], (1, 4, 4))
        with pytest.raises(UserError, match="holds none"):
            read_inputs([tmp_path], (1, 4, 4))

    def test_nearly_black_pictures_are_fine(self, tmp_path):
        write_pictures(tmp_path, np.eye(4, dtype=np.uint8)[None])
        x, _ = read_inputs([tmp_path], (1, 4, 4))
        assert torch.equal(x[0, 0], torch.from_numpy(np.eye(4) / 127.5 - 1).float())
