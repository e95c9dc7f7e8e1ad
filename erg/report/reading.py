"""Reads a run folder as it is: finished, still growing, or killed in the middle of a line.

Nothing here trusts a file. What is absent or damaged becomes a sentence in `Run.missing`, and the report prints it.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from erg.errors import UserError
from erg.report.series import Series

FORMAT = 1
# Beyond this nothing can be drawn: differences and squares overflow.
LARGEST = 1e100


@dataclass
class Run:
    """What was found in a run folder.

    Args:
        folder: The run folder.
        state: run.json.
        recipe_text: config.yaml as it is written.
        recipe: config.yaml, parsed.
        series: Every numeric key of metrics.jsonl.
        events: The lines of events.jsonl.
        evaluation: evaluation.json, or None when the run was not evaluated.
        energies: The sets of scores.npz, finite values only.
        parameters: Number of trained weights in energy.safetensors.
        shape: Of one row, as energy.json says; None if it does not.
        notes: What the files say that a reader should know, such as values that were not finite.
        missing: What is absent or damaged, a sentence each.
    """

    folder: Path
    state: dict[str, Any] = field(default_factory=dict)
    recipe_text: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    evaluation: dict[str, Any] | None = None
    energies: dict[str, Float[ndarray, "_"]] = field(default_factory=dict)
    parameters: int | None = None
    shape: tuple[int, ...] | None = None
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def read(folder: Path) -> Run:
    """Read all that a report needs.

    Raises:
        UserError: If `folder` is not a run folder, or one of another format version.
    """
    if not folder.is_dir():
        raise UserError(f"Expected a run folder, but {folder} does not exist; `erg runs` lists the runs.")
    if not any((folder / name).exists() for name in ("run.json", "config.yaml", "metrics.jsonl")):
        raise UserError(
            f"Expected a run folder, but {folder} holds neither run.json, config.yaml nor metrics.jsonl; "
            "`erg runs` lists the runs."
        )
    run = Run(folder)
    run.state = json_object(run, "run.json", "status, versions and time are unknown") or {}
    if run.state.get("format", FORMAT) != FORMAT:
        raise UserError(
            f"Expected a run folder of format {FORMAT}, but {folder / 'run.json'} says "
            f"{run.state['format']!r}; use the version of erg that made it."
        )
    _read_recipe(run)
    _read_metrics(run)
    run.events = [event for event in _lines(run, "events.jsonl") if isinstance(event, dict)]
    if (folder / "evaluation.json").exists():
        run.evaluation = json_object(run, "evaluation.json", "the figures of the evaluation are unknown")
    else:
        run.missing.append("Not evaluated yet: run `erg evaluate` to get metrics, goals and histograms.")
    if any((folder / "best" / name).exists() for name in ("evaluation.json", "diagnosis.json")):
        run.notes.append("All figures and pictures are of the last checkpoint; those of the best are in best/.")
    _read_energies(run)
    run.parameters = _parameters(folder / "energy.safetensors")
    run.shape = _shape(folder / "energy.json")
    return run


def _shape(path: Path) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in json.loads(_text(path) or "")["config"]["shape"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def finite_number(value: Any) -> float | None:
    """`value` as a float, NaN for one that is not finite or beyond `LARGEST`, None if it is no number at all."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        value = float(value)
    except OverflowError:
        return float("nan")
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else float("nan")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def json_object(run: Run, name: str, consequence: str) -> dict[str, Any] | None:
    """The object in a JSON file of the run; None with a sentence in `Run.missing` if it is absent or damaged."""
    text = _text(run.folder / name)
    if text is None:
        run.missing.append(f"{name} is missing: {consequence}.")
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        run.missing.append(f"{name} is damaged: {consequence}.")
        return None
    return value


def _lines(run: Run, name: str) -> list[Any]:
    """The JSON values of a file with one per line; a half-written last line is what a killed run leaves."""
    lines = (_text(run.folder / name) or "").splitlines()
    values, damaged = [], 0
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            if i == len(lines) - 1:
                run.notes.append(f"The last line of {name} is incomplete, as a run leaves it when it is killed.")
            else:
                damaged += 1
    if damaged:
        run.missing.append(f"{damaged} damaged {'line' if damaged == 1 else 'lines'} in {name} left out.")
    return values


def _read_recipe(run: Run) -> None:
    text = _text(run.folder / "config.yaml")
    if text is None:
        run.missing.append("config.yaml is missing: what was trained is unknown.")
        return
    import yaml

    run.recipe_text = text
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError:
        recipe = None
    if isinstance(recipe, dict):
        run.recipe = {str(key): value for key, value in recipe.items()}
    else:
        run.missing.append("config.yaml is damaged: what was trained is unknown.")


def _read_metrics(run: Run) -> None:
    steps: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    for line in _lines(run, "metrics.jsonl"):
        step = finite_number(line.get("step")) if isinstance(line, dict) else None
        if step is None or step != step:
            continue
        for key, value in line.items():
            number = float("nan") if value is None else finite_number(value)
            if key != "step" and number is not None:
                steps.setdefault(key, []).append(step)
                values.setdefault(key, []).append(number)
    run.series = {key: Series(np.array(steps[key]), np.array(values[key])) for key in values}
    if not run.series:
        run.missing.append("metrics.jsonl holds no metrics: there are no curves to draw.")
    bad = {key: series.non_finite for key, series in run.series.items() if series.non_finite}
    if bad:
        counts = ", ".join(f"{key} ({count})" for key, count in sorted(bad.items()))
        run.notes.append(f"Logged values that are not finite, left out of the curves: {counts}.")


def _read_energies(run: Run) -> None:
    path = run.folder / "scores.npz"
    if not path.exists():
        run.missing.append("scores.npz is missing: there are no energy histograms yet.")
        return
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            sets = {name: np.asarray(file[name], dtype=np.float64).ravel() for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, TypeError):
        run.missing.append("scores.npz is damaged: there are no energy histograms.")
        return
    for name, energies in sets.items():
        finite = energies[np.abs(energies) <= LARGEST]
        if len(finite):
            run.energies[name] = finite
        if len(finite) < len(energies):
            run.notes.append(f"{len(energies) - len(finite)} of {len(energies)} energies of {name} are not finite.")


def _parameters(path: Path) -> int | None:
    """The number of weights, from the header of a safetensors file alone."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 100_000_000)))
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        return int(sum(np.prod(shape, dtype=np.int64) for shape in shapes))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
