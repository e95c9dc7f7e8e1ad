"""Whether long chains from data and from noise met: the verdict of a diagnosis, traces, autocorrelation, figures."""

import math
import zipfile
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from erg.report.histograms import histograms
from erg.report.markup import facts, panel, section, table, text
from erg.report.numbers import measured, number
from erg.report.reading import LARGEST, Run, finite_number, json_object
from erg.report.traces import Chains, Memory, memories, traces

ENERGY = "energy"
_MARKS = {"good": "✓", "bad": "✕", "open": "•"}
_LOST = "there is no verdict on convergence"
_TERMS = {
    "Hardly move": "Chains that hardly move stray less than a tenth of the width of all chains in the second half of "
    "the steps.",
    "Not finite": "Chains that are not finite came to values that are not, and are left out of all else.",
}
_MEANING = (
    "Differences are those of the chains’ means, and of their mean distances from the median, in standard "
    "deviations. R-hat compares the chains with each other: 1 when each has seen what all have seen, "
    "and above 1.05 some have not got around. Effective draws are the independent draws that would know a mean "
    "(bulk) or the 5 % and 95 % quantiles (tails) as well as all chains together do."
)


class Ends(NamedTuple):
    """The arrays of diagnosis.npz: summaries of chains from data and from noise, and what they remember."""

    steps: Float[ndarray, " kept"]
    data: Float[ndarray, "chains_a kept summaries"]
    noise: Float[ndarray, "chains_b kept summaries"]
    lags: Float[ndarray, " lags"] | None
    autocorrelation: Float[ndarray, "lags summaries"] | None
    error: Float[ndarray, "lags summaries"] | None


def convergence_section(run: Run) -> str:
    """What `erg diagnose` found; nothing if it was not asked. Adds to what is missing when its files are damaged."""
    if not (run.folder / "diagnosis.json").exists():
        return ""
    record = json_object(run, "diagnosis.json", _LOST)
    verdict = record.get("verdict") if record else None
    if record is None:
        return ""
    if not isinstance(verdict, dict) or "sentence" not in verdict:
        run.missing.append(f"diagnosis.json is damaged: {_LOST}.")
        return ""
    tone = verdict["tone"] if verdict.get("tone") in _MARKS else "open"
    sentence = (
        f'<p class="verdict {tone}"><span aria-hidden=true>{_MARKS[tone]}</span> {text(verdict["sentence"])}</p>'
    )
    rows = record.get("summaries")
    rows = {str(name): row for name, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}
    told = _facts(record)
    names = " ".join(name for name, _ in told)
    terms = " ".join(meaning for term, meaning in _TERMS.items() if f"{term}, from" in names)
    note = f"<p class=note>{terms}</p>" if terms else ""
    return section("convergence", "Convergence", sentence, facts(told), note, _panels(run, rows), _table(rows))


def _facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    told = []
    chains, steps, after = (finite_number(record.get(key)) for key in ("chains", "steps", "meets_after"))
    if chains is not None and steps is not None:
        moved = record.get("kernel", "own")
        of = "" if moved == "own" else f" of {text(moved)}"
        told.append(("Chains", f"2 × {number(chains)}{of}, {number(steps)} steps"))
        until = "the end" if after is None else (f"step {number(after)}" if after else "no step")
        told.append(("Can be told apart until", until))
    energy = record.get("energy")
    for start, group in energy.items() if isinstance(energy, dict) else ():
        if isinstance(group, dict):
            still = _value(group.get("still"))
            if still is not None and math.isfinite(still):
                told.append((f"Hardly move, from {start}", f"{number(100 * still, 2)} %"))
            if group.get("lost"):
                told.append((f"Not finite, from {start}", text(group["lost"])))
    jumps = record.get("jumps")
    if isinstance(jumps, dict) and _estimate(jumps):
        told.append((f"Jumps between {jumps.get('between', 'regions')}", f"{_estimate(jumps)} a chain"))
    nonfinite = finite_number(record.get("nonfinite"))
    if nonfinite:
        told.append(("Tried and rejected, no finite energy", f"{number(100 * nonfinite, 2)} %"))
    cost = record.get("gradients_per_effective_draw")
    if _estimate(cost):
        verdict = record.get("verdict")
        mixed = isinstance(verdict, dict) and verdict.get("outcome") == "converged"
        least = _rounded(_value(cost))
        told.append(("Gradients an effective draw", _estimate(cost) if mixed else f"more than {least}"))
    return told


