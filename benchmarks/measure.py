"""Measure ways of doing the same thing side by side, and keep one result file a row.

A round runs every way once, in turn, so that a busy moment of the machine hits all alike. Ratios are of
medians over the rounds; the quartiles tell the spread.
"""

import argparse
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions
from erg.files import write_json

RESULTS = Path("docs/results")
PEERS = Path(".venv-peers/bin/python")

Way = Callable[[], float]
"""Runs once and returns the milliseconds a step took."""


class Peer:
    """A way that runs in a process of its own, with the Python of the peers' environment."""

    def __init__(self, script: str, *arguments: object) -> None:
        command = [str(PEERS), "-W", "ignore", script, *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self) -> float:
        """One run of the process' loop, timed by the process itself."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def timed(run: Callable[[], object], *, steps: int) -> Way:
    """A way that calls `run`, which makes `steps` steps."""

    def way() -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) / steps * 1e3

    return way


def side_by_side(ways: Mapping[str, Way], *, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a step for every way, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, way in ways.items():
            elapsed = way()
            if index:
                times[name].append(elapsed)
    return {name: _summary(values) for name, values in times.items()}


def peak() -> int:
    """The most memory this process has held, in bytes.

    Where the system tells VmHWM, that: on Linux, ru_maxrss begins at what the parent process used.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+)", status.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def row(name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure a row of the tables unless its result exists already; `--force` measures it again."""
    parser = argparse.ArgumentParser(description=f"Measures docs/results/{name}.json.")
    parser.add_argument("--force", action="store_true", help="measure again though a result exists")
    target = RESULTS / f"{name}.json"
    if target.exists() and not parser.parse_args().force:
        print(f"{target} exists; --force measures again")
        return
    start = time.perf_counter()
    result = measure()
    result = {"command": f"python -m benchmarks.{name.replace('/', '.')}", **conditions(), **result}
    result["seconds"] = round(time.perf_counter() - start, 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, result)
    print(target)


def _summary(values: list[float]) -> dict[str, float]:
    first, median, third = statistics.quantiles(values, n=4)
    summary = {"median": median, "quartile_1": first, "quartile_3": third, "least": min(values)}
    return {name: float(f"{value:.4g}") for name, value in summary.items()}
