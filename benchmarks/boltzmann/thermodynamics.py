"""Ising thermodynamics by chains against what is known exactly.

    python -m benchmarks.boltzmann.thermodynamics [--force]     docs/results/boltzmann/thermodynamics.json and .png

Chains on the torus of 4 x 4 spins against enumeration, and on that of 32 x 32 against Kaufman's exact partition
function of the same torus: energy, heat capacity, free energy and entropy. The magnetisation of 32 x 32 spins is held
against Yang's formula for the infinite lattice, well below the critical temperature, where the two agree.
"""

import json
import math
from typing import Any

import torch

from benchmarks.boltzmann.torus import CRITICAL, spontaneous_magnetisation, torus
from benchmarks.measure import RESULTS, row
from erg.energies import Ising, Lattice
from erg.estimate import Estimate
from erg.evaluation.thermodynamics import Thermodynamics, thermodynamics
from erg.files import write_atomically
from erg.samplers import Compiled, chromatic

NAME = "boltzmann/thermodynamics"
SEED = 0
SMALL = {"chains": 256, "cooling": 50, "settling": 100, "steps": 1000}
LARGE = {"chains": 128, "cooling": 100, "settling": 1500, "steps": 1500}
TEMPERATURES = (1.5, 1.8, 2.0, 2.1, 2.2, 2.25, 2.3, 2.35, 2.4, 2.5, 2.7, 3.0, 3.5, 4.5)
ORDERED = 2.0
SIGMAS = 4.0
QUANTITIES = ("energy", "heat_capacity", "free_energy", "entropy", "magnetisation", "susceptibility")


def measure() -> dict[str, Any]:
    """Both lattices, and the picture."""
    torch.set_num_threads(1)
    systems = {"4 x 4": _small(), "32 x 32": _large()}
    result = {"seed": SEED, "settings": {"4 x 4": SMALL, "32 x 32": LARGE}, "systems": systems}
    draw(systems)
    return result


def _chains(side: int, settings: dict[str, int]) -> Thermodynamics:
    rng = torch.Generator().manual_seed(SEED)
    energy = Ising(Lattice((side, side)))
    return thermodynamics(energy, (side, side), TEMPERATURES, kernel=Compiled(chromatic()), rng=rng, **settings)


def _small() -> list[dict[str, Any]]:
    truth = thermodynamics(Ising(Lattice((4, 4))), (4, 4), TEMPERATURES)
    exact = [{name: _of(truth, name)[index].value for name in QUANTITIES} for index in range(len(TEMPERATURES))]
    return _compared(_chains(4, SMALL), exact)


def _large() -> list[dict[str, Any]]:
    exact = []
    for temperature in TEMPERATURES:
        exact.append(torus(32, 32, temperature))
        if temperature <= ORDERED:
            exact[-1]["magnetisation"] = spontaneous_magnetisation(temperature)
    return _compared(_chains(32, LARGE), exact)


def _compared(found: Thermodynamics, exact: list[dict[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for index, (temperature, truth) in enumerate(zip(found.temperatures, exact, strict=True)):
        figures: dict[str, Any] = {}
        for name in QUANTITIES:
            estimate = _of(found, name)[index]
            figures[name] = {"value": estimate.value, "standard_error": estimate.standard_error}
            if name in truth:
                error = (estimate.value - truth[name]) / max(estimate.standard_error, 1e-7)
                figures[name] |= {"exact": truth[name], "errors": error}
        rows.append({"temperature": temperature, "figures": figures})
    return rows


def _of(found: Thermodynamics, name: str) -> tuple[Estimate, ...]:
    return getattr(found, name)


def draw(systems: dict[str, list[dict[str, Any]]]) -> None:
    """Estimates with errors on the exact curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    titles = ("energy", "heat capacity", "free energy", "entropy", "magnetisation", "susceptibility")
    fine = [1.3 + 0.01 * step for step in range(340)]
    for place, (name, title) in enumerate(zip(QUANTITIES, titles, strict=True)):
        axes = figure.add_subplot(2, 3, place + 1)
        for (system, rows), colour in zip(systems.items(), ("tab:orange", "tab:blue"), strict=True):
            estimates = [row["figures"][name] for row in rows]
            axes.errorbar(
                [row["temperature"] for row in rows],
                [estimate["value"] for estimate in estimates],
                [3 * estimate["standard_error"] for estimate in estimates],
                fmt="o", ms=3.5, capsize=2, color=colour, label=f"{system}, chains (3 errors)",
            )  # fmt: skip
            side = int(system.split()[0])
            curve = _curve(side, name, fine)
            if curve is not None:
                axes.plot(fine, curve, lw=1, color=colour, label=f"{system}, exact")
        if name == "magnetisation":
            axes.plot(fine, [spontaneous_magnetisation(t) for t in fine], "k--", lw=1, label="infinite, exact")
        axes.axvline(CRITICAL, color="0.8", lw=1, zorder=0)
        axes.set_title(f"{title} a spin")
        axes.set_xlabel("temperature")
        axes.legend(fontsize=7, frameon=False)
    write_atomically(RESULTS / f"{NAME}.png", lambda file: figure.savefig(file, dpi=120))


def _curve(side: int, name: str, temperatures: list[float]) -> list[float] | None:
    if side == 4:
        found = _of(thermodynamics(Ising(Lattice((4, 4))), (4, 4), temperatures), name)
        return [estimate.value for estimate in found]
    if name in ("magnetisation", "susceptibility"):
        return None
    return [torus(side, side, temperature)[name] for temperature in temperatures]


def section() -> str:
    """The part of docs/results/boltzmann.md that is about thermodynamics."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    lines = [
        "## Thermodynamics of the Ising model",
        "",
        "Chains against exact values, a spin: enumeration of 4 x 4, Kaufman's torus of 32 x 32, and Yang's "
        f"magnetisation of the infinite lattice up to T = {ORDERED}. Errors are of independent chains.",
        "",
        "| lattice | quantity | compared | largest difference | in errors, root mean square | in errors, largest "
        f"| all within {SIGMAS:g} |",
        "|---|---|---|---|---|---|---|",
    ]
    for system, rows in result["systems"].items():
        for name in QUANTITIES:
            compared = [row["figures"][name] for row in rows if "exact" in row["figures"][name]]
            if not compared:
                continue
            errors = [abs(figure["errors"]) for figure in compared]
            largest = max(abs(figure["value"] - figure["exact"]) for figure in compared)
            square = math.sqrt(sum(error**2 for error in errors) / len(errors))
            lines.append(
                f"| {system} | {name.replace('_', ' ')} | {len(compared)} | {largest:.2g} | {square:.2f} "
                f"| {max(errors):.2f} | {'yes' if max(errors) < SIGMAS else 'no'} |"
            )
    lines += ["", "![Ising thermodynamics](boltzmann/thermodynamics.png)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    row(NAME, measure)
