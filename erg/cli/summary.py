"""What is said after training: the figures, the verdict, and where the report is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erg.report.figures import Figure


def conclude(path: Path, *, samples: int = 500, seed: int = 0, trust: bool = False, best: bool = False) -> int:
    """Evaluate a run, print its figures, write its report; return 0, or 1 when a goal was missed.

    The figures of the best checkpoint go to a folder of their own; the report is about the last.
    """
    from erg.report import write_report
    from erg.report.figures import figures
    from erg.runs.evaluation import evaluate_run

    judged = evaluate_run(path, samples=samples, seed=seed, trust=trust, best=best).to_json()
    found = figures(judged)
    _show(found, judged["classifier"])
    for note in judged["notes"]:
        print(note)
    if best:
        print(f"These are figures of the best checkpoint, kept in {path / 'best'}; the report shows the last.")
    print(f"{_verdict(found)}Report: {write_report(path)}")
    return 1 if any(figure.missed for figure in found) else 0


def _show(found: Sequence["Figure"], classifier: dict[str, Any] | None) -> None:
    from erg.cli.tables import aligned
    from erg.report.numbers import number, plain

    rows = []
    for figure in found:
        floor = "" if figure.floor is None else plain(number(figure.floor))
        goal = ("", "") if figure.goal is None else (plain(figure.goal.words), "FAIL" if figure.missed else "pass")
        rows.append([figure.name, plain(figure.words), floor, *goal])
    print(aligned(["figure", "value", "floor", "goal", ""], rows))
    if classifier:
        print(f"Classifier: {classifier['name']}, sha256 {classifier['sha256']}")


def _verdict(found: Sequence["Figure"]) -> str:
    goals = [figure for figure in found if figure.goal is not None]
    missed = [figure.name for figure in goals if figure.missed]
    if not goals:
        return ""
    if missed:
        return f"FAIL: {len(missed)} of {len(goals)} goals missed ({', '.join(missed)}). "
    return f"PASS: all {len(goals)} goals met. "
