"""The commands do what their help says, and help answers at once."""

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from erg.cli.main import COMMANDS
from erg.runs.config import shipped
from tests.contracts.commands import DIGITS, TINY, erg, pictures, refusal, table


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A small run of the digits recipe."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    answer = erg("train", *DIGITS, "--out", folder, "--goals={auroc/noise: ['>=', 2.0]}")
    assert answer.code == 1, answer
    return folder


@pytest.fixture(scope="module")
def tabular(tmp_path_factory) -> Path:
    """A small run on a table."""
    root = tmp_path_factory.mktemp("tables")
    path = table(root / "own.csv")
    answer = erg("train", "table", "--data.path", path, *TINY, "--network.hidden=[4]", "--out", root / "run")
    assert answer.code == 0, answer
    return root / "run"


def seconds(program: str) -> float:
    """Processor time of a fresh interpreter, which other processes do not lengthen much."""
    clock = "time.process_time()"
    source = f"import sys, time\nbegan = {clock}\n{program}\nprint({clock} - began, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return float(done.stderr.split()[-1])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipes"], ["runs", "--help"]])
def test_help_and_lists_import_nothing_heavy(arguments):
    program = f"import sys\nfrom erg.cli.main import main\ntry:\n    main({arguments})\nexcept SystemExit: pass\n"
    program += "assert not {'torch', 'numpy', 'jsonargparse', 'rich'} & set(sys.modules), sorted(sys.modules)"
    assert statistics.median(seconds(program) for _ in range(3)) < 0.5


def test_help_names_every_command_and_each_has_a_help():
    answer = erg("--help")
    assert answer.code == 0 and not answer.err
    for command in COMMANDS:
        assert f"  {command} " in answer.out
        helped = erg(command, "--help")
        assert helped.code == 0 and f"usage: erg {command}" in helped.out
    assert erg().out == answer.out


def test_the_help_of_train_names_what_is_often_used():
    text = erg("train", "--help").out
    for option in ("--device", "--seed", "--out", "--resume", "--data.path", "--print_config"):
        assert option in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_help_of_a_recipe_lists_its_options_with_values_and_meanings():
    text = erg("train", "digits", "--help").out
    assert "--objective.negatives.steps 20\n        Transitions per call." in text
    assert "--seed 0\n        Seeds weights, data order and chains." in text
    assert max(len(line) for line in text.splitlines() if line.startswith("        ")) <= 100


def test_a_printed_config_is_a_recipe(tmp_path):
    printed = erg("train", *DIGITS, "--print_config").out
    assert yaml.safe_load(printed)["objective"]["init_args"]["negatives"]["init_args"]["steps"] == 2
    (tmp_path / "own.yaml").write_text(printed)
    assert erg("train", tmp_path / "own.yaml", "--print_config").out == printed


def test_recipes_data_and_doctor_answer():
    assert {line.split()[0] for line in erg("recipes").out.splitlines()} == set(shipped())
    assert "digits" in erg("data").out
    doctor = erg("doctor")
    assert doctor.code == 0 and "torch" in doctor.out and "compiler" in doctor.out


def test_training_says_which_goals_were_missed_and_where_the_report_is(digits):
    answer = erg("evaluate", digits, "-n", 20)
    last = answer.out.splitlines()[-1]
    assert answer.code == 1
    assert last == f"FAIL: 1 of 1 goals missed (auroc/noise). Report: {digits / 'report.html'}"
    assert (digits / "report.html").stat().st_size > 10_000


def test_goals_that_are_met_pass(digits, tmp_path):
    run = shutil.copytree(digits, tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("- 2.0", "- 0.0"))
    answer = erg("evaluate", run, "-n", 20)
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == f"PASS: all 1 goals met. Report: {run / 'report.html'}"


def test_samples_are_pictures_or_arrays_and_the_same_for_a_seed(digits, tmp_path):
    assert erg("sample", digits, "-n", 9, "--out", tmp_path / "s.png").out == f"{tmp_path / 's.png'}\n"
    # Eight pixels are shown four times as large.
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (3 * 34 + 2, 3 * 34 + 2)
    for name in ("a", "b"):
        assert erg("sample", digits, "-n", 5, "--seed", 3, "--steps", 4, "--out", tmp_path / f"{name}.npy").code == 0
    x = np.load(tmp_path / "a.npy")
    assert x.shape == (5, 1, 8, 8) and x.dtype == np.float32 and np.abs(x).max() <= 1
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    cold = erg(
        "sample", digits, "-n", 5, "--seed", 3, "--steps", 4, "--temperature", 0.1, "--out", tmp_path / "c.npy"
    )
    assert cold.code == 0 and not np.array_equal(np.load(tmp_path / "c.npy"), x)
    assert erg("sample", digits, "-n", 4).code == 0 and (digits / "samples" / "drawn.png").exists()


def test_samples_of_a_table_are_in_the_units_of_its_file(tabular, tmp_path):
    assert erg("sample", tabular, "-n", 200, "--steps", 0, "--out", tmp_path / "s.csv").code == 0
    header, *lines = (tmp_path / "s.csv").read_text().splitlines()
    assert header == "weight,dose of it"
    rows = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    # Noise is standard normal in standardised units: mean and spread are those of the file.
    assert rows.shape == (200, 2)
    assert np.abs(rows.mean(0) - [1000, 0]).max() < 60 and 70 < rows[:, 0].std() < 130
    assert erg("sample", tabular, "-n", 200, "--steps", 0, "--out", tmp_path / "s.npy").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), rows, rtol=1e-7)
    assert np.load(tabular / "samples" / "samples.npy").shape == (500, 2)
    assert "no pictures" in refusal("sample", tabular, "--out", tmp_path / "s.png")


