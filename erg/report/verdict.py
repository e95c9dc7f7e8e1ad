"""The one line that says whether a run did what it should."""

from typing import NamedTuple

from erg.report.figures import Figure, figures
from erg.report.numbers import number
from erg.report.reading import Run, finite_number


class Verdict(NamedTuple):
    """A sentence, and the tone in which the page says it: good, bad or open."""

    tone: str
    sentence: str


def verdict(run: Run) -> Verdict:
    """Goals first; without them, how far the run came."""
    status = str(run.state.get("status", "unknown"))
    goals = [figure for figure in figures(run.evaluation) if figure.goal]
    if status == "failed":
        return Verdict("bad", "The run failed" + _reached(run) + "." + _goal_count(goals))
    if goals:
        failed = [figure for figure in goals if figure.missed]
        if not failed:
            return Verdict("good", f"Passed: {_all(len(goals))} met.")
        names = "; ".join(
            f"{figure.title} is {figure.words}, should be {figure.goal.words}" for figure in failed if figure.goal
        )
        return Verdict("bad", f"Failed: {len(failed)} of {len(goals)} goals missed. {names}.")
    if run.evaluation is not None:
        return Verdict("open", "Evaluated. The recipe sets no goals.")
    how = {
        "running": "Still running",
        "finished": "Training finished",
        "stopped": "Stopped early",
        "interrupted": "Interrupted",
    }.get(status, "Status unknown")
    return Verdict("open", f"{how}{_reached(run)}. Not evaluated yet.")


def _all(count: int) -> str:
    return "the one goal is" if count == 1 else ("both goals are" if count == 2 else f"all {count} goals are")


def _goal_count(goals: list[Figure]) -> str:
    passed = sum(not figure.missed for figure in goals)
    return f" {passed} of {len(goals)} goals were met." if goals else " Not evaluated."


def _reached(run: Run) -> str:
    step, steps = finite_number(run.state.get("step")), finite_number(run.state.get("steps"))
    if step is None:
        last = [series.steps[-1] for series in run.series.values() if len(series.steps)]
        step = max(last) if last else None
    if step is None:
        return ""
    return f" at step {number(step)}" + (f" of {number(steps)}" if steps else "")
