"""Judge a run: samples from noise, figures with errors and floors, goals, pictures, and the report."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from erg.data import load
from erg.errors import UserError
from erg.evaluation.assess import Assessment, assess, with_goals
from erg.files import write_atomically, write_json
from erg.runs.model import Model, open_model
from erg.runs.validation import progression
from erg.samplers.chain import sample
from erg.training.grids import grid, write_png

SAMPLES = 500
SHOWN = 100
CHAINS = 6


def evaluate_run(path: Path, *, samples: int = SAMPLES, seed: int = 0) -> Assessment:
    """Draw samples from noise, judge them and the energy, and write everything into the run folder.

    Args:
        path: A run folder with exported weights.
        samples: How many are drawn and judged.
        seed: Of the chains.

    Raises:
        UserError: If the folder is not a run, has no weights yet, or its data are gone.
    """
    if samples < 4:
        raise UserError(f"An evaluation needs at least 4 samples, but got {samples}.")
    model = open_model(path)
    recipe = model.recipe
    data = load(recipe.data.name or "", path=recipe.data.path, seed=recipe.seed)
    if data.shape != model.shape:
        raise UserError(f"This run scores events of shape {model.shape}, but its data now have shape {data.shape}.")
    rng = torch.Generator().manual_seed(seed)
    drawn = draw(model, samples, rng=rng)
    judged = with_goals(
        assess(model.energy, drawn, train=data.train.x, held_out=data.held_out.x, rng=rng), recipe.goals
    )
    _write(model, judged, drawn, rng)
    return judged


def draw(
    model: Model, count: int, *, rng: torch.Generator, steps: int | None = None, temperature: float = 1.0
) -> Any:
    """Samples from noise, shape (count, *event), in batches that bound the memory.

    Args:
        model: Whose energy and kernel.
        count: How many.
        rng: The only source of randomness.
        steps: Transitions; the recipe's when left out.
        temperature: Of the energy that is sampled.
    """
    energy = model.energy if temperature == 1 else model.energy / temperature
    steps = model.recipe.sampler.steps if steps is None else steps
    parts = []
    for first in range(0, count, 500):
        start = model.energy.support.initial((min(500, count - first), *model.shape), rng)
        parts.append(sample(model.kernel, energy, start, steps, rng))
    return torch.cat(parts)


def _write(model: Model, judged: Assessment, drawn: torch.Tensor, rng: torch.Generator) -> None:
    folder = model.folder
    write_json(folder.evaluation, judged.to_json() | {"sampler_steps": model.recipe.sampler.steps, "start": "noise"})
    energies = {name: values.numpy() for name, values in judged.energies.items()}
    write_atomically(folder.scores, lambda file: np.savez(file, **energies))
    write_atomically(folder.samples / "samples.npy", lambda file: np.save(file, drawn.numpy()))
    if len(model.shape) == 3:
        write_png(folder.samples / "final.png", grid(drawn[:SHOWN]))
        start = model.energy.support.initial((CHAINS, *model.shape), rng)
        chain = progression(model.kernel, model.energy, start, model.recipe.sampler.steps, rng)
        write_png(folder.samples / "chain.png", grid(chain.flatten(0, 1), columns=chain.shape[1]))
