"""Every example runs as its first lines say, and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs(path):
    finished = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout


def test_compositions_have_the_laws_that_are_promised():
    path = next(path for path in EXAMPLES if path.stem == "composition")
    printed = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True).stdout
    numbers = {
        line.split(":")[0]: [float(n) for n in re.findall(r"-?\d+\.\d+", line)] for line in printed.splitlines()
    }
    # 4,000 chains: standard errors of about 0.02 for these variances and means.
    assert abs(numbers["product"][0]) < 0.1 and abs(numbers["product"][2] - 0.5) < 0.1
    assert abs(numbers["mixture"][0] - 5) < 0.5
    assert abs(numbers["clamped"][1] - 1.2) < 0.1
