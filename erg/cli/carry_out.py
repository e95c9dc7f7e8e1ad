"""Carry out an experiment before the user's eyes, then say where the results are."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from erg.cli.display import display
from erg.runs.experiment import Experiment
from erg.runs.storing import Storing
from erg.training.guard import DivergenceError


def carry_out(
    make: Callable[[Callable[[str], None]], Experiment | Storing], *, trust: bool, notes: Sequence[str] = ()
) -> int:
    """Train, evaluate and report; return the exit code.

    Args:
        make: Makes the experiment, given who is told what happens.
        trust: Whether the evaluation may run the classes that the run names.
        notes: Said first.
    """
    console = Console()

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    experiment = make(say)
    if experiment.engine.rank != 0:
        for _ in experiment.run():
            pass
        return 0
    for note in notes:
        say(note)
    folder, steps = experiment.folder.path, experiment.recipe.steps
    if experiment.step:
        say(f"Going on with {folder} from step {experiment.step} of {steps}.")
    else:
        say(f"Run folder: {folder}")
    try:
        with display(experiment.recipe.name, steps, console) as shown:
            for record in experiment.run():
                shown.show(record)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted within a step; `erg train --resume {folder}` goes on from the last checkpoint."
        ) from None
    except DivergenceError:
        _report(folder, say)
        raise
    if experiment.status == "interrupted":
        say(f"Stopped at step {experiment.step} of {steps}. Go on with: erg train --resume {folder}")
        return 130
    if experiment.status == "stopped":
        looks = experiment.recipe.validation.patience
        say(
            f"Stopped early at step {experiment.step} of {steps}: the last {looks} looks were no better. "
            "With --checkpoint best, erg sample, score and evaluate use the best one."
        )
    return finish(folder, trust=trust)


def finish(folder: Path, *, trust: bool) -> int:
    """Evaluate a trained run and write its report; return the exit code."""
    from erg.cli.summary import conclude

    print("Evaluating ...", flush=True)
    return conclude(folder, trust=trust)


def _report(folder: Path, say: Callable[[str], None]) -> None:
    from erg.report import write_report

    say(f"Report: {write_report(folder)}")