def test_scores_of_a_table_are_those_of_standardised_rows(tabular):
    from erg.runs.model import open_model

    lines = erg("score", tabular, tabular.parent / "own.csv").out.splitlines()
    assert lines[0] == "input,energy,percentile" and len(lines) == 49
    rows = np.genfromtxt(tabular.parent / "own.csv", delimiter=",", skip_header=1)
    model = open_model(tabular)
    scaled = (torch.from_numpy(rows) - model.domain.scaling.mean) / model.domain.scaling.scale
    expected = model.energy(scaled.float())
    found = torch.tensor([float(line.split(",")[1]) for line in lines[1:]])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_columns_in_another_order_are_put_in_the_order_of_the_runs_table(tabular, tmp_path):
    own = tabular.parent / "own.csv"
    swapped = tmp_path / "swapped.csv"
    rows = [",".join(reversed(line.split(","))) for line in own.read_text().splitlines()]
    swapped.write_text("\n".join(rows))
    tables = [erg("score", tabular, path).out.splitlines() for path in (own, swapped)]
    first, second = ([line.split(",")[1:] for line in lines] for lines in tables)
    assert first == second
    swapped.write_text("\n".join(["length,colour", *rows[1:]]))
    assert "should have the columns" in refusal("score", tabular, swapped)


def test_a_run_on_a_relative_path_is_used_from_other_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "own.csv")
    made = erg("train", "table", "--data.path", "own.csv", *TINY, "--network.hidden=[4]", "--out", "run")
    assert made.code == 0, made
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert erg("evaluate", tmp_path / "run", "-n", 4).code == 0


def test_scores_have_a_row_an_input_and_percentiles_among_held_out_rows(digits, tmp_path):
    folder = pictures(tmp_path / "p", rows=3)
    np.save(tmp_path / "batch.npy", np.zeros((2, 8, 8), np.float32))
    answer = erg("score", digits, folder, tmp_path / "batch.npy", "--out", tmp_path / "scores.csv")
    assert answer.code == 0 and answer.out == f"{tmp_path / 'scores.csv'}\n"
    rows = [line.split(",") for line in (tmp_path / "scores.csv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [
        *(str(folder / f"{number:03d}.png") for number in range(3)),
        *(f"{tmp_path / 'batch.npy'}[{row}]" for row in range(2)),
    ]
    held_out = np.load(digits / "scores.npz")["held_out"]
    for _, energy, percentile in rows[1:]:
        assert float(percentile) == pytest.approx(100 * (held_out < float(energy)).mean(), abs=100 / len(held_out))


def test_runs_are_listed_in_80_columns_and_damaged_ones_are_named(digits, tmp_path):
    root = tmp_path / "runs"
    for name in ("one", "a-rather-long-name"):
        shutil.copytree(digits, root / name)
    foreign, damaged = root / "foreign", root / "damaged"
    shutil.copytree(digits, foreign)
    (foreign / "run.json").write_text('{"format": 99}')
    shutil.copytree(digits, damaged)
    (damaged / "evaluation.json").write_text("{")
    (root / "no-run").mkdir()
    answer = erg("runs", "--root", root)
    assert answer.code == 0
    listed, named = answer.out.split("!", 1)
    assert max(map(len, listed.splitlines())) <= 80
    assert "one" in listed and "a-rather-long-name" in listed and "finished 2" in listed
    assert f"{foreign} has run format 99" in named and str(damaged / "evaluation.json") in named


def test_named_runs_are_compared_side_by_side(digits, tmp_path):
    other = shutil.copytree(digits, tmp_path / "other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("step_size: 10.0", "step_size: 5.0"))
    lines = erg("runs", digits, other).out.splitlines()
    assert lines[0].split() == ["small", "other"]
    assert any(line.split()[:1] == ["class_kl"] for line in lines)
    assert lines[-1].split() == ["objective.negatives.kernel.step_size", "10.0", "5.0"]
    named = refusal("runs", "small", "--root", digits.parent)
    assert named == f"erg: small is not a run folder; did you mean {digits}?\n"
    assert "format" in refusal("runs", digits, _other_format(digits, tmp_path / "foreign"))


def _other_format(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    (to / "run.json").write_text(json.dumps(json.loads((to / "run.json").read_text()) | {"format": 2}))
    return to


def test_a_second_run_gets_a_folder_of_its_own(monkeypatch, tmp_path):
    from erg.runs.folder import new_folder

    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        folder = new_folder("demo", Path("runs"))
        folder.create("demo", 0, 10, "name: demo\n")
        names.append(str(folder.path))
    assert names == ["runs/demo", "runs/demo-2", "runs/demo-3"]


def test_a_report_is_written_again(digits):
    before = (digits / "report.html").stat().st_mtime_ns
    time.sleep(0.01)
    assert erg("report", digits).out == f"{digits / 'report.html'}\n"
    assert (digits / "report.html").stat().st_mtime_ns > before
