"""A user's mistake is one readable line and exit code 2, and nothing that existed is lost."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erg.data import load, read_inputs
from erg.errors import UserError
from erg.files import write_atomically
from tests.contracts.commands import DIGITS, contents, erg, pictures, refusal, start
from tests.contracts.files import bytes_of, write_idx


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small run of the digits recipe."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert erg("train", *DIGITS, "--goals={}", "--out", folder).code == 0
    return folder


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def cut(path: Path) -> Path:
    """Half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "did you mean 'train'?"),
        (["--verbose"], "A command comes first"),
        (["train"], "needs a recipe"),
        (["train", "--steps", "5", "digits"], "needs a recipe as its first word"),
        (["train", "digist"], "did you mean 'digits'?"),
        (["train", "nothing.yaml"], "There is no recipe file nothing.yaml"),
        (["train", "digits", "--bach_size", "3"], "did you mean 'batch_size'?"),
        (["train", "digits", "--data.nmae", "x"], "did you mean 'data.name'?"),
        (["train", "digits", "--guard.limits.gapp", "3"], "did you mean 'guard.limits.gap'?"),
        (["train", "digits", "--objective.negatives.stepz", "3"], "did you mean 'objective.negatives.steps'?"),
        (["train", "digits", "--batch_size", "many"], "batch_size: expected int, but got 'many'"),
        (["train", "digits", "--optimizer.lr=x"], "expected float or Tensor, but got 'x'"),
        (["train", "digits", "--network=erg.networks.ConvNett"], "did you mean 'ConvNet'?"),
        (["train", "digits", "--network=nothing.Here"], "No module named 'nothing'"),
        (["train", "digits", "--objective.negatives.kernel=torch.nn.Linear"], "Kernel"),
        (["train", "digits", "--objective.negatives.kernel.step_size=-1"], "positive"),
        (["train", "digits", "--objective.negatives.dtype=float17"], "not a dtype"),
        (["train", "digits", "--steps=0"], "steps is at least 1"),
        (["train", "digits", "--seed=-1"], "not negative"),
        (["train", "digits", "--steps"], "expected one argument"),
        (["train", "digits", "--optimizer.lr=-1"], "The optimizer of recipe digits cannot be made"),
        (["train", "digits", "--network=ConvNett"], "a class such as erg.networks.ConvNet"),
        (["train", "digits", "--network.channels=3"], "network.channels: expected a list"),
        (["train", "digits", "stray"], "stray"),
        (["train", "digits", "--data.name=mnits"], "did you mean 'mnist'?"),
        (["train", "digits", "--goals={class_kll: ['<=', 1]}"], "'class_kll'"),
        (["train", "digits", "--device=gpu"], "auto, cpu, cuda or mps"),
        (["train", "digits", "--resume", "x"], "takes no recipe"),
        (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
        (["sample", "nowhere"], "nowhere is not a run folder"),
        (["score", "nowhere", "x.png"], "nowhere is not a run folder"),
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["report", "nowhere"], "nowhere is not a run folder"),
        (["runs", "nowhere"], "nowhere is not a run folder"),
        (["runs", "list"], "list is not a run folder; `erg runs` without a name lists the runs"),
        (["runs", "--root", "nowhere"], "no runs"),
        (["sample"], "RUN"),
        (["sample", "x", "-n", "0"], "-n of at least 1"),
        (["sample", "x", "--temperature", "0"], "positive --temperature"),
        (["sample", "x", "--out", "x.jpeg"], "FILE.png"),
        (["sample", "x", "--temprature", "1"], "did you mean '--temperature'?"),
        (["evaluate", "x", "-n", "many"], "invalid int value"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refusal(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not YAML at line"),
        ("- 1", "holds a list"),
        ("", "holds nothing"),
        ("name: x", "recipe.yaml"),
        ("name: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("stepz: 3", "did you mean 'steps'?"),
    ],
)
def test_a_recipe_file_that_is_none(text, said, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    assert said in refusal("train", tmp_path / "recipe.yaml")


def test_data_in_the_place_of_a_recipe_are_pointed_to_their_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("1,2\n")
    assert "--data.path own.csv" in refusal("train", "own.csv")


def bad_data(folder: Path) -> dict[str, tuple[Path, str]]:
    """Data that no run can use, and what is said of them."""
    empty, mixed = folder / "empty", pictures(folder / "mixed")
    empty.mkdir()
    Image.fromarray(bytes_of(1, 9, 9)).save(mixed / "larger.png")
    colours = pictures(folder / "colours")
    Image.fromarray(bytes_of(1, 8, 8, 3)).save(colours / "colour.png")
    half = pictures(folder / "half")
    cut(half / "003.png")
    nan = np.zeros((48, 8, 8), np.float32)
    nan[3, 0, 0] = np.nan
    (folder / "nan.csv").write_text("1,2\n3,x\n")
    return {
        "missing file": (folder / "nothing.npy", "There is no file or folder"),
        "empty folder": (empty, "holds none"),
        "truncated IDX": (cut(write_idx(folder / "x.idx3-ubyte", bytes_of(0, 48, 8, 8))), "x.idx3-ubyte"),
        "truncated PNG": (half, "003.png"),
        "truncated NPY": (cut(saved(folder / "cut.npy", bytes_of(0, 48, 8, 8))), "cut.npy"),
        "two sizes": (mixed, "larger.png"),
        "two channel counts": (colours, "colour"),
        "wrong shape": (saved(folder / "five.npy", np.zeros((4, 1, 8, 8, 2), np.float32)), "but has (4, 1, 8, 8, 2)"),
        "channels last": (saved(folder / "last.npy", bytes_of(0, 48, 8, 8, 3)), "channels last"),
        "NaN pixels": (saved(folder / "nan.npy", nan), "NaN"),
        "wrong dtype": (saved(folder / "text.npy", np.array([["a"]])), "text.npy"),
        "wrong range": (saved(folder / "wide.npy", np.full((48, 8, 8), 7.0)), "expected all in"),
        "too few rows": (saved(folder / "few.npy", bytes_of(0, 20, 8, 8)), "4 to hold out"),
        "a table": (folder / "nan.csv", "line 2"),
    }


def test_bad_data_are_refused(tmp_path):
    for kind, (path, said) in bad_data(tmp_path).items():
        if kind == "too few rows":
            continue  # For a batch of eight; see below.
        with pytest.raises(UserError) as refused:
            load("images", path=path)
        assert said in str(refused.value), (kind, refused.value)


def test_bad_data_are_refused_before_a_run_begins(tmp_path):
    bad = bad_data(tmp_path)
    for path, said in (bad["truncated PNG"], bad["too few rows"]):
        small = ["--batch_size=8", "--device=cpu"]
        assert said in refusal("train", "images", "--data.path", path, *small, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_bad_inputs_are_not_scored(run, tmp_path):
    before = contents(run)
    for kind, (path, said) in bad_data(tmp_path).items():
        if kind in ("too few rows", "two channel counts"):
            continue  # Three channels that are equal are grey, and any number of rows can be scored.
        with pytest.raises(UserError) as refused:
            read_inputs([path], (1, 8, 8))
        assert said in str(refused.value) or kind in ("wrong shape", "channels last", "a table"), (
            kind,
            refused.value,
        )
    assert "003.png" in refusal("score", run, tmp_path / "half", "--out", tmp_path / "scores.csv")
    Image.fromarray(bytes_of(1, 8, 8, 3)).save(tmp_path / "colour.png")
    assert "(1, 8, 8)" in refusal("score", run, tmp_path / "colour.png")
    assert not (tmp_path / "scores.csv").exists()
    assert contents(run) == before


def test_an_out_that_is_used_is_refused_untouched(tmp_path, run):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for out in ("mine", "file"):
        assert "not empty" in refusal("train", *DIGITS, "--out", tmp_path / out)
    assert "--resume" in refusal("train", *DIGITS, "--out", run)
    assert contents(tmp_path) == {"mine/letter.txt": b"dear", "file": b"dear"}
    assert "Not a directory" in refusal("train", *DIGITS, "--out", tmp_path / "file" / "run")
    assert "Cannot write" in refusal("sample", run, "-n", 2, "--out", tmp_path / "file" / "x.png")
    assert contents(tmp_path) == {"mine/letter.txt": b"dear", "file": b"dear"}


def test_a_failure_leaves_the_file_that_was_there(run, tmp_path):
    for name in ("x.npy", "x.png"):
        (tmp_path / name).write_text("old")
        with largest_file(200):
            line = refusal("sample", run, "-n", 20, "--out", tmp_path / name)
        assert line == f"erg: Cannot write {tmp_path / name}: File too large; nothing that existed was changed.\n"
        assert contents(tmp_path) == {name: b"old"}
        (tmp_path / name).unlink()


@pytest.mark.parametrize("save", [np.save, np.savez, lambda file, x: file.write(x.tobytes())])
def test_a_full_disk_is_named_with_its_file(save, tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(UserError) as refused, largest_file(200):
        write_atomically(tmp_path / "x", lambda file: save(file, np.zeros(100_000)))
    assert str(refused.value) == f"Cannot write {tmp_path / 'x'}: File too large; nothing that existed was changed."

    def write(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"Cannot write .*x: No space left on device; nothing"):
        write_atomically(tmp_path / "x", write)
    assert contents(tmp_path) == {"x": b"old"}


@contextmanager
def largest_file(size: int):
    """No file can grow beyond this, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def mounted(folder: Path, options: str):
    """A small file system of its own, where the test may mount one."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


needs_mount = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="mounting a file system needs root",
)


@needs_mount
def test_a_full_disk_stops_a_run_and_keeps_its_last_checkpoint(tmp_path):
    from erg.training.checkpoint import Checkpoints

    with mounted(tmp_path / "disk", "size=400k") as disk:
        endless = [option for option in DIGITS if not option.startswith(("--steps", "--validation.every"))]
        line = refusal(
            *("train", *endless, "--steps=5000", "--validation.every=1", "--checkpoint_seconds=0"),
            *("--out", disk / "run"),
        )
        assert "No space left on device" in line
        assert Checkpoints(disk / "run" / "checkpoints").load()["step"] >= 1
        assert not [name for name in contents(disk) if name.endswith(".part")]


@needs_mount
def test_a_disk_that_cannot_be_written(run, tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        assert "Read-only" in refusal("train", *DIGITS, "--out", disk / "run")
        assert "Read-only" in refusal("sample", run, "-n", 2, "--out", disk / "x.png")
        assert "Read-only" in refusal("score", run, pictures(tmp_path / "p", 2), "--out", disk / "x.csv")


def test_a_mistake_is_one_line_of_the_real_command_too(tmp_path):
    process = start("train", "digist", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "erg: There is no recipe called 'digist'; did you mean 'digits'?\n"


def test_the_package_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "erg", "trian"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "erg: There is no command 'trian'; did you mean 'train'?\n"


def test_what_nobody_foresaw_is_one_line_unless_asked_for(monkeypatch):
    import erg.cli.doctor

    def fail(arguments: list[str]) -> int:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(erg.cli.doctor, "run", fail)
    assert refusal("doctor") == "erg: out of luck (RuntimeError; ERG_TRACEBACK=1 shows where).\n"
    monkeypatch.setenv("ERG_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="luck"):
        erg_main()


def erg_main() -> None:
    from erg.cli.main import main

    main(["doctor"])
