"""Runs that are stopped, killed, damaged or someone else's."""

import json
import os
import re
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from erg.runs.config import reopen, resolve
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder
from erg.runs.model import open_model
from erg.training.checkpoint import Checkpoints
from tests.contracts.commands import DIGITS, contents, erg, refusal, start

LONG = [option for option in DIGITS if not option.startswith(("--steps", "--validation.every"))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small run of the digits recipe."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert erg("train", *DIGITS, "--steps=6", "--checkpoint_seconds=0", "--goals={}", "--out", folder).code == 0
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(finished, tmp_path / "run")


def experiment(path: Path, *options: str) -> Experiment:
    resolved = resolve("digits", [*LONG[1:], "--validation.every=1000", *options])
    return Experiment(resolved.recipe, RunFolder(path), config=resolved.text)


def resumed(path: Path, said: list[str]) -> Experiment:
    return Experiment(reopen(path / "config.yaml").recipe, RunFolder(path), say=said.append)


def unfinished(run: Path) -> Path:
    """As after a kill: run.json says running."""
    RunFolder(run).update(status="running")
    return run


def test_a_finished_run_is_not_trained_again(run):
    before = (run / "energy.safetensors").stat().st_mtime_ns
    answer = erg("train", "--resume", run)
    assert answer.code == 0
    assert answer.out.splitlines()[0] == f"{run} is finished at step 6 of 6: there is nothing to train."
    (run / "report.html").unlink()
    again = erg("train", "--resume", run)
    assert again.code == 0 and (run / "report.html").exists() and "class_kl" in again.out
    assert (run / "energy.safetensors").stat().st_mtime_ns == before


def test_a_caller_that_stops_has_a_run_that_goes_on(tmp_path):
    first = experiment(tmp_path / "run", "--steps=9")
    for record in first.run():
        if record.step == 3:
            break
    assert first.status == "interrupted" and RunFolder(tmp_path / "run").read()["step"] == 3
    second = resumed(tmp_path / "run", [])
    assert second.step == 3
    assert [record.step for record in second.run()] == [4, 5, 6, 7, 8, 9]


def test_patience_ends_a_run_early(tmp_path):
    answer = erg(
        *("train", *LONG, "--steps=50", "--validation.every=1", "--validation.patience=2", "--optimizer.lr=0"),
        *("--goals={}", "--out", tmp_path / "run"),
    )
    state = RunFolder(tmp_path / "run").read()
    assert answer.code == 0 and state["status"] == "stopped" and 3 <= state["step"] < 50
    assert f"Stopped early at step {state['step']} of 50: the last 2 looks were no better." in answer.out
    assert "is stopped at step" in erg("train", "--resume", tmp_path / "run").out


@pytest.fixture(scope="module")
def early(tmp_path_factory) -> Path:
    """A run that a constant learning rate made worse after its first look."""
    folder = tmp_path_factory.mktemp("runs") / "early"
    answer = erg(
        *("train", *LONG, "--steps=6", "--validation.every=2", "--optimizer.lr=0.3", "--clip_gradients=null"),
        *("--learning_rate=null", "--guard.enabled=false", "--average=0", "--goals={auroc/noise: ['>=', 2.0]}"),
        *("--out", folder),
    )
    assert answer.code == 1, answer
    looks = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    quality = {look["step"]: look["validation/quality"] for look in looks if "validation/quality" in look}
    assert min(quality, key=quality.get) < 6, "the best look should not be the last for this test to say anything"
    return folder


def test_the_best_checkpoint_is_used_when_asked_for_and_nothing_of_the_last_is_overwritten(early, tmp_path):
    best = Checkpoints(early / "checkpoints").load_best()
    before = contents(early)
    answer = erg("evaluate", early, "-n", 20, "--checkpoint", "best")
    assert answer.code == 1 and "FAIL: 1 of 1 goals missed (auroc/noise)." in answer.out
    assert f"figures of the best checkpoint, kept in {early / 'best'};" in answer.out
    after = contents(early)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"report.html", "best/evaluation.json", "best/scores.npz"} | {
        f"best/samples/{name}" for name in ("samples.npy", "final.png", "chain.png")
    }
    assert b"those of the best are in best/" in after["report.html"]
    judged, last = (json.loads(after[f"{part}evaluation.json"]) for part in ("best/", ""))
    assert (judged["checkpoint"], judged["step"], last["checkpoint"]) == ("best", best["step"], "last")
    assert "step" not in last and judged["metrics"]["energy/train"] != last["metrics"]["energy/train"]

    model = open_model(early, best=True)
    weights = model.energy.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in best["energy"].items())
    image = np.load(early / "best" / "samples" / "samples.npy")[:1]
    np.save(tmp_path / "x.npy", image)
    rows = [erg("score", early, tmp_path / "x.npy", "--checkpoint", which).out for which in ("best", "last")]
    energies = [float(row.splitlines()[1].split(",")[1]) for row in rows]
    assert energies[0] == pytest.approx(float(model.energy(torch.from_numpy(image))), rel=1e-4)
    assert energies[0] != energies[1]
    for which in ("best", "last"):
        out = tmp_path / f"{which}.npy"
        assert erg("sample", early, "-n", 2, "--checkpoint", which, "--out", out).code == 0
    assert (tmp_path / "best.npy").read_bytes() != (tmp_path / "last.npy").read_bytes()


