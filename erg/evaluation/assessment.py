"""What an evaluation found: figures with their errors, floors and goals, and who judged them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

from torch import Tensor

from erg.errors import UserError
from erg.estimate import Estimate
from erg.evaluation.names import METRICS

COMPARISONS = {"<=": le, ">=": ge, "<": lt, ">": gt}


class Goal(NamedTuple):
    """What a figure should be. An unknown figure passes no goal."""

    comparison: str
    bound: float

    def met_by(self, value: float) -> bool:
        """Whether `value` compares with the bound as it should."""
        return COMPARISONS[self.comparison](value, self.bound)


class Metric(NamedTuple):
    """One figure.

    Attributes:
        estimate: NaN with error 0 when it could not be computed.
        floor: What real held-out rows reach in the place of as many samples.
        goal: What it should be.
        reliable: An unreliable figure meets no goal.
    """

    estimate: Estimate
    floor: float | None = None
    goal: Goal | None = None
    reliable: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain data; null for a number that is not finite."""
        entry: dict[str, Any] = {
            "value": _finite(self.estimate.value),
            "standard_error": _finite(self.estimate.standard_error),
        }
        if self.floor is not None:
            entry["floor"] = _finite(self.floor)
        if self.goal is not None:
            passed = self.reliable and self.goal.met_by(self.estimate.value)
            entry["goal"] = {"op": self.goal.comparison, "value": self.goal.bound, "pass": passed}
        return entry


class Judge(NamedTuple):
    """The classifier in whose features distances were taken."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Assessment:
    """All figures of one evaluation.

    Attributes:
        metrics: By name, in the order to print them; `erg.evaluation.names` says what each is.
        classifier: None when no classifier knows such data; figures that need one are then left out.
        samples: How many samples were given.
        compared: How many samples, and as many held-out rows, went into distances with a floor.
        train: How many training rows there are.
        held_out: How many held-out rows there are.
        energies: Finite energies, for histograms: data (training rows), held_out, samples, noise, and
            ``ood/<name>`` for each further shift.
        notes: Sentences that a reader of the figures has to know.
    """

    metrics: Mapping[str, Metric]
    classifier: Judge | None
    samples: int
    compared: int
    train: int
    held_out: int
    energies: Mapping[str, Tensor] = field(repr=False)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the energies."""
        return {
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "classifier": None if self.classifier is None else self.classifier._asdict(),
            "samples": self.samples,
            "compared": self.compared,
            "train": self.train,
            "held_out": self.held_out,
            "notes": list(self.notes),
        }


def with_goals(assessment: Assessment, goals: Mapping[str, tuple[str, float]]) -> Assessment:
    """The same figures with goals: name to (comparison, bound), as recipes write them.

    A goal for a known figure that could not be computed here is missed.

    Raises:
        UserError: If a figure or a comparison is unknown.
    """
    check_goals(goals, known=assessment.metrics)
    metrics = dict(assessment.metrics)
    for name, (comparison, bound) in goals.items():
        metric = metrics.get(name, Metric(Estimate(math.nan, 0.0)))
        metrics[name] = metric._replace(goal=Goal(comparison, float(bound)))
    return replace(assessment, metrics=metrics)


def check_goals(goals: Mapping[str, tuple[str, float]], *, known: Collection[str] = ()) -> None:
    """Refuse goals that no evaluation could meet or miss.

    Args:
        goals: Name to (comparison, bound), as recipes write them.
        known: Figures there are beside the usual ones.

    Raises:
        UserError: If a figure or a comparison is unknown.
    """
    for name, (comparison, _) in goals.items():
        if name not in known and name not in METRICS:
            raise UserError(f"A goal is set for one of {', '.join(METRICS)}, but got {name!r}; correct its name.")
        if comparison not in COMPARISONS:
            raise UserError(f"A goal compares with {', '.join(COMPARISONS)}, but {name} has {comparison!r}; use one.")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
