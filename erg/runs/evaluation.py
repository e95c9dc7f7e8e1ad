"""Judge a run: samples from noise, figures with errors and floors, goals, pictures, and the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from erg import rows
from erg.data import Dataset, in_grey
from erg.errors import UserError
from erg.evaluation.assess import assess
from erg.evaluation.assessment import Assessment, with_goals
from erg.evaluation.likelihood import likelihoods, partition
from erg.files import write_atomically, write_json
from erg.roles import Filtering
from erg.runs.model import Model, check_figures, open_model
from erg.runs.validation import progression
from erg.training.grids import grid, write_png

SAMPLES = 500
SHOWN = 100
CHAINS = 6


def evaluate_run(
    path: Path, *, samples: int = SAMPLES, seed: int = 0, trust: bool = False, best: bool = False
) -> Assessment:
    """Draw samples from noise, judge them and the energy, and write everything into the run folder.

    Args:
        path: A run folder with exported weights.
        samples: How many are drawn and judged.
        seed: Of the chains.
        trust: Run the classes it names even if they are neither erg's nor torch's.
        best: Judge the best checkpoint in place of the last, and write into the run folder's best/.

    Raises:
        UserError: If the folder is not a run, has no weights yet, or its data are gone.
    """
    if samples < 4:
        raise UserError(f"An evaluation needs at least 4 samples, but got {samples}.")
    model = open_model(path, trust=trust, best=best)
    data = model.data()
    rng = torch.Generator().manual_seed(seed)
    drawn = model.draw(samples, rng=rng)
    judged = assess(model.energy, drawn, train=data.train.x, held_out=data.held_out.x, rng=rng)
    judged = with_goals(_with_likelihood(judged, model, drawn, data, rng), model.recipe.goals)
    _write(model, judged, drawn, rng)
    return judged


def _with_likelihood(
    judged: Assessment, model: Model, drawn: torch.Tensor, data: Dataset, rng: torch.Generator
) -> Assessment:
    """The same figures, and before them those of the likelihood if the recipe asks for it."""
    effort = model.recipe.likelihood.effort
    if effort is None:
        return judged
    check_figures(model.recipe, model.energy)
    train, held_out = data.train.x, data.held_out.x
    found = partition(model.energy, train, drawn, kernel=model.kernel, effort=effort, rng=rng)
    metrics, notes = likelihoods(model.energy, found, train=train, held_out=held_out, effort=effort)
    return replace(judged, metrics=metrics | dict(judged.metrics), notes=[*judged.notes, *notes])


def _write(model: Model, judged: Assessment, drawn: torch.Tensor, rng: torch.Generator) -> None:
    folder = model.folder
    how = {"sampler_steps": model.recipe.sampler.steps, "start": "noise"}
    which = {"checkpoint": "last"} if model.best_step is None else {"checkpoint": "best", "step": model.best_step}
    write_json(folder.evaluation, judged.to_json() | how | which)
    energies: dict[str, Any] = {name: values.numpy() for name, values in judged.energies.items()}
    write_atomically(folder.scores, lambda file: np.savez(file, **energies))
    write_atomically(folder.samples / "samples.npy", lambda file: np.save(file, model.in_own_units(drawn).numpy()))
    if model.domain.pictured:
        write_png(folder.samples / "final.png", grid(in_grey(drawn[:SHOWN], model.domain.support)))
        start = model.energy.support.initial((CHAINS, *model.domain.shape), rng)
        chain = progression(model.kernel, model.energy, start, model.recipe.sampler.steps, rng)
        frames = in_grey(chain.flatten(0, 1), model.domain.support)
        write_png(folder.samples / "chain.png", grid(frames, columns=chain.shape[1]))
        if isinstance(model.energy, Filtering):
            filters = model.energy.filters()[:SHOWN]
            largest = filters.flatten(1).abs().amax(1).clamp(min=1e-12)
            write_png(folder.samples / "filters.png", grid(filters / rows.spread(largest, filters)))
