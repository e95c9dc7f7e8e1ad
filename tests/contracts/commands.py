"""Runs the command in this process, small, and writes the data it is given."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erg.cli.main import main
from tests.contracts.files import bytes_of, write_pictures

TINY = [
    *("--steps=2", "--batch_size=8", "--sampler.steps=2", "--validation.every=2", "--validation.samples=8"),
    *("--device=cpu", "--objective.negatives.steps=2", "--objective.negatives.size=16"),
]
SMALL_NET = ["--network.channels=[2,2]", "--network.hidden=4"]
DIGITS = ["digits", *TINY, *SMALL_NET]


@dataclass(frozen=True)
class Answer:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


def erg(*arguments: object) -> Answer:
    """Run a command as the shell would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Answer(code, out.getvalue(), err.getvalue())


def refusal(*arguments: object) -> str:
    """The one line on stderr with which a command refuses; exit code 2, no traceback."""
    answer = erg(*arguments)
    assert answer.code == 2, answer
    line = answer.err
    assert line.startswith("erg") and line.endswith((".\n", "?\n", ".)\n", ")\n")), line
    assert line.count("\n") == 1 and "Traceback" not in line, line
    return line


def start(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from erg.cli.main import main; sys.exit(main())", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pictures(folder: Path, rows: int = 48, size: int = 8) -> Path:
    """A folder of grey pictures."""
    return write_pictures(folder, bytes_of(0, rows, size, size))


def table(path: Path, rows: int = 48) -> Path:
    """A CSV file with two named columns, one of them far from zero and wide."""
    values = np.random.default_rng(0).normal([1000.0, 0.0], [100.0, 0.5], (rows, 2))
    lines = ["weight,dose of it", *(f"{weight:.6g},{dose:.6g}" for weight, dose in values)]
    path.write_text("\n".join(lines) + "\n")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
