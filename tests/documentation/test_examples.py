"""Every example runs as its first lines say, and prints what it promises."""

import contextlib
import functools
import io
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@functools.cache
def printed(path: Path) -> str:
    """What an example prints; as everywhere in the tests, a warning is an error."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        runpy.run_path(str(path), run_name="__main__")
    return out.getvalue()


def example(name: str) -> Path:
    (path,) = (path for path in EXAMPLES if path.stem == name)
    return path


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs(path):
    assert printed(path)
    assert f"python examples/{path.name}" in path.read_text()


def test_compositions_have_the_laws_that_are_promised():
    numbers = {
        line.split(":")[0]: [float(n) for n in re.findall(r"-?\d+\.\d+", line)]
        for line in printed(example("composition")).splitlines()
    }
    # 4,000 chains: standard errors of about 0.02 for these variances and means.
    assert abs(numbers["product"][0]) < 0.1 and abs(numbers["product"][2] - 0.5) < 0.1
    assert abs(numbers["mixture"][0] - 5) < 0.5
    assert abs(numbers["clamped"][1] - 1.2) < 0.1


def test_the_guard_recovers_from_the_divergence():
    without, guarded, *events = printed(example("divergence")).splitlines()
    assert without.startswith("without a guard:") and guarded.startswith("with the guard:")
    data, model = map(float, re.findall(r"of (?:data|model) ([^ ,]+)", guarded))
    assert abs(data) < 5 and abs(model) < 5
    assert any("recovery" in event for event in events)
