"""The curves of a training run: what data and model cost, how far apart they are, and how the chains did."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from erg.report.curves import Curve, curves
from erg.report.figures import title as metric_title
from erg.report.markup import panel, section, text
from erg.report.numbers import number
from erg.report.reading import Run
from erg.report.series import Series
from erg.report.theme import set_role

_CLOCKS = ("time", "steps_per_second")
_CAPTIONS = {
    "quality": "Smaller is better; the best checkpoint is chosen by it.",
    "gap/train": "Near 0 the energy treats unseen data as training data.",
}
_OWN_PANEL = {
    "energy/data", "energy/model", "energy/gap", "gradient_norm", "chain/acceptance",
    "learning_rate", "loss", "couplings/log_rmse",
}  # fmt: skip


def training_section(run: Run) -> str:
    """All curves, each in a panel of its own scale; those that never change are told in a sentence."""
    moving = {key: series for key, series in run.series.items() if key not in _CLOCKS and _moves(series)}
    if not run.series:
        return ""
    steps = np.concatenate([series.steps for series in run.series.values()])
    draw = _drawer(run, (0.0, float(steps.max())))
    panels = [*_energies(moving, draw), *_single(moving, draw), *_validation(moving, draw)]
    told = _OWN_PANEL | {key for key in moving if key.startswith("validation/")}
    others = [panel(_plain(key), draw(key, [Curve("", "ink", moving[key])])) for key in sorted(moving.keys() - told)]
    more = f'<details><summary>All other logged terms ({len(others)})</summary><div class="panels">' + (
        "".join(others) + "</div></details>"
    )
    note = "<p class=note>The horizontal axis counts training steps. " + (
        "Lines are medians, shaded bands reach from the smallest to the largest value. " if _long(moving) else ""
    )
    if any(event.get("kind") == "recovery" for event in run.events):
        note += "<span class=bad>Red markers</span> are recoveries from divergence. "
    note += _constant_sentence(run) + "</p>"
    drawn = f'<div class="panels">{"".join(panels)}</div>' if panels else ""
    return section("training", "Training", note, drawn, more if others else "")


Draw = Callable[..., str]


def _drawer(run: Run, span: tuple[float, float]) -> Draw:
    marks = [event.get("step") for event in run.events if event.get("kind") == "recovery"]
    recoveries = [float(step) for step in marks if isinstance(step, int | float) and span[0] <= step <= span[1]]

    def draw(name: str, lines: Sequence[Curve], reference: float | None = None) -> str:
        return curves(name, lines, recoveries=recoveries, span=span, reference=reference)

    return draw


def _energies(moving: dict[str, Series], draw: Draw) -> list[str]:
    lines = [
        Curve(label, role, moving[key])
        for key, label, role in (
            ("energy/data", "data", "data"),
            ("energy/model", "model", "model"),
            ("validation/energy/held_out", "held-out", "held-out"),
        )
        if key in moving
    ]
    panels = [panel("Energy", draw("energy", lines), "In nats; lower is likelier.")] if lines else []
    if "energy/gap" in moving:
        gap = draw("energy gap", [Curve("", "ink", moving["energy/gap"])], reference=0.0)
        panels.append(panel("Energy gap", gap, "Energy of the model’s chains against data; near 0 they agree."))
    return panels


def _single(moving: dict[str, Series], draw: Draw) -> list[str]:
    told = (
        ("loss", "Loss", "What the optimiser follows. Its size says little: look at samples and gap."),
        (
            "couplings/log_rmse",
            "Error of the couplings",
            "Log of the root mean square error over all pairs; lower is better.",
        ),
        ("gradient_norm", "Gradient norm", "Of all weights, before clipping."),
        ("chain/acceptance", "Acceptance", "Share of proposed moves that the chains accepted."),
        ("learning_rate", "Learning rate", ""),
    )
    return [
        panel(title, draw(title.lower(), [Curve("", "ink", moving[key])]), caption)
        for key, title, caption in told
        if key in moving
    ]


def _validation(moving: dict[str, Series], draw: Draw) -> list[str]:
    """Held-out curves: detection together on one scale, energies together, everything else alone."""
    families = (
        ("auroc/", "Detection", "AUROC of held-out data against other inputs: 1 tells them apart, 0.5 is chance."),
        (
            "energy/",
            "Energy by kind of input",
            "Other inputs should lie above held-out data.",
        ),
    )
    panels, told = [], set()
    for prefix, title, caption in families:
        keys = [key for key in sorted(moving) if key.startswith("validation/" + prefix)]
        told |= set(keys)
        names = [key.removeprefix("validation/" + prefix) for key in keys]
        lines = [
            Curve(name.replace("_", "-"), set_role(name, i), moving[key])
            for i, (name, key) in enumerate(zip(names, keys, strict=True))
        ]
        if lines:
            panels.append(panel(title, draw(title.lower(), lines), caption))
    for key in sorted(moving):
        if key.startswith("validation/") and key not in told:
            name = key.removeprefix("validation/")
            panels.append(
                panel(metric_title(name), draw(key, [Curve("", "held-out", moving[key])]), _CAPTIONS.get(name, ""))
            )
    return panels


def _plain(key: str) -> str:
    words = key.replace("/", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def _moves(series: Series) -> bool:
    values = series.values[np.isfinite(series.values)]
    return len(values) > 1 and bool(np.ptp(values) > 1e-9 * max(np.abs(values).max(), 1e-300))


def _long(moving: dict[str, Series]) -> bool:
    return any(len(series.steps) > 160 for series in moving.values())


def _constant_sentence(run: Run) -> str:
    told, looks = [], 0
    for key, series in sorted(run.series.items()):
        values = series.values[np.isfinite(series.values)]
        if key not in _CLOCKS and len(values) > 0 and not _moves(series):
            if len(values) == 1 and key.startswith("validation/"):
                looks += 1
                continue
            often = "throughout" if len(values) > 1 else "logged once"
            told.append(f"{text(_plain(key).lower())} {number(float(values[0]))} ({often})")
    if looks:
        told.append(f"{looks} figures of validation (logged once, see metrics.jsonl)")
    speed = run.series.get("steps_per_second")
    if speed is not None and np.isfinite(speed.values).any():
        median = float(np.nanmedian(speed.values))
        if math.isfinite(median):
            told.append(f"{number(median, 3)} steps per second (median)")
    return f"Not drawn: {', '.join(told)}." if told else ""