def test_a_run_without_a_good_best_checkpoint_says_so(run):
    best = run / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:-9])
    assert "best.pt is incomplete; use the last checkpoint." in refusal("sample", run, "--checkpoint", "best")
    Checkpoints(run / "checkpoints").save_best({"step": 1, "energy": {}, "step_size_factor": 1.0, "tuned": {}})
    assert "does not fit the energy of its run" in refusal("evaluate", run, "--checkpoint", "best")
    best.unlink()
    for command in (["sample"], ["evaluate"], ["score"]):
        rest = ["x.npy"] if command == ["score"] else []
        line = refusal(*command, run, *rest, "--checkpoint", "best")
        assert "has no best checkpoint" in line and "use --checkpoint last" in line
    assert "choose from 'last', 'best'" in refusal("sample", run, "--checkpoint", "first")


def test_the_best_checkpoint_is_sampled_with_the_step_size_it_was_trained_with(run):
    checkpoints = Checkpoints(run / "checkpoints")
    payload = checkpoints.load_best()
    assert payload["step_size_factor"] == 1.0
    checkpoints.save_best(payload | {"step_size_factor": 0.25})
    last, best = (open_model(run, best=best).kernel.move.step_size for best in (False, True))
    assert best == 0.25 * last


def test_figures_of_a_best_checkpoint_do_not_outlive_it(tmp_path):
    first = experiment(tmp_path / "run", "--steps=2")
    best = RunFolder(tmp_path / "run").best
    best.path.mkdir()
    for file in (best.evaluation, best.scores):
        file.write_text("old")
    assert list(first.run())
    assert Checkpoints(tmp_path / "run" / "checkpoints").best.exists()
    assert not best.evaluation.exists() and not best.scores.exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    experiment(tmp_path / "run", "--steps=2").tracker.close()
    assert not (tmp_path / "run" / "checkpoints").exists()
    second = resumed(tmp_path / "run", [])
    assert [record.step for record in second.run()] == [1, 2]


