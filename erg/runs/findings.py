"""What a diagnosis says in words, and as the files of its run."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from erg.estimate import Estimate
from erg.evaluation.meeting import MIXED, Group, Meeting, Outcome
from erg.files import write_atomically, write_json
from erg.roles import Kernel
from erg.runs.diagnosis import Diagnosis
from erg.runs.model import Model
from erg.samplers.composition import parts_of
from erg.samplers.langevin import Descent, ImageLangevin, temperature
from erg.samplers.rules import Unadjusted
from erg.samplers.tempering.annealed import Annealed

TONES = {
    Outcome.CONVERGED: "good",
    Outcome.SLOW: "open",
    Outcome.LATE: "open",
    Outcome.APART: "bad",
    Outcome.BROKEN: "bad",
}


def verdict(found: Diagnosis, *, kernel: Kernel, sampler_steps: int, other: str | None = None) -> str:
    """One or two sentences: whether the two ends meet, and what samples of the run are therefore.

    Args:
        found: What the chains showed.
        kernel: Which law they can have at best.
        sampler_steps: How long the run's own chains are.
        other: The name of the kernel, if it is not the run's own: its steps are not comparable with the run's.
    """
    steps, compared = f"{found.plan.steps:,}", found.meeting
    ends = f"Chains{f' of {other}' if other else ''} from data and from noise"
    short = "" if other else _short(found, sampler_steps)
    after = "" if compared.after is None else _about(compared.after * found.plan.every)
    if compared.outcome is Outcome.CONVERGED:
        length = " that are drawn so long" if compared.after else ""
        return f"{ends} meet {after}: samples{length} are draws from {law(kernel)}.{short}{_elsewhere(compared)}"
    if compared.outcome is Outcome.SLOW:
        assert compared.convergence is not None
        worst = _largest(compared.convergence.rhat.tolist())
        return (
            f"{ends} cannot be told apart {after}, but chains do not get around within {steps} steps (R-hat "
            f"{worst:.2f}, and at most {MIXED} would do): how much each mode weighs may come from the starts."
            f"{short} {_ways(compared)}"
        )
    if compared.outcome is Outcome.LATE:
        return (
            f"{ends} meet only {after} of {steps}: run longer chains, with --steps {4 * found.plan.steps}, to see "
            "whether they stay together."
        )
    if compared.outcome is Outcome.APART:
        means = (
            "they do not get around the model" if other
            else f"the model's samples, of {sampler_steps:,} steps, are short-run samples"
        )  # fmt: skip
        return f"{ends} do not meet within {steps} steps: {means}. {_ways(compared)}"
    lost = compared.first.lost + compared.second.lost
    return (
        f"{lost} of {2 * found.plan.chains} chains came to values that are not finite: this kernel does not sample "
        "this energy. Try a smaller step size."
    )


def law(kernel: Kernel) -> str:
    """What chains of a kernel are draws of once they have forgotten their start."""
    parts = list(parts_of(kernel))
    for part in parts:
        if isinstance(part, ImageLangevin):
            level = temperature(part.step_size, part.noise)
            return f"the law that this kernel keeps, which is the model's at temperature {level:.3g} at best"
        if isinstance(part, Descent):
            return "the law that descent ends in, which is that of its starts"
        if isinstance(part, Annealed):
            return "the law that annealing ends in, which is the model's at the last temperature at best"
        if isinstance(part, Unadjusted) and not part.move.needs_gradient:
            return "the law of moves that nothing tests, which know nothing of the model"
    varying = [part for part in parts if isinstance(part, Kernel) and not part.invariant]
    if any(not part.settles for part in varying):
        return "the model, up to the bias of an unadjusted kernel"
    return "the model, as soon as the kernel has found its settings" if varying else "the model"


def to_json(found: Diagnosis, *, sentence: str, model: Model, seed: int, other: str | None = None) -> dict[str, Any]:
    """Plain data; numbers that are not finite are words."""
    plan, compared = found.plan, found.meeting
    which = {"checkpoint": "last"} if model.best_step is None else {"checkpoint": "best", "step": model.best_step}
    return which | {
        "verdict": {"outcome": compared.outcome.value, "tone": TONES[compared.outcome], "sentence": sentence},
        "chains": plan.chains,
        "steps": plan.steps,
        "every": plan.every,
        "kernel": other or "own",
        "sampler_steps": model.recipe.sampler.steps,
        "seed": seed,
        "meets_after": None if compared.after is None else compared.after * plan.every,
        "energy": {"data": _group(compared.first), "noise": _group(compared.second)},
        "summaries": dict(_summaries(found)),
        "gradients_per_effective_draw": found.cost and _estimate(found.cost),
        "nonfinite": found.nonfinite,
        "jumps": {"between": found.regions} | _estimate(found.jumps),
    }


def write(model: Model, found: Diagnosis, record: dict[str, Any]) -> None:
    """Write diagnosis.json and diagnosis.npz into the run folder.

    Raises:
        UserError: If they cannot be written.
    """
    arrays: dict[str, Any] = {
        "steps": np.arange(found.plan.kept) * found.plan.every,
        "data": found.data.numpy(),
        "noise": found.noise.numpy(),
    }
    if found.correlation is not None:
        arrays["lags"] = np.arange(len(found.correlation.value)) * found.plan.every
        arrays["autocorrelation"] = found.correlation.value.float().numpy()
        arrays["autocorrelation_error"] = found.correlation.standard_error.float().numpy()
    write_atomically(model.folder.traces, lambda file: np.savez_compressed(file, **arrays))
    write_json(model.folder.diagnosis, record)


def _summaries(found: Diagnosis) -> Iterator[tuple[str, dict[str, Any]]]:
    compared = found.meeting
    if compared.convergence is None:
        return
    for place, (name, shift) in enumerate(zip(found.names, compared.shifts, strict=True)):
        yield (
            name,
            {
                "apart": shift.apart,
                "location": _estimate(shift.location),
                "width": _estimate(shift.width),
                "rhat": _plain(float(compared.convergence.rhat[place])),
                "bulk": _plain(float(compared.convergence.bulk[place])),
                "tail": _plain(float(compared.convergence.tail[place])),
            },
        )


def _group(group: Group) -> dict[str, Any]:
    parts = {name: _estimate(getattr(group, name)) for name in ("start", "end", "drift", "still")}
    return parts | {"lost": group.lost}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": _plain(estimate.value), "standard_error": _plain(estimate.standard_error)}


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _ways(compared: Meeting) -> str:
    groups = compared.first, compared.second
    first, second = (f"from {group.start.value:.4g} to {group.end.value:.4g}" for group in groups)
    return f"The energy of chains from data goes {first}, of chains from noise {second}."


def _elsewhere(compared: Meeting) -> str:
    """A remark on models whose law has energies that the data have not: chains meet, away from the data."""
    start, end = compared.first.start, compared.first.end
    error = math.hypot(start.standard_error, end.standard_error)
    return f" {_ways(compared)}" if abs(end.value - start.value) > 5 * error else ""


def _short(found: Diagnosis, sampler_steps: int) -> str:
    """A remark on runs whose own chains end before the two meet."""
    after = found.meeting.after
    if after is None or sampler_steps >= after * found.plan.every:
        return ""
    return f" The run's own samples, of {sampler_steps:,} steps, are shorter than that."


def _about(step: int) -> str:
    """When, with as many digits as windows can tell."""
    return f"after about {float(f'{step:.2g}'):,.0f} steps" if step else "from the first steps on"


def _largest(values: list[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)
