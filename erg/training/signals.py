r"""Signs of divergence in the numbers of an update.

Contrastive training oscillates: the gap between the energies of model and data swings around zero and the gradient
norm over a decade. So a number is compared with its own recent past, by the median :math:`m` and the median absolute
deviation :math:`d` of a window, and is out of line when :math:`|v - m| > k\,d`. One number out of line is noise; an
alarm needs `patience` of them in a row. Before there is a past, and for slow drifts that a window follows, absolute
limits hold. One of them needs no unit: when chains follow the model, the gap is small against the standard deviation
of the energies within data and model; when it stays several times as large, the two do not even overlap.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, NamedTuple

Cause = Literal["chains", "weights", "either"]
"""What a signal speaks of: the sampler, the weights, or it cannot tell."""


@dataclass(frozen=True)
class Limits:
    """When a number is out of line.

    Args:
        energy: Largest mean energy of data or model, in nats, either sign.
        gap: Largest difference between both means, in nats, either sign.
        separation: Largest size of the gap in standard deviations of the energy, in the median of the window.
        saturated: Largest share of the entries of chains on the faces of a box, of those that are not on a face in
            the data.
        spread: k, how many median absolute deviations from the median are in line.
        spike: A gradient norm this many times its median is not followed; one this many times below counts as
            vanished.
        patience: Updates in a row that are out of line before it is a divergence.
        window: Updates that make the past; half of it must be there before it is used.

    Raises:
        ValueError: If a limit is not positive.
    """

    energy: float = 1e4
    gap: float = 1e3
    separation: float = 3.0
    saturated: float = 0.9
    spread: float = 20.0
    spike: float = 100.0
    patience: int = 20
    window: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"Limits needs a positive {name}, but got {value}.")


class Alarm(NamedTuple):
    """One number that went out of line for too long: which, what it was, what was allowed, and the likely cause."""

    signal: str
    value: float
    limit: float
    cause: Cause


class Past:
    """The recent values of one number, by their median and spread."""

    def __init__(self, window: int, values: Iterable[float] = ()) -> None:
        self.window = window
        self.values: deque[float] = deque(values, maxlen=window)

    @property
    def known(self) -> bool:
        """Whether there are enough values to compare with."""
        return 2 * len(self.values) >= self.window

    def centre(self) -> float:
        """The median."""
        return median(self.values)

    def deviation(self) -> float:
        """The median absolute deviation from the median."""
        centre = self.centre()
        return median(abs(value - centre) for value in self.values)


class Detector:
    """Watches the numbers of every update and says when training diverges.

    Names are matched by their end, so that terms of a weighted objective are found under their prefix. Numbers that
    an objective does not log are not watched.

    Args:
        limits: When a number is out of line.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._past: dict[str, Past] = {}
        self._counts: dict[str, int] = {}

    @property
    def calm(self) -> bool:
        """Whether no number is out of line at the moment."""
        return not self._counts

    @property
    def steepest(self) -> float:
        """The largest gradient norm that may be followed."""
        usual = self._usual_norm()
        return math.inf if usual is None else self.limits.spike * usual

    def look(self, values: Mapping[str, float]) -> Alarm | None:
        """The first alarm that the numbers of this update complete.

        Args:
            values: The terms of the loss by name, and ``gradient_norm``. All finite.
        """
        apart = list(self._apart(values))
        out = list(self._out_of_line(values))
        self._counts = {alarm.signal: self._counts.get(alarm.signal, 0) + 1 for alarm in (*out, *apart)}
        if not out:
            self._remember(values)
        return next((alarm for alarm in (*apart, *out) if self._counts[alarm.signal] >= self._patience(alarm)), None)

    def _patience(self, alarm: Alarm) -> int:
        # The median has waited already.
        return 1 if alarm.signal == "separation" else self.limits.patience

    def state_dict(self) -> dict[str, Any]:
        """The past and the counts, as plain lists and numbers."""
        return {"past": {name: list(past.values) for name, past in self._past.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with a saved past."""
        self._past = {name: Past(self.limits.window, values) for name, values in state["past"].items()}
        self._counts = dict(state["counts"])

    def _out_of_line(self, values: Mapping[str, float]) -> Iterator[Alarm]:
        limits = self.limits
        for prefix, data, model in _phases(values):
            if max(abs(data), abs(model)) > limits.energy:
                both = min(abs(data), abs(model)) > limits.energy / 10
                yield Alarm("energy", max(data, model, key=abs), limits.energy, "weights" if both else "either")
            if abs(model - data) > limits.gap:
                yield Alarm("gap", model - data, limits.gap, "either")
            allowed = self._allowed(f"{prefix}gap", model - data)
            if allowed is not None:
                yield Alarm("gap", model - data, allowed, "either")
            of_data, of_model = self._allowed(f"{prefix}data", data), self._allowed(f"{prefix}model", model)
            if of_data is not None and of_model is not None and (data - of_data) * (model - of_model) > 0:
                yield Alarm("drift", data, of_data, "weights")
        for name, value in values.items():
            if name.endswith("chain/saturated"):
                at_rest = values.get(name.replace("chain/", "data/"), 0.0)
                allowed = at_rest + limits.saturated * (1 - at_rest)
                if value > allowed:
                    yield Alarm("saturation", value, allowed, "chains")
        norm, usual = values.get("gradient_norm"), self._usual_norm()
        if norm is not None and usual is not None and norm * limits.spike < usual:
            yield Alarm("flat", norm, usual / limits.spike, "weights")

    def _apart(self, values: Mapping[str, float]) -> Iterator[Alarm]:
        for prefix, data, model in _phases(values):
            name, spread = f"{prefix}separation", values.get(f"{prefix}energy/spread")
            if spread is not None:
                self._add(name, (model - data) / max(spread, 1e-12))
                past = self._past[name]
                if past.known and abs(past.centre()) > self.limits.separation:
                    yield Alarm("separation", past.centre(), self.limits.separation, "either")

    def _allowed(self, name: str, value: float) -> float | None:
        """The limit that the past of a number sets, when it is exceeded."""
        past = self._past.get(name)
        if past is None or not past.known:
            return None
        centre = past.centre()
        allowed = self.limits.spread * past.deviation() + 1e-6 * abs(centre)
        return centre + math.copysign(allowed, value - centre) if abs(value - centre) > allowed else None

    def _usual_norm(self) -> float | None:
        past = self._past.get("gradient_norm")
        return math.exp(past.centre()) if past is not None and past.known else None

    def _remember(self, values: Mapping[str, float]) -> None:
        for prefix, data, model in _phases(values):
            self._add(f"{prefix}data", data)
            self._add(f"{prefix}model", model)
            self._add(f"{prefix}gap", model - data)
        if values.get("gradient_norm", 0.0) > 0:
            self._add("gradient_norm", math.log(values["gradient_norm"]))

    def _add(self, name: str, value: float) -> None:
        self._past.setdefault(name, Past(self.limits.window)).values.append(value)


def _phases(values: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Prefix, data energy and model energy of every comparison that was logged."""
    for name, data in values.items():
        prefix = name.removesuffix("energy/data")
        if prefix != name and f"{prefix}energy/model" in values:
            yield prefix, data, values[f"{prefix}energy/model"]
