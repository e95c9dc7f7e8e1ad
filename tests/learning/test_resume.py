"""A run that is killed and resumed ends with the same bits as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from erg.training.checkpoint import Checkpoints

RECIPE = [
    *("digits", "--steps", "60", "--batch_size", "16", "--network.channels", "[4,4]", "--network.hidden", "8"),
    *("--objective.negatives.steps", "3", "--objective.negatives.size", "64", "--sampler.steps", "3"),
    *("--validation.every", "20", "--validation.samples", "8", "--log_every", "1", "--checkpoint_seconds", "0"),
    *("--guard.snapshot_every", "15", "--device", "cpu"),
]
CLOCKS = ("time", "steps_per_second")


def _train(*arguments: str) -> subprocess.Popen:
    # The command's own process, so that SIGKILL reaches what trains and nothing else.
    program = (
        "import sys; from pathlib import Path; from erg.runs.config import reopen, resolve;"
        "from erg.runs.experiment import Experiment; from erg.runs.folder import RunFolder\n"
        "out = Path(sys.argv[1]); folder = RunFolder(out)\n"
        "if len(sys.argv) == 2: experiment = Experiment(reopen(folder.config).recipe, folder)\n"
        "else:\n"
        "    resolved = resolve(sys.argv[2], sys.argv[3:])\n"
        "    experiment = Experiment(resolved.recipe, folder, config=resolved.text)\n"
        "print('from', experiment.step, flush=True)\n"
        "for _ in experiment.run(): pass\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def _finish(process: subprocess.Popen) -> int:
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return int(printed.split()[1])


def _kill_after(run: Path, process: subprocess.Popen, step: int) -> None:
    """Kill as soon as the metrics show that `step` was reached."""
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def _metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCKS} for line in lines]


def _assert_same(one, other, place: str = "") -> None:
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            _assert_same(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            _assert_same(*pair, f"{place}/{index}")
    else:
        assert one == other, place


@pytest.mark.slow
def test_a_killed_and_resumed_run_has_the_same_bits(tmp_path):
    _finish(_train(str(tmp_path / "whole"), *RECIPE))
    killed = tmp_path / "killed"
    _kill_after(killed, _train(str(killed), *RECIPE), 18)
    second = _train(str(killed))
    _kill_after(killed, second, 41)
    resumed_from = _finish(_train(str(killed)))
    # It went on instead of starting over. Checkpoints are written after every step here.
    assert resumed_from >= 39
    assert _metrics(killed) == _metrics(tmp_path / "whole")
    whole, parts = (Checkpoints(tmp_path / name / "checkpoints").load() for name in ("whole", "killed"))
    for payload in (whole, parts):
        payload.pop("seconds")
    _assert_same(whole, parts)
    assert (killed / "energy.safetensors").read_bytes() == (tmp_path / "whole" / "energy.safetensors").read_bytes()
