"""What is said after training: the figures, the verdict, and where the report is."""

from pathlib import Path
from typing import Any


def conclude(path: Path, *, samples: int = 500, seed: int = 0) -> int:
    """Evaluate a run, print its figures, write its report; return 0, or 1 when a goal was missed."""
    from erg.report import write_report
    from erg.runs.evaluation import evaluate_run

    judged = evaluate_run(path, samples=samples, seed=seed).to_json()
    _show(judged)
    print(f"Report: {write_report(path)}")
    return 1 if any(_missed(figure) for figure in judged["metrics"].values()) else 0


def _show(judged: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("figure", "value", "floor", "goal", ""):
        table.add_column(title)
    for name, figure in judged["metrics"].items():
        table.add_row(name, _number(figure), _floor(figure), *_goal(figure))
    console = Console()
    console.print(table)
    classifier = judged.get("classifier")
    if classifier:
        console.print(f"Classifier: {classifier['name']}, sha256 {classifier['sha256'][:16]}", highlight=False)


def _number(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "not finite"
    error = figure.get("standard_error")
    return f"{figure['value']:.4g}" + (f" ± {error:.2g}" if error is not None else "")


def _floor(figure: dict[str, Any]) -> str:
    return f"{figure['floor']:.4g}" if figure.get("floor") is not None else ""


def _goal(figure: dict[str, Any]) -> tuple[str, str]:
    goal = figure.get("goal")
    return (f"{goal['op']} {goal['value']:g}", "pass" if goal["pass"] else "FAIL") if goal else ("", "")


def _missed(figure: dict[str, Any]) -> bool:
    return bool(figure.get("goal")) and not figure["goal"]["pass"]
