"""Every source gives the same kind of data set, with the values that are in the files."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erg.data import Dataset, Scaling, Split, available, load, read_inputs
from erg.data.dataset import hold_out
from erg.data.mnist import FILES
from erg.support import Box, Real
from tests.contracts.files import bytes_of, write_idx, write_pictures

DATA = os.environ.get("ERG_DATA")
needs_mnist = pytest.mark.skipif(
    not (DATA and (Path(DATA) / "mnist").is_dir()), reason="ERG_DATA is unset or has no mnist folder"
)


def everything(dataset: Dataset) -> torch.Tensor:
    return torch.cat([dataset.train.x, dataset.held_out.x])


def sorted_rows(x: torch.Tensor) -> list[list[float]]:
    return sorted(x.flatten(1).tolist())


def assert_well_formed(dataset: Dataset) -> None:
    for split in (dataset.train, dataset.held_out):
        assert split.x.dtype == torch.float32
        assert split.x.shape == (len(split), *dataset.shape)
        assert dataset.support.contains(split.x).all()
        assert split.y is None or (split.y.dtype == torch.int64 and split.y.shape == (len(split),))
    assert len(dataset.train) and len(dataset.held_out)
    assert (dataset.scaling is None) == (dataset.support == Box(-1.0, 1.0))


def test_digits_are_the_embedded_ones_and_split_the_same_for_every_seed():
    from sklearn.datasets import load_digits

    dataset, other = load("digits"), load("digits", seed=7)
    assert_well_formed(dataset)
    assert dataset.shape == (1, 8, 8)
    assert torch.equal(dataset.train.x, other.train.x)
    assert sorted_rows((everything(dataset) + 1) * 8) == sorted_rows(torch.from_numpy(load_digits().data))
    totals = torch.cat([dataset.train.y, dataset.held_out.y]).bincount()
    # Each class gives its share of the held-out rows to within one.
    assert ((dataset.held_out.y.bincount() - totals * len(dataset.held_out) / 1797).abs() <= 1).all()


@needs_mnist
def test_mnist_has_its_own_test_digits():
    dataset = load("mnist")
    assert_well_formed(dataset)
    assert (len(dataset.train), len(dataset.held_out), dataset.shape) == (60_000, 10_000, (1, 28, 28))
    # The mean and standard deviation that every tutorial divides by.
    grey = (dataset.train.x.double() + 1) / 2
    assert abs(grey.mean() - 0.1307) < 1e-4 and abs(grey.std() - 0.3081) < 1e-4
    assert dataset.train.y[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_in_the_layout_of_mnist_is_read_as_such(tmp_path, suffix):
    parts = {"train": bytes_of(0, 12, 5, 4), "t10k": bytes_of(1, 3, 5, 4)}
    for part, levels in parts.items():
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}", levels)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", np.arange(len(levels), dtype=np.uint8))
    dataset = load("mnist", path=tmp_path)
    assert_well_formed(dataset)
    assert dataset.name == tmp_path.name
    assert torch.equal(dataset.held_out.x, torch.from_numpy(parts["t10k"] / 127.5 - 1).float()[:, None])
    assert dataset.train.y.tolist() == list(range(12))


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_pictures_keeps_every_grey_level(tmp_path, suffix, channels):
    levels = bytes_of(0, 11, 6, 4, 3)
    folder = write_pictures(tmp_path / "set", levels[..., 0] if channels == 1 else levels, suffix)
    dataset = load("images", path=folder)
    assert_well_formed(dataset)
    assert (dataset.shape, len(dataset.held_out), dataset.train.y) == ((channels, 6, 4), 1, None)
    expected = torch.from_numpy(levels.transpose(0, 3, 1, 2)[:, :channels] / 127.5 - 1).float()
    assert sorted_rows(everything(dataset)) == sorted_rows(expected)


def test_jpeg_gif_and_upper_case_names_are_pictures_and_other_files_are_passed_over(tmp_path):
    flat = np.full((8, 8), 128, np.uint8)
    for name in ("a.jpg", "b.JPEG", "c.gif", "d.PNG"):
        Image.fromarray(flat).save(tmp_path / name)
    (tmp_path / "readme.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("not a picture either")
    x = everything(load("images", path=tmp_path))
    assert x.shape == (4, 1, 8, 8)
    assert (x - (128 / 127.5 - 1)).abs().max() <= 2 / 127.5


def test_subfolders_are_labels_in_the_order_of_their_names(tmp_path):
    for label, name in enumerate(["ant", "bee"]):
        write_pictures(tmp_path / name, np.full((20, 3, 3), 100 * label, np.uint8))
    dataset = load("images", path=tmp_path)
    assert_well_formed(dataset)
    assert dataset.held_out.y.bincount().tolist() == [2, 2]
    assert ((everything(dataset)[:, 0, 0, 0] > -1) == torch.cat([dataset.train.y, dataset.held_out.y])).all()


def test_grey_pictures_stored_in_colour_are_grey_unless_one_has_colour(tmp_path):
    grey = np.repeat(bytes_of(0, 5, 4, 4, 1), 3, axis=-1)
    write_pictures(tmp_path, grey)
    Image.fromarray(grey[0]).convert("RGBA").save(tmp_path / "opaque.png")
    Image.fromarray(grey[0]).quantize(256).save(tmp_path / "palette.gif")
    assert load("images", path=tmp_path).shape == (1, 4, 4)
    Image.fromarray(bytes_of(1, 4, 4, 3)).save(tmp_path / "colour.png")
    assert load("images", path=tmp_path).shape == (3, 4, 4)


def test_pictures_are_turned_the_way_the_camera_says(tmp_path):
    levels = bytes_of(0, 4, 6)
    for name in ("a.png", "b.png"):
        picture = Image.fromarray(levels)
        exif = picture.getexif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise
        picture.save(tmp_path / name, exif=exif)
    x, _ = read_inputs([tmp_path / "a.png"], (1, 6, 4))
    assert torch.equal(x[0, 0], torch.from_numpy(np.rot90(levels, -1) / 127.5 - 1).float())


@pytest.mark.parametrize("kind", ["bytes", "integers", "unit", "signed", "half"])
def test_array_images_of_every_convention_mean_the_same(tmp_path, kind):
    levels = bytes_of(0, 10, 2, 3, 5)
    unit = levels / 255
    array = {
        "bytes": levels,
        "integers": levels.astype(np.int64),
        "unit": unit,
        "signed": (2 * unit - 1).astype(np.float32),
        "half": (2 * unit - 1).astype(np.float16),
    }[kind]
    np.save(tmp_path / "x.npy", array)
    dataset = load("images", path=tmp_path / "x.npy")
    assert_well_formed(dataset)
    got, expected = everything(dataset), torch.from_numpy(2 * unit - 1).float()
    key = lambda x: sorted(range(10), key=lambda row: x[row].flatten().tolist())  # noqa: E731
    assert torch.allclose(got[key(got)], expected[key(expected)], atol=1e-3 if kind == "half" else 1e-6)


def test_three_axes_are_grey_images(tmp_path):
    np.save(tmp_path / "x.npy", bytes_of(0, 9, 5, 4))
    assert load("images", path=tmp_path / "x.npy").shape == (1, 5, 4)


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("anything",)])
def test_npz_files_give_x_and_labels(tmp_path, names):
    contents = dict(zip(names, (bytes_of(0, 20, 3, 3), np.arange(20) % 2), strict=False))
    np.savez(tmp_path / "set.npz", **contents)
    dataset = load("images", path=tmp_path / "set.npz")
    assert_well_formed(dataset)
    assert (dataset.train.y is not None) == (len(names) == 2)


@pytest.mark.parametrize("name", ["a.idx", "a.idx3.gz", "a-images-idx3-ubyte", "a-images-idx3-ubyte.gz"])
def test_one_idx_file_is_enough_and_its_labels_are_found_beside_it(tmp_path, name):
    levels = bytes_of(0, 20, 4, 4)
    path = write_idx(tmp_path / name, levels)
    if "images" in name:
        write_idx(tmp_path / name.replace("images-idx3", "labels-idx1"), np.arange(20, dtype=np.uint8))
    dataset = load("images", path=path)
    assert_well_formed(dataset)
    assert (dataset.train.y is not None) == ("images" in name)
    assert sorted_rows(everything(dataset)) == sorted_rows(torch.from_numpy(levels / 127.5 - 1).float())


@pytest.mark.parametrize(("code", "kind"), [(0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")])
def test_idx_holds_every_type_of_number(tmp_path, code, kind):
    table = np.array([[-3, 100], [4, 7], [-5, 0]], dtype=kind)
    dataset = load("table", path=write_idx(tmp_path / "t.idx", table, code))
    assert_well_formed(dataset)
    assert sorted_rows(dataset.scaling.undo(everything(dataset)).round()) == sorted_rows(torch.from_numpy(table))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
def test_tables_are_standardised_by_their_training_rows(tmp_path, delimiter, header):
    table = np.random.default_rng(0).normal([5e8, -2, 7], [3, 1e-3, 0], (40, 3))
    lines = [delimiter.join(map(repr, map(float, row))) for row in table]
    (tmp_path / "t.csv").write_text("\n".join([delimiter.join("abc")] * header + lines) + "\n\n")
    dataset = load("table", path=tmp_path / "t.csv")
    assert_well_formed(dataset)
    assert (dataset.shape, dataset.support, len(dataset.held_out)) == ((3,), Real(), 4)
    assert torch.allclose(dataset.train.x.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(dataset.train.x.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5)
    assert (everything(dataset)[:, 2] == 0).all()
    back = dataset.scaling.undo(everything(dataset)).numpy()
    assert np.allclose(back[np.argsort(back[:, 0])], table[np.argsort(table[:, 0])], rtol=1e-7, atol=0)


def test_two_axes_of_an_array_are_a_table(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.arange(60, dtype=np.int16).reshape(20, 3), y=np.arange(20) % 2)
    dataset = load("table", path=tmp_path / "t.npz")
    assert_well_formed(dataset)
    assert dataset.held_out.y.tolist().count(1) == 1


def test_any_recipe_can_be_trained_on_another_set(tmp_path):
    np.save(tmp_path / "mine.npy", bytes_of(0, 10, 4, 4))
    for name in ("digits", "images", None, ""):
        assert load(name, path=str(tmp_path / "mine.npy")).name == "mine.npy"


@pytest.mark.parametrize("rows", [2, 3, 14, 16, 1000])
def test_holding_out_divides_the_rows(rows):
    x = torch.arange(rows, dtype=torch.float32)[:, None]
    train, held_out = hold_out(Split(x), name="rows", seed=3)
    assert len(held_out) == max(1, round(rows / 10))
    assert torch.equal(torch.cat([train.x, held_out.x]).sort(0).values, x)
    again, _ = hold_out(Split(x), name="rows", seed=3)
    assert torch.equal(train.x, again.x)
    if rows == 1000:
        assert not torch.equal(train.x, hold_out(Split(x), name="rows", seed=4)[0].x)
        # Uniform over rows: the mean of 100 draws of 0..999 without replacement.
        assert abs(held_out.x.mean() - 499.5) < 5 * (1000**2 / 12 / 100) ** 0.5


def test_holding_out_takes_its_share_of_every_label():
    y = torch.tensor([0] * 500 + [1] * 30 + [2] * 70)
    _, held_out = hold_out(Split(torch.arange(600.0)[:, None], y), name="rows", seed=0)
    assert len(held_out) == 60
    assert (held_out.y.bincount() - torch.tensor([50, 3, 7])).abs().max() <= 1
    assert torch.equal(y[held_out.x.squeeze(1).long()], held_out.y)


def test_inputs_of_all_kinds_make_one_batch_with_a_name_a_row(tmp_path):
    levels = bytes_of(0, 7, 4, 4)
    folder = write_pictures(tmp_path / "set", levels[:2])
    np.save(tmp_path / "many.npy", levels[2:5, None])
    np.save(tmp_path / "one.npy", levels[5])
    write_idx(tmp_path / "more-ubyte.gz", levels[6:])
    x, names = read_inputs(
        [folder, tmp_path / "many.npy", tmp_path / "one.npy", str(tmp_path / "more-ubyte.gz")], (1, 4, 4)
    )
    assert torch.equal(x, torch.from_numpy(levels / 127.5 - 1).float()[:, None])
    assert [name.removeprefix(str(tmp_path) + os.sep) for name in names] == [
        os.path.join("set", "000.png"),
        os.path.join("set", "001.png"),
        "many.npy[0]",
        "many.npy[1]",
        "many.npy[2]",
        "one.npy",
        "more-ubyte.gz",
    ]


def test_table_inputs_come_in_the_units_of_the_training_table(tmp_path):
    rows = np.array([[1e9 + 1, 5], [1e9 + 3, 9]])
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",")
    np.save(tmp_path / "row.npy", rows[0])
    scaling = Scaling(torch.tensor([1e9 + 1, 7.0], dtype=torch.float64), torch.tensor([2.0, 4.0]))
    x, names = read_inputs([tmp_path / "rows.csv", tmp_path / "row.npy"], (2,), scaling=scaling)
    assert torch.equal(x, torch.tensor([[0.0, -0.5], [1.0, 0.5], [0.0, -0.5]]))
    assert [name.rsplit(os.sep, 1)[1] for name in names] == ["rows.csv[0]", "rows.csv[1]", "row.npy"]


def test_a_dataset_can_be_scored_as_inputs_of_its_own(tmp_path):
    np.savetxt(tmp_path / "t.csv", np.random.default_rng(0).normal(3, 2, (30, 2)), delimiter=",")
    dataset = load("table", path=tmp_path / "t.csv")
    x, _ = read_inputs([tmp_path / "t.csv"], dataset.shape, scaling=dataset.scaling)
    assert sorted_rows(x) == sorted_rows(everything(dataset))


def test_the_catalogue_says_what_is_here_without_reading_it(tmp_path, monkeypatch):
    monkeypatch.delenv("ERG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    entries = {entry.name: entry for entry in available()}
    assert entries["digits"].found and not entries["mnist"].found
    assert str(tmp_path) in entries["mnist"].where
    for part, kind in (("train", "images-idx3"), ("train", "labels-idx1"), ("t10k", "images-idx3")):
        path = tmp_path / "elsewhere" / "mnist" / f"{part}-{kind}-ubyte.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("ERG_DATA", str(tmp_path / "elsewhere"))
    assert not {entry.name: entry for entry in available()}["mnist"].found
    (path.parent / "t10k-labels-idx1-ubyte").touch()
    assert {entry.name: entry for entry in available()}["mnist"].found


@needs_mnist
def test_the_files_of_mnist_have_the_checksums_that_downloads_must_have():
    folder = Path(DATA) / "mnist"
    for name, content in FILES.items():
        unpacked = gzip.decompress((folder / f"{name}.gz").read_bytes())
        assert (len(unpacked), hashlib.sha256(unpacked).hexdigest()) == content
