"""Carry out an experiment before the user's eyes: a progress bar, then where the results are."""

import time
from collections.abc import Mapping

from torch import Tensor

from erg.runs.experiment import Experiment

REFRESH = 0.2


def carry_out(experiment: Experiment) -> int:
    """Train, evaluate and report; return the exit code."""
    from erg.cli.summary import conclude

    folder, steps = experiment.folder.path, experiment.recipe.steps
    if experiment.engine.rank != 0:
        for _ in experiment.run():
            pass
        return 0
    print(f"Run folder: {folder}")
    _train(experiment)
    if experiment.status == "interrupted":
        print(f"Stopped at step {experiment.step} of {steps}. Go on with: erg train --resume {folder}")
        return 130
    print("Evaluating ...")
    return conclude(folder)


def _train(experiment: Experiment) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    first, began, shown = experiment.step, time.monotonic(), 0.0
    with Progress(*columns) as progress:
        task = progress.add_task(
            experiment.recipe.name, total=experiment.recipe.steps, completed=experiment.step, numbers=""
        )
        for record in experiment.run():
            now = time.monotonic()
            if now - shown > REFRESH or record.step == experiment.recipe.steps:
                speed = (record.step - first) / max(now - began, 1e-9)
                progress.update(task, completed=record.step, numbers=_numbers(record.terms, speed))
                shown = now


def _numbers(terms: Mapping[str, Tensor], speed: float) -> str:
    def show(label: str, ending: str, form: str) -> str:
        found = [float(value) for name, value in terms.items() if name.endswith(ending)]
        return f"{label} {found[0]:{form}}" if found else ""

    parts = [
        show("data", "energy/data", "+.3f"),
        show("model", "energy/model", "+.3f"),
        show("gap", "energy/gap", "+.3f"),
        show("acceptance", "chain/acceptance", ".2f"),
        f"{speed:.1f} steps/s",
    ]
    return "  ".join(part for part in parts if part)
