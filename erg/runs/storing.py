"""Carry out a recipe whose energy is made of its data at once: no objective, no optimiser, one step.

The run folder is that of a trained run, so that it is evaluated, sampled, scored and reported as any other.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from erg.energies.stored import Stored
from erg.errors import UserError
from erg.evaluation.assess import energies
from erg.evaluation.assessment import check_goals
from erg.runs.domain import Domain
from erg.runs.experiment import Experiment, Record
from erg.runs.folder import RunFolder
from erg.runs.model import build_energy, check_figures, check_support, export_model, sampling_kernel, use_threads
from erg.runs.recipe import Recipe, StoredRecipe
from erg.runs.validation import Validation
from erg.training.engine import Engine
from erg.training.tracking import Tracker

STEPS = 1


class Storing:
    """A recipe without an objective at work in a run folder; to its caller it is like an `Experiment`.

    Args:
        recipe: What to do.
        folder: Where. Of a run that exists, to begin it again: there is nothing to go on from.
        config: The recipe as YAML, for a new run.
        say: Told in a sentence what a user should know.

    Attributes:
        step: 1 when it is done.
        status: running or finished.

    Raises:
        UserError: If data, network and recipe do not fit each other, or the folder cannot be used.
    """

    def __init__(
        self, recipe: StoredRecipe, folder: RunFolder, *, config: str | None = None, say: Callable[[str], Any] = str
    ) -> None:
        self.recipe, self.folder, self.say = recipe, folder, say
        use_threads(recipe)
        self.engine = Engine(recipe.device)
        self.data = recipe.load()
        # There are no batches.
        replace(recipe, batch_size=1).check_rows(len(self.data.train), len(self.data.held_out))
        check_goals(recipe.goals)
        energy = build_energy(recipe, self.data.shape, self.data.support)
        if not isinstance(energy, Stored):
            raise UserError(
                f"Recipe {recipe.name} has no objective, so its network should store the data, as "
                f"erg.energies.StoredMemory does, but it is a {type(energy).__name__}; give an objective and an "
                "optimizer."
            )
        check_support(energy, self.data)
        check_figures(recipe, energy)
        self.energy: Stored = energy
        self._kernel = sampling_kernel(recipe)
        self.step, self.status = 0, "running"
        self._rng = torch.Generator().manual_seed(recipe.seed)
        self._store()
        if config is not None:
            folder.create(recipe.name, recipe.seed, STEPS, config)
        self._begun_before = config is None

    def run(self) -> Iterator[Record]:
        """Judge and export what is stored, and yield once.

        Raises:
            UserError: If nothing can be written.
        """
        began = time.monotonic()
        tracker = Tracker(self.folder.path, resume_step=0 if self._begun_before else None)
        try:
            self.folder.update(status="running")
            self.step = STEPS
            rows = self.data.train.x[:: max(1, len(self.data.train) // 1000)]
            tracker.scalars(self.step, {"energy/data": float(energies(self.energy, rows).mean())})
            validation = Validation(self.recipe.validation, self.data, self.recipe.sampler.steps)
            validation.look(self.step, self.energy, self._kernel, seed=self.recipe.seed, tracker=tracker)
            self.conclude()
            self.status = "finished"
            self.folder.update(step=self.step, seconds=round(time.monotonic() - began, 3), status=self.status)
            yield Record(self.step, {})
        finally:
            tracker.close()

    def conclude(self) -> None:
        """Export what is stored."""
        domain = Domain.of(self.data, threshold=self.recipe.data.binarise)
        export_model(self.folder, self.energy, domain, step_size_factor=1.0, tuned={})

    def _store(self) -> None:
        try:
            self.energy.store(self.data.train.x, self._rng)
        except ValueError as error:
            raise UserError(f"The data of recipe {self.recipe.name} cannot be stored: {error}") from error


def begin(
    recipe: Recipe, folder: RunFolder, *, config: str | None = None, say: Callable[[str], Any] = str
) -> Experiment | Storing:
    """A recipe at work, by training or by storing; the arguments are those of an `Experiment`."""
    if isinstance(recipe, StoredRecipe):
        return Storing(recipe, folder, config=config, say=say)
    return Experiment(recipe, folder, config=config, say=say)
