"""Carry out a recipe: assemble its parts, train, watch, save, go on after a kill.

What a step does depends on the state that a checkpoint holds and on nothing else: no clock, no
global counter. So a run that was killed and resumed ends with the same bits as one that was not.
The clock only decides when a checkpoint is written.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from erg.data import batches
from erg.energies.energy import Energy
from erg.errors import UserError
from erg.evaluation.assessment import check_goals
from erg.roles import Loss
from erg.runs.config import with_batch_size
from erg.runs.domain import Domain
from erg.runs.folder import RunFolder
from erg.runs.model import (
    build_energy,
    build_optimizer,
    check_figures,
    check_support,
    export_model,
    sampling_kernel,
    start_at_data,
    tuned_settings,
    use_threads,
)
from erg.runs.recipe import LEAST, Recipe
from erg.runs.stopping import stoppable
from erg.runs.validation import Validation
from erg.training.averaging import Averaged
from erg.training.checkpoint import Checkpoints
from erg.training.engine import Engine
from erg.training.guard import DivergenceError, Event, Guard
from erg.training.hooks import average_gradients, clip_gradients
from erg.training.loop import train
from erg.training.rates import fitted, set_learning_rate
from erg.training.state import restore, rng_states, set_rng_states, states
from erg.training.tracking import Tracker


class Record(NamedTuple):
    """What a caller sees of an update.

    Attributes:
        step: Updates made so far.
        terms: Detached scalars by name.
    """

    step: int
    terms: Mapping[str, torch.Tensor]


class Experiment:
    """A recipe at work in a run folder.

    With several processes, process 0 alone writes and speaks.

    Args:
        recipe: What to do.
        folder: Where. Of a run that exists, to go on from its last checkpoint.
        config: The recipe as YAML, for a new run: its folder is made once data and network are known to fit.
        say: Told in a sentence what a user should know while it happens.

    Attributes:
        step: Updates made so far.
        status: running, finished, stopped (early), interrupted or failed.

    Raises:
        UserError: If data, network and recipe do not fit each other, or the folder cannot be used.
    """

    def __init__(
        self, recipe: Recipe, folder: RunFolder, *, config: str | None = None, say: Callable[[str], Any] = str
    ) -> None:
        self.folder = folder
        use_threads(recipe)
        self.engine = Engine(recipe.device, recipe.precision, devices=recipe.devices)
        self.say = say if self.engine.rank == 0 else str
        self.data = recipe.load()
        if config is not None:
            recipe, config = self._fitted(recipe, config)
        recipe.check_rows(len(self.data.train), len(self.data.held_out))
        self.recipe = recipe
        check_goals(recipe.goals)
        _seed_everything(recipe.seed)
        energy = build_energy(recipe, self.data.shape, self.data.support)
        check_figures(recipe, energy)
        if not Checkpoints(folder.checkpoints).exist:
            start_at_data(energy, self.data.train.x)
        self.energy: Energy = self.engine.energy(energy)
        check_support(self.energy, self.data)
        self.averaged = Averaged(self.energy, recipe.average)
        self._smooth = cast(Energy, self.averaged.energy)
        self.optimizer = build_optimizer(recipe, self.energy)
        self._base_rate = self.optimizer.param_groups[0]["lr"]
        self._rate = recipe.learning_rate and fitted(recipe.learning_rate, recipe.steps)
        self.rng = self.engine.rng(recipe.seed)
        self.checkpoints = Checkpoints(folder.checkpoints)
        average_gradients(self.optimizer, self.engine.fabric)
        self.guard = self._guard()
        self._clipping = clip_gradients(self.optimizer, recipe.clip_gradients or float("inf"))
        sampling_kernel(recipe)  # Refuses a recipe that cannot be sampled before anything is written.
        self.validation = Validation(recipe.validation, self.data, recipe.sampler.steps)
        self.step, self.status, self._seconds_before = 0, "running", 0.0
        self._open(config)
        self._began = time.monotonic()

    def run(self) -> Iterator[Record]:
        """Train, and yield after every update. A caller that stops iterating ends the run early.

        Raises:
            DivergenceError: If the guard gives up; the last good state is saved first.
            UserError: If nothing can be written any more. The last checkpoint is unharmed.
        """
        self._mark("running")
        try:
            with stoppable(lambda: self.say("Stopping after this step. Ctrl-C again stops at once.")) as stop:
                for record in self._updates():
                    yield record
                    if self.engine.decide(stop.asked):
                        self.status = "interrupted"
                        break
            if self.status == "running":
                self.status = "finished"
            self.conclude()
        except DivergenceError:
            self.status = "failed"
            self.conclude()
            raise
        except GeneratorExit:
            self.status = "interrupted"
            self.conclude()
            raise
        except BaseException as error:
            # Within an update nothing is whole: the last checkpoint stands.
            with suppress(UserError):
                self._mark("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        finally:
            if self.tracker is not None:
                self.tracker.close()

    @property
    def seconds(self) -> float:
        """How long this run has been at work, without what passed between a stop and a resume."""
        return self._seconds_before + time.monotonic() - self._began

    def _fitted(self, recipe: Recipe, config: str) -> tuple[Recipe, str]:
        """The recipe with batches of all rows when there are fewer rows than a batch has."""
        rows = len(self.data.train) // self.engine.processes * self.engine.processes
        if not LEAST <= rows < recipe.batch_size:
            return recipe, config
        self.say(f"There are {len(self.data.train)} rows to train on: batch_size is {rows}, not {recipe.batch_size}.")
        return replace(recipe, batch_size=rows), with_batch_size(config, rows)

    def _open(self, config: str | None) -> None:
        """Make the folder of a new run, or go on from the last checkpoint."""
        if config is None:
            # A run that was killed before its first checkpoint begins again.
            if self.checkpoints.exist:
                self._restore(self.checkpoints.load(self.engine.device, notify=self.say))
        elif self.engine.rank == 0:
            self.folder.create(self.recipe.name, self.recipe.seed, self.recipe.steps, config)
        self.tracker = None
        if self.engine.rank == 0:
            self.tracker = Tracker(self.folder.path, resume_step=self.step if config is None else None)

    def _updates(self) -> Iterator[Record]:
        recipe = self.recipe
        rows = batches(
            self.data.train.x,
            recipe.batch_size,
            seed=recipe.seed,
            start=self.step,
            noise=recipe.data.noise,
            dequantise=recipe.data.dequantise,
            support=self.data.support,
        )
        objective = self.engine.objective(recipe.objective)
        losses = train(self.energy, objective, self.engine.batches(rows), self.optimizer, self.rng)
        if self.guard is not None:
            losses = self.guard.watch(losses)
        saved = time.monotonic()
        self._set_rate()
        while self.step < recipe.steps:
            loss = next(losses)
            self.step += 1
            self.averaged.update()
            rate = self._set_rate()
            if self.step % recipe.log_every == 0 or self.step == recipe.steps:
                self._log(loss, rate)
            if self.step % recipe.validation.every == 0 or self.step == recipe.steps:
                self._validate()
            if self.engine.decide(time.monotonic() - saved > recipe.checkpoint_seconds):
                self._save()
                saved = time.monotonic()
            yield Record(self.step, loss.terms)
            if self.engine.decide(self.validation.exhausted):
                self.status = "stopped"
                return

    def _guard(self) -> Guard | None:
        settings = self.recipe.guard
        if not settings.enabled:
            return None
        return Guard(
            energy=self.energy,
            optimizer=self.optimizer,
            objective=self.recipe.objective,
            averaged=self.averaged,
            limits=settings.limits,
            snapshot_every=settings.snapshot_every,
            depth=settings.depth,
            recoveries=settings.recoveries,
            bad_batches=settings.bad_batches,
            rng=self.rng,
            notify=self._notify,
            share=self.engine.mean,
            checkpoint=self.checkpoints.last,
        )

    def _notify(self, event: Event) -> None:
        if self.tracker is not None:
            fields = {"signal": event.signal, "detail": event.detail, "action": event.action}
            self.tracker.event(event.kind, event.step, fields)
            if event.kind != "skip":  # A batch that is left out is no news: there may be many.
                self.say(f"Step {event.step}: {event.detail}; {event.action}.")

    def _set_rate(self) -> float:
        factor = 1.0 if self._rate is None else self._rate(self.step)
        if self.guard is not None:
            factor *= self.guard.learning_rate_factor
        return set_learning_rate(self.optimizer, self._base_rate, factor=factor)

    def _log(self, loss: Loss, rate: float) -> None:
        names = ("loss", *loss.terms)
        terms = torch.stack([term.detach().float() for term in (loss.value, *loss.terms.values())])
        numbers = dict(zip(names, self.engine.mean(terms).unbind(), strict=True))
        if self.tracker is not None:
            speed = round(self.step / max(self.seconds, 1e-9), 3)
            self.tracker.scalars(
                self.step,
                numbers | {"gradient_norm": self._gradient_norm, "learning_rate": rate, "steps_per_second": speed},
            )

    @property
    def _gradient_norm(self) -> float:
        """Before clipping; of a batch that the guard skipped, too, which the clipping hook never saw."""
        return float(self._clipping.norm) if self.guard is None else self.guard.gradient_norm

    @property
    def _steps(self) -> dict[str, Any]:
        """What guard and `Tuned` have made of the recipe's step size by now."""
        guarded = 1.0 if self.guard is None else self.guard.step_size_factor
        return {"step_size_factor": guarded, "tuned": tuned_settings(self.recipe)}

    def _validate(self) -> None:
        if self.tracker is None:
            return
        kernel = sampling_kernel(self.recipe)
        if self.validation.look(self.step, self._smooth, kernel, seed=self.recipe.seed, tracker=self.tracker):
            self.folder.best.forget_figures()
            self.checkpoints.save_best({"step": self.step, "energy": self._smooth.state_dict()} | self._steps)

    def _parts(self) -> dict[str, Any]:
        return {
            "energy": self.energy,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
            "objective": self.recipe.objective,
            "rng": self.rng,
            "guard": self.guard,
            "validation": self.validation,
        }

    def _save(self) -> None:
        payload = {
            "step": self.step,
            "seconds": self.seconds,
            "threads": torch.get_num_threads(),
            "parts": self.engine.gather(states(self._parts())),
            "random": self.engine.gather(rng_states()),
        }
        if self.engine.rank == 0:
            self.checkpoints.save(payload)
        self._mark(self.status)

    def _restore(self, payload: Mapping[str, Any]) -> None:
        processes, threads = len(payload["parts"]), torch.get_num_threads()
        if processes != self.engine.processes:
            raise UserError(
                f"This run was made by {processes} processes, but {self.engine.processes} are running; "
                "resume it with as many."
            )
        if payload["threads"] != threads:
            self.say(
                f"This run was made with {payload['threads']} threads and goes on with {threads}: its last bits may "
                f"differ from those of an unbroken run. OMP_NUM_THREADS={payload['threads']} keeps them."
            )
        self.step, self._seconds_before = payload["step"], payload["seconds"]
        restore(self._parts(), payload["parts"][self.engine.rank])
        set_rng_states(payload["random"][self.engine.rank])

    def conclude(self) -> None:
        """Save and export; only between two updates, where the state is whole."""
        self._save()
        if self.engine.rank == 0:
            export_model(
                self.folder, self._smooth, Domain.of(self.data, threshold=self.recipe.data.binarise), **self._steps
            )

    def _mark(self, status: str) -> None:
        """Say in run.json how things stand."""
        if self.engine.rank == 0:
            self.folder.update(step=self.step, seconds=round(self.seconds, 3), status=status)


def _seed_everything(seed: int) -> None:
    """Weights are drawn from torch's global stream, and classes of one's own may draw from any of these."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