def _panels(run: Run, rows: dict[str, dict[str, Any]]) -> str:
    ends = _read(run)
    if ends is None:
        return ""
    names = list(rows) if len(rows) == ends.data.shape[2] else [ENERGY, *(["?"] * (ends.data.shape[2] - 1))]
    groups = [(label, role, values[_finite(values)]) for label, role, values in
              (("from data", "data", ends.data), ("from noise", "model", ends.noise))]  # fmt: skip
    groups = [group for group in groups if len(group[2])]
    if not groups:
        return ""
    slowest = _slowest(rows, names)
    band = "Bands hold nine of ten chains, lines are medians, thin lines single chains."
    drawn = [
        panel("Energy along the chains", _traces("energy along the chains", ends.steps, groups, 0),
              f"In nats, over steps. {band}"),
    ]  # fmt: skip
    if slowest:
        picture = _traces("the slowest summary along the chains", ends.steps, groups, slowest)
        drawn.append(panel(f"{names[slowest].capitalize()} along the chains", picture,
                           "The summary with the largest R-hat; in standard deviations of the data."))  # fmt: skip
    if ends.lags is not None:
        remembered = _memories(ends, names, slowest)
        drawn += [panel("Autocorrelation", remembered, "Of draws so many steps apart; it stays up while chains do "
                        "not mix.")] if remembered else []  # fmt: skip
    late = {label: values[:, 3 * values.shape[1] // 4 :, 0].ravel() for label, _, values in groups}
    caption = "Over the last quarter. The two should be spread alike."
    drawn.append(panel("Energies at the end", histograms("energies at the end", late, height=214.0), caption))
    return f'<div class="panels">{"".join(drawn)}</div>'


def _traces(name: str, steps: ndarray, groups: list[tuple[str, str, ndarray]], place: int) -> str:
    return traces(name, steps, [Chains(label, role, values[..., place]) for label, role, values in groups])


def _memories(ends: Ends, names: list[str], slowest: int) -> str:
    assert ends.lags is not None and ends.autocorrelation is not None and ends.error is not None
    lines = [
        Memory(names[place], role, ends.autocorrelation[:, place], ends.error[:, place])
        for place, role in {0: "ink", slowest: "other-1"}.items()
        if np.isfinite(ends.autocorrelation[:, place]).all()
    ]
    return memories("autocorrelation", ends.lags, lines) if lines else ""


def _slowest(rows: dict[str, dict[str, Any]], names: list[str]) -> int:
    """The place of the summary with the largest R-hat, the energy apart; 0 if there is no other."""
    found = [(_rhat(rows.get(name, {})), place) for place, name in enumerate(names) if place]
    return max(found, key=lambda each: -math.inf if math.isnan(each[0]) else each[0])[1] if found else 0


def _table(rows: dict[str, dict[str, Any]]) -> str:
    cells = []
    for name, row in rows.items():
        rhat = _rhat(row)
        mark = "" if rhat <= 1.05 or math.isnan(rhat) else " class=bad"
        apart = ' <b class="bad">apart</b>' if row.get("apart") is True else ""
        size = " / ".join(_rounded(row.get(which)) for which in ("bulk", "tail"))
        place, width = _estimate(row.get("location")), _estimate(row.get("width"))
        cells.append((text(name), f"{place}{apart}", width, f"<span{mark}>{_spoken(rhat)}</span>", size))
    if not cells:
        return ""
    header = ("Summary", "From noise less from data", "The same in width", "R-hat", "Effective draws, bulk / tails")
    return f"{table(header, cells)}<p class=note>{_MEANING}</p>"


def _read(run: Run) -> Ends | None:
    path = run.folder / "diagnosis.npz"
    if not path.exists():
        run.missing.append("diagnosis.npz is missing: there are no traces of chains to draw.")
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
        ends = Ends(found["steps"], found["data"], found["noise"],
                    *(found.get(name) for name in ("lags", "autocorrelation", "autocorrelation_error")))  # fmt: skip
        if not _fits(ends):
            raise ValueError("shapes")
        return ends
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, TypeError):
        run.missing.append("diagnosis.npz is damaged: there are no traces of chains to draw.")
        return None


def _fits(ends: Ends) -> bool:
    """Whether the arrays belong together and can be drawn."""
    kept = len(ends.steps) if ends.steps.ndim == 1 else 0
    if kept < 4 or not np.isfinite(ends.steps).all():
        return False
    if any(group.ndim != 3 or group.shape[1] != kept or group.shape[2] < 1 for group in (ends.data, ends.noise)):
        return False
    memory = (ends.lags, ends.autocorrelation, ends.error)
    if any(part is None for part in memory):
        return all(part is None for part in memory)
    assert ends.lags is not None and ends.autocorrelation is not None and ends.error is not None
    shape = (len(ends.lags), ends.data.shape[2]) if ends.lags.ndim == 1 else None
    return ends.data.shape[2] == ends.noise.shape[2] and shape == ends.autocorrelation.shape == ends.error.shape


def _finite(values: Float[ndarray, "chains kept summaries"]) -> ndarray:
    """Which chains can be drawn from the start to the end."""
    return (np.abs(values) <= LARGEST).all(axis=(1, 2))


def _value(entry: Any) -> float | None:
    return finite_number(entry.get("value")) if isinstance(entry, dict) else None


def _estimate(entry: Any) -> str:
    value = _value(entry)
    if value is None:
        return ""
    return measured(value, finite_number(entry.get("standard_error")))


def _rhat(row: dict[str, Any]) -> float:
    """An infinite R-hat is one that says something: that of chains which stand still."""
    found = row.get("rhat")
    value = math.inf if found == "inf" else finite_number(found)
    return math.nan if value is None else value


def _spoken(rhat: float) -> str:
    return {True: "∞", False: "unknown" if math.isnan(rhat) else f"{rhat:.2f}"}[rhat == math.inf]


def _rounded(entry: Any) -> str:
    value = finite_number(entry)
    return "unknown" if value is None or math.isnan(value) else number(float(f"{value:.3g}"))