def test_a_half_written_checkpoint_gives_way_to_the_one_before(run):
    checkpoints = Checkpoints(unfinished(run) / "checkpoints")
    content = checkpoints.last.read_bytes()
    checkpoints.last.write_bytes(content[: len(content) // 2])
    said = []
    again = resumed(run, said)
    again.tracker.close()
    assert again.step == 6  # The end is saved twice: after the last step and with the export.
    assert len(said) == 1 and "last.pt is incomplete" in said[0] and "previous.pt" in said[0]


def test_two_damaged_checkpoints_are_one_sentence_and_stay(run):
    for name in ("last.pt", "previous.pt"):
        (unfinished(run) / "checkpoints" / name).write_bytes(b"half")
    before = contents(run)
    assert "No checkpoint can be read" in refusal("train", "--resume", run)
    assert contents(run) == before


def test_another_number_of_threads_is_said(run):
    checkpoints = Checkpoints(unfinished(run) / "checkpoints")
    checkpoints.save(checkpoints.load() | {"threads": 7})
    said = []
    resumed(run, said).tracker.close()
    assert len(said) == 1 and "made with 7 threads and goes on with 1" in said[0]


def test_dropout_and_other_global_randomness_go_on_too(tmp_path):
    first = experiment(tmp_path / "run", "--steps=9")
    for record in first.run():
        if record.step == 3:
            break
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(99)
    np.random.seed(99)
    resumed(tmp_path / "run", []).tracker.close()
    assert torch.equal(torch.rand(3), expected[0]) and np.array_equal(np.random.rand(3), expected[1])


@pytest.mark.parametrize("command", [["train", "--resume"], ["sample"], ["evaluate"], ["report"]])
def test_a_run_of_another_format_is_refused_untouched(command, run):
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(state | {"format": 2}))
    before = contents(run)
    line = refusal(*command, run)
    assert "format 2" in line and "1" in line
    assert contents(run) == before


@pytest.mark.parametrize("command", [["train", "--resume"], ["sample"], ["evaluate"]])
def test_a_folder_that_holds_something_else_is_refused(command, tmp_path):
    (tmp_path / "run.json").write_text("no json")
    assert "run.json" in refusal(*command, tmp_path)
    (tmp_path / "run.json").write_text("[]")
    assert "format None" in refusal(*command, tmp_path)


def test_weights_that_are_damaged_or_not_there_are_refused(run):
    weights = run / "energy.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    line = refusal("sample", run)
    assert "cannot be read as weights" in line
    assert line.endswith(f"; remove it, and `erg train --resume {run}` writes it again from the last checkpoint.\n")
    assert line.count(";") == 1 and "export" not in line
    weights.unlink()
    assert "no trained energy yet" in refusal("sample", run)


@pytest.mark.parametrize("name", ["energy.safetensors", "energy.json"])
def test_a_finished_run_writes_lost_weights_again(run, name):
    before = contents(run)
    (run / name).unlink()
    assert "erg train --resume" in refusal("sample", run)
    answer = erg("train", "--resume", run)
    assert answer.code == 0 and "Weights written again" in answer.out
    assert contents(run)[name] == before[name]
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_lost_weights_without_a_checkpoint_are_not_made_up(run):
    (run / "energy.safetensors").unlink()
    shutil.rmtree(run / "checkpoints")
    assert "train it anew" in refusal("train", "--resume", run)
    assert not (run / "energy.safetensors").exists()


def test_a_run_without_its_recipe_is_refused(run):
    (run / "config.yaml").unlink()
    assert "has no config.yaml" in refusal("sample", run)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"network": {"class_path": "evil.Net"}}, "evil.Net"),
        ({"network": "evil.Net"}, "evil.Net"),
        ({"optimizer": "torch.os.system"}, "torch.os.system"),
        ({"network": {"class_path": "torch.hub.load"}}, "torch.hub.load"),
        ({"network": {"class_path": "erg.cli.main.os.system"}}, "os.system"),
        ({"network": {"class_path": "erg.networks.conv.nn"}}, "erg.networks.conv.nn"),
        ({"objective": {"class_path": "torch.load", "init_args": {"f": "x"}}}, "torch.load"),
        ({"objective": "/somewhere/objective.yaml"}, "/somewhere"),
        ({"goals": {"class_kl": ["evil.Net", 1.0]}}, "evil.Net"),
    ],
)
def test_a_strangers_run_imports_nothing(run, tmp_path, monkeypatch, change, named):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | change))
    unfinished(run)
    for command in (["sample", run], ["score", run, "x.npy"], ["evaluate", run], ["train", "--resume", run]):
        line = refusal(*command)
        assert named in line and "--trust" in line
    assert erg("runs", run).code == 0
    if named == "evil.Net":
        assert erg("report", run).code == 0
    assert not (tmp_path / "was_here").exists()


