"""How many Gibbs sweeps a second, side by side with thrml (JAX, jitted)?

    python -m benchmarks.boltzmann.gibbs [--force]     docs/results/boltzmann/gibbs.json

A sweep draws every spin of every chain once from its exact law given the others. Both libraries run the same models
from the same kind of start, on one thread; the mean energy a spin at the end says that they sampled the same law.
"""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.boltzmann.gibbs_peer import COUPLING, MODELS
from benchmarks.measure import PEERS, RESULTS, row

NAME = "boltzmann/gibbs"
ROUNDS = 7
LIBRARIES = {"erg": "erg", "erg, compiled": "erg-compiled", "thrml": "thrml"}
THRML = "0.1.4"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


class Worker:
    """A library in its own process."""

    def __init__(self, library: str, model: str) -> None:
        python = str(PEERS) if library == "thrml" else sys.executable
        command = [python, "-W", "ignore", "-m", "benchmarks.boltzmann.gibbs_peer", library, model]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
        )

    def __call__(self) -> dict[str, float]:
        """One run: milliseconds a sweep, and the mean energy a spin at its end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def measure() -> dict[str, Any]:
    """Every model, every library in turn, after one round to warm up."""
    return {
        "peers": {"thrml": THRML},
        "rounds": ROUNDS,
        "seed": 0,
        "threads": 1,
        "models": {model: _model(model) for model in MODELS},
    }


def _model(model: str) -> dict[str, Any]:
    workers = {name: Worker(library, model) for name, library in LIBRARIES.items()}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for index in range(ROUNDS + 1):
        for name, worker in workers.items():
            run = worker()
            if index:
                runs[name].append(run)
    for worker in workers.values():
        worker.close()
    return {name: _summary(found) for name, found in runs.items()}


def _summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    times = [run["milliseconds"] for run in runs]
    first, median, third = statistics.quantiles(times, n=4)
    energies = [run["energy"] for run in runs]
    return {
        "milliseconds": {"median": median, "quartile_1": first, "quartile_3": third},
        "sweeps_a_second": 1e3 / median,
        "energy": {
            "mean": statistics.mean(energies),
            "standard_error": statistics.stdev(energies) / len(energies) ** 0.5,
        },
    }


def section() -> str:
    """The part of docs/results/boltzmann.md that is about sweeps."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    lines = [
        "## Gibbs sweeps a second",
        "",
        f"All chains together, one thread. The torus has coupling {COUPLING}, dense machines random ones. Ratios are "
        f"of medians over {result['rounds']} rounds in turn; thrml {result['peers']['thrml']} runs jitted, its "
        "compilation not counted, and so does ours where it says compiled.",
        "",
        "| model | library | ms a sweep (quartiles) | sweeps a second | energy a spin at the end | against thrml |",
        "|---|---|---|---|---|---|",
    ]
    for model, libraries in result["models"].items():
        for name, found in libraries.items():
            times, energy = found["milliseconds"], found["energy"]
            spread = f"{times['quartile_1']:.3g} to {times['quartile_3']:.3g}"
            ratio = libraries["thrml"]["milliseconds"]["median"] / times["median"]
            lines.append(
                f"| {model} | {name} | {times['median']:.3g} ({spread}) "
                f"| {found['sweeps_a_second']:.3g} | {energy['mean']:.4f} ± {energy['standard_error']:.1g} "
                f"| {ratio:.2f}x |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    row(NAME, measure)
