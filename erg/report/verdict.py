"""The figures of an evaluation, and the one line that says whether the run did what it should."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from erg.report.numbers import measured, number
from erg.report.reading import Run, finite_number


class Goal(NamedTuple):
    """What a figure should be, and whether it is."""

    words: str
    passed: bool | None


class Figure(NamedTuple):
    """One metric of evaluation.json."""

    name: str
    value: float
    standard_error: float | None
    floor: float | None
    goal: Goal | None


class Verdict(NamedTuple):
    """A sentence, and the tone in which the page says it: good, bad or open."""

    tone: str
    sentence: str


_OPERATORS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">"}

_NAMES = {
    "frechet_distance": "Fréchet distance to training data",
    "frechet_distance/raw": "Fréchet distance to training data, of raw values",
    "kernel_distance": "Kernel distance to training data",
    "kernel_distance/raw": "Kernel distance to training data, of raw values",
    "class_kl": "Class coverage: KL to uniform",
    "confidence": "Mean confidence of the classifier",
    "confidence_held_out": "Mean confidence on held-out data",
    "nearest_train_distance": "Distance to the nearest training row",
    "nearest_train_distance_held_out": "The same distance from held-out data",
    "non_finite": "Samples that are not finite",
    "quality": "Distance of samples to training data",
    "gap/train": "Held-out energy above training",
    "gap/noise": "Noise energy above held-out",
}
_JUDGED = ("frechet_distance", "kernel_distance", "class_kl", "confidence", "confidence_held_out")


def figures(run: Run) -> list[Figure]:
    """The metrics in the order of the file, those with a goal first."""
    metrics = (run.evaluation or {}).get("metrics")
    if not isinstance(metrics, Mapping):
        return []
    found = []
    for name, entry in metrics.items():
        if not isinstance(entry, Mapping):
            entry = {"value": entry}
        value = finite_number(entry.get("value"))
        found.append(
            Figure(
                str(name),
                math.nan if value is None else value,
                finite_number(entry.get("standard_error")),
                finite_number(entry.get("floor")),
                _goal(entry.get("goal")),
            )
        )
    return sorted(found, key=lambda figure: figure.goal is None)


def title(name: str) -> str:
    """A metric's name for readers."""
    if name in _NAMES:
        return _NAMES[name]
    words = name.replace("/", " ").replace("held_out", "held-out").replace("_", " ").strip().split()
    if words and words[0].lower() == "auroc":
        return "AUROC of held-out data against " + (" ".join(words[1:]) or "other inputs")
    sentence = " ".join(words)
    return sentence[:1].upper() + sentence[1:]


def judged_by_classifier(name: str) -> bool:
    """Whether a figure depends on the digit classifier."""
    return name in _JUDGED


def is_distance(name: str) -> bool:
    """Whether a figure is a distance, which is read as a multiple of its floor."""
    return "distance" in name.lower()


def verdict(run: Run) -> Verdict:
    """Goals first; without them, how far the run came."""
    status = str(run.state.get("status", "unknown"))
    goals = [figure for figure in figures(run) if figure.goal]
    if status == "failed":
        return Verdict("bad", "The run failed" + _reached(run) + "." + _goal_count(goals))
    if goals:
        failed = [figure for figure in goals if figure.goal and figure.goal.passed is not True]
        if not failed:
            return Verdict("good", f"Passed: {_all(len(goals))} met.")
        names = "; ".join(
            f"{title(figure.name)} is {measured(figure.value, figure.standard_error)}, should be {figure.goal.words}"
            for figure in failed
            if figure.goal
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


def _goal(goal: Any) -> Goal | None:
    if not isinstance(goal, Mapping) or goal.get("op") is None:
        return None
    value = finite_number(goal.get("value"))
    operator = str(goal["op"])
    words = f"{_OPERATORS.get(operator, operator)} {'?' if value is None else number(value)}"
    passed = goal.get("pass")
    return Goal(words, passed if isinstance(passed, bool) else None)


def _all(count: int) -> str:
    return "the one goal is" if count == 1 else ("both goals are" if count == 2 else f"all {count} goals are")


def _goal_count(goals: list[Figure]) -> str:
    passed = sum(figure.goal.passed is True for figure in goals if figure.goal)
    return f" {passed} of {len(goals)} goals were met." if goals else " Not evaluated."


def _reached(run: Run) -> str:
    step, steps = finite_number(run.state.get("step")), finite_number(run.state.get("steps"))
    if step is None:
        last = [series.steps[-1] for series in run.series.values() if len(series.steps)]
        step = max(last) if last else None
    if step is None:
        return ""
    return f" at step {number(step)}" + (f" of {number(steps)}" if steps else "")