def test_python_tags_in_a_strangers_run_are_not_obeyed(run, tmp_path):
    tag = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{tmp_path / 'was_here'}]]"
    (run / "config.yaml").write_text(f"name: {tag}\n")
    assert "is not YAML" in refusal("sample", run)
    assert "cannot be read as a recipe" in refusal("runs", run, run)
    assert not (tmp_path / "was_here").exists()


def test_divergence_is_one_line_and_the_last_good_state_stays(tmp_path):
    # No energy is small enough for this guard, so it goes back once and then gives up.
    answer = erg(
        *("train", *LONG, "--steps=500", "--validation.every=1000", "--guard.limits.energy=1e-9"),
        *("--guard.recoveries=1", "--guard.snapshot_every=2", "--optimizer.lr=10", "--clip_gradients=null"),
        *("--out", tmp_path / "run"),
    )
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "erg: Training was given up at step" in answer.err and "last.pt" in answer.err
    assert re.search(r"^Step \d+: .*; back to step \d+, learning rate x", answer.out, re.MULTILINE)
    payload = Checkpoints(tmp_path / "run" / "checkpoints").load()
    weights = payload["parts"][0]["energy"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert RunFolder(tmp_path / "run").read()["status"] == "failed"
    assert (tmp_path / "run" / "report.html").exists()


@contextmanager
def sending(number: int, run: Path):
    """Send this process a signal when a run has begun. A signal that nobody waits for fails the test."""

    def unexpected(number, frame):
        raise AssertionError(f"signal {number} came when nobody waited for it")

    def send():
        metrics = run / "metrics.jsonl"
        while not ended.wait(0.02):
            if metrics.exists() and metrics.stat().st_size:
                return os.kill(os.getpid(), number)

    ended, sender = threading.Event(), threading.Thread(target=send)
    former = signal.signal(number, unexpected)
    try:
        sender.start()
        yield
        assert signal.getsignal(number) is unexpected
    finally:
        ended.set()
        sender.join()
        signal.signal(number, former)


def _stopped(run: Path, code: int, out: str, err: str) -> None:
    assert code == 130, err
    assert not err and "Stopping after this step" in out
    state = RunFolder(run).read()
    assert f"Stopped at step {state['step']} of 100000. Go on with: erg train --resume {run}" in out
    assert state["status"] == "interrupted" and state["step"] >= 1
    assert Checkpoints(run / "checkpoints").load()["step"] == state["step"]
    # Without a terminal there are lines, and no control characters.
    assert "\x1b" not in out and "\r" not in out and "digits 1/100000" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_a_step_with_a_checkpoint(number, tmp_path):
    with sending(number, tmp_path / "run"):
        answer = erg("train", *LONG, "--steps=100000", "--log_every=1", "--out", tmp_path / "run")
    _stopped(tmp_path / "run", answer.code, answer.out, answer.err)


@pytest.mark.slow
def test_a_signal_stops_a_process_of_its_own(tmp_path):
    process = start("train", *LONG, "--steps=100000", "--log_every=1", "--out", tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    _stopped(tmp_path / "run", process.returncode, out, err)


@pytest.mark.slow
def test_a_second_signal_stops_at_once_and_loses_nothing_saved(tmp_path):
    # A step of this run takes far longer than the test.
    options = [*LONG, "--steps=2", "--objective.negatives.steps=10000000"]
    process = start("train", *options, "--out", tmp_path / "run")
    deadline = time.monotonic() + 100
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("\n") == 1 and "--resume" in err
    assert RunFolder(tmp_path / "run").read()["status"] == "interrupted"
