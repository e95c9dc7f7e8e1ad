"""What is said after training: the figures, the verdict, and where the report is."""

from pathlib import Path
from typing import Any


def conclude(path: Path, *, samples: int = 500, seed: int = 0, trust: bool = False, best: bool = False) -> int:
    """Evaluate a run, print its figures, write its report; return 0, or 1 when a goal was missed.

    The figures of the best checkpoint go to a folder of their own; the report is about the last.
    """
    from erg.report import write_report
    from erg.runs.evaluation import evaluate_run

    judged = evaluate_run(path, samples=samples, seed=seed, trust=trust, best=best).to_json()
    _show(judged)
    if best:
        print(f"These are figures of the best checkpoint, kept in {path / 'best'}; the report shows the last.")
    report = write_report(path)
    missed = [name for name, figure in judged["metrics"].items() if _missed(figure)]
    print(f"{_verdict(judged['metrics'], missed)}Report: {report}")
    return 1 if missed else 0


def figure_text(figure: dict[str, Any] | None) -> str:
    """A figure with its standard error, as tables show it."""
    if not figure:
        return "-"
    if figure.get("value") is None:
        return "unknown"
    error = figure.get("standard_error")
    return f"{figure['value']:.4g}" + (f" ± {error:.2g}" if error else "")


def _show(judged: dict[str, Any]) -> None:
    from erg.cli.tables import aligned

    rows = [[name, figure_text(figure), _floor(figure), *_goal(figure)] for name, figure in judged["metrics"].items()]
    print(aligned(["figure", "value", "floor", "goal", ""], rows))
    classifier = judged.get("classifier")
    if classifier:
        print(f"Classifier: {classifier['name']}, sha256 {classifier['sha256']}")


def _verdict(metrics: dict[str, Any], missed: list[str]) -> str:
    goals = sum(bool(figure.get("goal")) for figure in metrics.values())
    if not goals:
        return ""
    if missed:
        return f"FAIL: {len(missed)} of {goals} goals missed ({', '.join(missed)}). "
    return f"PASS: all {goals} goals met. "


def _floor(figure: dict[str, Any]) -> str:
    return f"{figure['floor']:.4g}" if figure.get("floor") is not None else ""


def _goal(figure: dict[str, Any]) -> tuple[str, str]:
    goal = figure.get("goal")
    return (f"{goal['op']} {goal['value']:g}", "pass" if goal["pass"] else "FAIL") if goal else ("", "")


def _missed(figure: dict[str, Any]) -> bool:
    return bool(figure.get("goal")) and not figure["goal"]["pass"]
