"""``erg runs``: list runs, or compare the ones that are named."""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erg.cli.options import Parser
from erg.errors import UserError

if TYPE_CHECKING:
    from erg.report.figures import Figure

LISTED = {
    "Frechet\ndistance": ("frechet_distance", "frechet_distance/raw"),
    "class\nKL": ("class_kl",),
    "confi-\ndence": ("confidence",),
    "AUROC\nnoise": ("auroc/noise",),
}
TOLD_APART = ("name", "description")


def run(arguments: list[str]) -> int:
    """Print a table of runs; return 0."""
    parser = Parser(
        "runs",
        "List the runs in a folder with their state and figures; or name runs to compare them figure by figure and "
        "see where their recipes differ.",
        "  erg runs\n  erg runs runs/demo runs/demo-2",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders (default: list all in runs/)")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where to look (default: runs)")
    chosen = parser.parse_args(arguments)
    if chosen.runs:
        _refuse_missing(chosen.runs, chosen.root)
        _compare(chosen.runs)
    else:
        _list(chosen.root)
    return 0


def _list(root: Path) -> None:
    from erg.cli.tables import aligned

    rows, faults = [], []
    for file in sorted(root.glob("*/run.json")):
        try:
            rows.append(_row(file.parent))
        except UserError as error:
            faults.append(str(error))
    if not rows and not faults:
        raise UserError(f"There are no runs in {root}; `erg demo` makes one.")
    if rows:
        print(aligned(["run", "status", "time", *LISTED], rows))
    for fault in faults:
        print(f"! {fault}")


def _refuse_missing(paths: list[Path], root: Path) -> None:
    for path in paths:
        if not path.exists():
            meant = root / path.name
            advice = "`erg runs` without a name lists the runs, with names it compares them."
            if (meant / "run.json").exists():
                advice = f"did you mean {meant}?"
            raise UserError(f"{path} is not a run folder; {advice}")


def _row(path: Path) -> list[str]:
    state, found = _read(path)
    cells = []
    for names in LISTED.values():
        figure = next((found[name] for name in names if name in found), None)
        cells.append("-" if figure is None or math.isnan(figure.value) else _short(figure))
    return [path.name, _status(state), _duration(state["seconds"]), *cells]


def _short(figure: "Figure") -> str:
    return f"{figure.value:.3g}{' raw' if figure.name.endswith('/raw') else ''}"


def _compare(paths: list[Path]) -> None:
    from erg.cli.tables import aligned
    from erg.report.numbers import plain

    found = [_read(path) for path in paths]
    rows = [
        ["status", *(_status(state) for state, _ in found)],
        ["time", *(_duration(state["seconds"]) for state, _ in found)],
    ]
    names = list(dict.fromkeys(name for _, figures in found for name in figures))
    rows += [
        [name, *(plain(figures[name].words) if name in figures else "-" for _, figures in found)] for name in names
    ]
    differences = _differences([_flat(_recipe(path)) for path in paths])
    width = _room(max(len(row[0]) for row in [*rows, *differences]), len(paths))
    differences = [[name, *(value[:width] for value in values)] for name, *values in differences]
    if len(paths) > 1:
        rows += [["", *("" for _ in paths)], ["recipe" if differences else "same recipe", *("" for _ in paths)]]
    print(aligned(["", *(path.name for path in paths)], rows + differences))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, "Figure"]]:
    """The state of a run, and its figures by name when it was evaluated."""
    from erg.report.figures import figures
    from erg.runs.folder import RunFolder

    folder = RunFolder(path)
    state = folder.read()
    if not folder.evaluation.exists():
        return state, {}
    try:
        found = figures(json.loads(folder.evaluation.read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder.evaluation} is damaged ({error}); `erg evaluate {path}` makes it anew.") from error
    return state, {figure.name: figure for figure in found}


def _recipe(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load((path / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{path / 'config.yaml'} cannot be read as a recipe: {' '.join(str(error).split())}."
        ) from error
    return content if isinstance(content, dict) else {}


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Options by dotted name, as the command line writes them."""
    if not isinstance(value, dict):
        return {name: value if isinstance(value, str) else json.dumps(value)}
    inner = value.get("init_args", {}) if "class_path" in value else value
    found = {name: str(value["class_path"])} if "class_path" in value else {}
    for key, child in inner.items():
        found |= _flat(child, f"{name}.{key}" if name else str(key))
    return found


def _differences(recipes: list[dict[str, str]]) -> list[list[str]]:
    names = dict.fromkeys(name for recipe in recipes for name in recipe if name not in TOLD_APART)
    rows = [[name, *(recipe.get(name, "-") for recipe in recipes)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _room(taken: int, columns: int) -> int:
    """Characters there are for a cell on this terminal; without one there is no limit."""
    if not sys.stdout.isatty():
        return 10_000
    return max(12, (shutil.get_terminal_size().columns - taken) // columns - 2)


def _status(state: dict[str, Any]) -> str:
    step, steps = state["step"], state["steps"]
    return f"finished {step}" if state["status"] == "finished" else f"{state['status']} {step}/{steps}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
