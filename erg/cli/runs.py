"""``erg runs``: list runs and compare their figures."""

import json
from pathlib import Path
from typing import Any

from erg.cli.options import Parser
from erg.errors import UserError

SHOWN = ("frechet_distance", "class_kl", "confidence", "auroc/noise")


def run(arguments: list[str]) -> int:
    """Print a table of runs; return 0."""
    parser = Parser(
        "runs",
        "List the runs in a folder with their state and figures, or compare the ones that are named.",
        "  erg runs\n  erg runs runs/demo runs/demo-2",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders (default: all in runs/)")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where to look (default: runs)")
    chosen = parser.parse_args(arguments)
    folders = chosen.runs or sorted(path.parent for path in chosen.root.glob("*/run.json"))
    if not folders:
        raise UserError(f"There are no runs in {chosen.root}; `erg demo` makes one.")
    _show([_row(folder) for folder in folders])
    return 0


def _row(path: Path) -> list[str]:
    from erg.runs.folder import RunFolder

    folder = RunFolder(path)
    state = folder.read()
    metrics: dict[str, Any] = {}
    if folder.evaluation.exists():
        metrics = json.loads(folder.evaluation.read_text()).get("metrics", {})
    progress = f"{state['step']}/{state['steps']}"
    return [
        str(path),
        state["status"],
        progress,
        f"{state['seconds']:.0f}",
        *(_figure(metrics, name) for name in SHOWN),
    ]


def _figure(metrics: dict[str, Any], name: str) -> str:
    figure = metrics.get(name)
    if not figure or figure.get("value") is None:
        return "-"
    error = figure.get("standard_error")
    return f"{figure['value']:.3g}" + (f" ± {error:.1g}" if error else "")


def _show(rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("run", "status", "step", "seconds", *SHOWN):
        table.add_column(title, no_wrap=title == "run")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
