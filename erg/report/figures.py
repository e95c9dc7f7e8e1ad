"""The figures of evaluation.json, read for whatever shows them: the report and the command line."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from erg.evaluation.names import JUDGED, LOOKS, METRICS
from erg.report.numbers import measured, number
from erg.report.reading import finite_number

_OPERATORS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">"}
_NAMES = METRICS | LOOKS


class Goal(NamedTuple):
    """What a figure should be, and whether it is; None when nobody knows."""

    words: str
    passed: bool | None


class Figure(NamedTuple):
    """One metric of evaluation.json; its value is NaN when it is unknown."""

    name: str
    value: float
    standard_error: float | None
    floor: float | None
    goal: Goal | None

    @property
    def title(self) -> str:
        """The name for readers."""
        return title(self.name)

    @property
    def words(self) -> str:
        """The value with its standard error; a count has none."""
        return "unknown" if math.isnan(self.value) else measured(self.value, self.standard_error or None)

    @property
    def missed(self) -> bool:
        """Whether it has a goal and is not known to meet it."""
        return self.goal is not None and self.goal.passed is not True

    @property
    def by_classifier(self) -> bool:
        """Whether it depends on the classifier."""
        return self.name in JUDGED

    @property
    def is_distance(self) -> bool:
        """Whether it is read as a multiple of its floor."""
        return "distance" in self.name.lower()


def figures(evaluation: Mapping[str, Any] | None) -> list[Figure]:
    """The metrics in the order of the file, those with a goal first."""
    metrics = (evaluation or {}).get("metrics")
    if not isinstance(metrics, Mapping):
        return []
    found = [
        _figure(str(name), entry if isinstance(entry, Mapping) else {"value": entry})
        for name, entry in metrics.items()
    ]
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


def _figure(name: str, entry: Mapping[str, Any]) -> Figure:
    value = finite_number(entry.get("value"))
    return Figure(
        name,
        math.nan if value is None else value,
        finite_number(entry.get("standard_error")),
        finite_number(entry.get("floor")),
        _goal(entry.get("goal")),
    )


def _goal(goal: Any) -> Goal | None:
    if not isinstance(goal, Mapping) or goal.get("op") is None:
        return None
    value = finite_number(goal.get("value"))
    operator = str(goal["op"])
    words = f"{_OPERATORS.get(operator, operator)} {'?' if value is None else number(value)}"
    passed = goal.get("pass")
    return Goal(words, passed if isinstance(passed, bool) else None)
