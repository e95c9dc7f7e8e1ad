"""Effective samples a second, against torchebm, ebmkit and blackjax: python -m benchmarks.ess ALGORITHM TARGET.

The same algorithm with the same settings in every library that has it, 1,024 chains from exact samples, one thread,
each library in a process of its own, taking turns. A row is skipped when its result exists; `table` writes
docs/results/ess.md from the rows.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.ess_peer import CHAINS, LEAPFROGS, LENGTH, STEP_SIZE, STEPS
from benchmarks.measure import PEERS
from benchmarks.rows import rows

RESULTS = Path("docs/results/ess")
VERSIONS = {"torchebm": "0.8.9", "ebmkit": "0.16.0", "blackjax": "1.7.1"}
LIBRARIES = {
    "hmc": ("erg", "torchebm", "ebmkit", "blackjax"),
    "nuts": ("erg", "ebmkit", "blackjax"),
    "mclmc": ("erg", "blackjax"),
}
ROUNDS = {"hmc": 10, "nuts": 3, "mclmc": 5}
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
FIGURES = ("x", "x^2")


class Worker:
    """A library in its own process."""

    def __init__(self, library: str, algorithm: str, target: str) -> None:
        python = sys.executable if library == "erg" else str(PEERS)
        command = [python, "-W", "ignore", "benchmarks/ess_peer.py", library, algorithm, target]
        environment = os.environ | ONE_THREAD
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self) -> dict[str, Any]:
        """One run: seconds, and effective samples by statistic."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def measure(algorithm: str, target: str) -> dict[str, Any]:
    """Every library in turn, after one round to warm up."""
    if not PEERS.exists():
        raise SystemExit("The peers' environment is missing: run `make bench-samplers`, which makes .venv-peers.")
    workers = {library: Worker(library, algorithm, target) for library in LIBRARIES[algorithm]}
    runs: dict[str, list[dict[str, Any]]] = {library: [] for library in workers}
    for index in range(ROUNDS[algorithm] + 1):
        for library, worker in workers.items():
            run = worker()
            if index:
                runs[library].append(run)
    for worker in workers.values():
        worker.close()
    return {
        "peers": {name: version for name, version in VERSIONS.items() if name in workers},
        "settings": _settings(algorithm, target),
        "libraries": {library: _summary(runs[library]) for library in workers},
    }


def _settings(algorithm: str, target: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "chains": CHAINS,
        "steps": STEPS[algorithm],
        "step_size": STEP_SIZE[target][algorithm],
    }
    if algorithm == "hmc":
        settings["leapfrogs"] = LEAPFROGS[target]
    if algorithm == "mclmc":
        settings["length"] = LENGTH[target]
    return settings


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds; effective samples are averaged, because they do not depend on the machine's load."""
    seconds = statistics.median(run["seconds"] for run in runs)
    effective = {name: statistics.mean(run["effective"][name] for run in runs) for name in FIGURES}
    return {
        "seconds": seconds,
        "seconds_all": [run["seconds"] for run in runs],
        "effective": effective,
        "effective_a_second": {name: value / seconds for name, value in effective.items()},
    }


def table() -> str:
    """The rows side by side."""
    lines = [
        "# Effective samples a second",
        "",
        f"{CHAINS} chains from exact samples, one thread, the same settings in every library. Effective samples of "
        "the worst entry, from the spread of the chains' means against the known variance. Each row: "
        "`python -m benchmarks.ess ALGORITHM TARGET`; this table: `python -m benchmarks.ess table`.",
        "",
        "| algorithm, target | library | seconds | effective of x | effective of x^2 | x a second | x^2 a second "
        "| erg is ahead by (x^2) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for algorithm in LIBRARIES:
        for target in STEP_SIZE:
            path = _path(algorithm, target)
            if path.exists():
                lines += _rows(f"{algorithm}, {target}", json.loads(path.read_text())["libraries"])
    return "\n".join(lines) + "\n"


def _rows(name: str, libraries: dict[str, Any]) -> list[str]:
    ours = libraries["erg"]["effective_a_second"]["x^2"]
    lines = []
    for library, found in libraries.items():
        effective, rate = found["effective"], found["effective_a_second"]
        lines.append(
            f"| {name} | {library} | {found['seconds']:.3g} | {effective['x']:.3g} | {effective['x^2']:.3g} "
            f"| {rate['x']:.3g} | {rate['x^2']:.3g} | {ours / rate['x^2']:.2f}x |"
        )
    return lines


def _path(algorithm: str, target: str) -> Path:
    return RESULTS / f"{algorithm}-{target}.json"


if __name__ == "__main__":
    rows("ess", __doc__, {"algorithm": LIBRARIES, "target": STEP_SIZE}, measure, table)
