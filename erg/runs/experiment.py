"""Carry out a recipe: assemble its parts, train, watch, save, go on after a kill.

What a step does depends on the state that a checkpoint holds and on nothing else: no clock, no
global counter. So a run that was killed and resumed ends with the same bits as one that was not.
The clock only decides when a checkpoint is written.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from erg.data import batches, load
from erg.energies.energy import Energy
from erg.errors import UserError
from erg.roles import Loss
from erg.runs.folder import RunFolder
from erg.runs.model import build_energy, described, sampling_kernel
from erg.runs.recipe import Recipe
from erg.runs.stopping import stoppable
from erg.runs.validation import Validation
from erg.training.averaging import Averaged
from erg.training.checkpoint import Checkpoints
from erg.training.engine import Engine
from erg.training.export import export_energy
from erg.training.guard import DivergenceError, Event, Guard
from erg.training.hooks import average_gradients, clip_gradients
from erg.training.loop import train
from erg.training.rates import set_learning_rate
from erg.training.state import restore, states
from erg.training.tracking import Tracker

_PROGRESS = ("energy/data", "energy/model", "energy/gap", "chain/acceptance")


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

    Args:
        recipe: What to do.
        folder: Where. Of a run that exists, to go on from its last checkpoint.
        config: The recipe as YAML, for a new run: its folder is made once data and network are known to fit.

    Attributes:
        step: Updates made so far.
        status: running, finished, stopped (early), interrupted or failed.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, *, config: str | None = None) -> None:
        self.recipe, self.folder = recipe, folder
        self.engine = Engine(recipe.device, recipe.precision, devices=recipe.devices)
        self.data = load(recipe.data.name or "", path=recipe.data.path, seed=recipe.seed)
        torch.manual_seed(recipe.seed)
        self.energy: Energy = self.engine.energy(build_energy(recipe, self.data.shape, self.data.support))
        self.averaged = Averaged(self.energy, recipe.average)
        self.optimizer = recipe.optimizer(self.energy.parameters())
        self._base_rate = self.optimizer.param_groups[0]["lr"]
        self.rng = self.engine.rng(recipe.seed)
        self.checkpoints = Checkpoints(folder.checkpoints)
        average_gradients(self.optimizer, self.engine.fabric)
        self.guard = self._guard()
        self._clipping = clip_gradients(self.optimizer, recipe.clip_gradients or float("inf"))
        self.validation = Validation(recipe.validation, self.data, sampling_kernel(recipe), recipe.sampler.steps)
        self.step, self.status, self._seconds_before = 0, "running", 0.0
        if config is None:
            self._restore(self.checkpoints.load(self.engine.device))
        elif self.engine.rank == 0:
            folder.create(recipe.name, recipe.seed, recipe.steps, config)
        self._began = time.monotonic()
        # Process 0 writes; the others only train.
        resumed = self.step if config is None else None
        self.tracker = Tracker(folder.path, resume_step=resumed) if self.engine.rank == 0 else None
        if config is not None:
            # A run that is killed before its first step can be resumed, too.
            self._save()

    def run(self) -> Iterator[Record]:
        """Train, and yield after every update.

        Raises:
            DivergenceError: If the guard gives up; the last good state is saved first.
        """
        if self.tracker is not None:
            self.folder.update(status="running")
        try:
            with stoppable() as stop:
                for record in self._updates():
                    yield record
                    if self.engine.decide(stop.asked):
                        self.status = "interrupted"
                        break
            self.status = "finished" if self.status == "running" else self.status
        except DivergenceError:
            self.status = "failed"
            self._conclude()
            raise
        else:
            self._conclude()
        finally:
            if self.tracker is not None:
                self.tracker.close()

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

    def _set_rate(self) -> float:
        factor = 1.0 if self.recipe.learning_rate is None else self.recipe.learning_rate(self.step)
        if self.guard is not None:
            factor *= self.guard.learning_rate_factor
        return set_learning_rate(self.optimizer, self._base_rate, factor=factor)

    def _log(self, loss: Loss, rate: float) -> None:
        if self.step % self.recipe.log_every and self.step != self.recipe.steps:
            return
        names = ("loss", *loss.terms)
        terms = torch.stack([term.detach().float() for term in (loss.value, *loss.terms.values())])
        numbers = dict(zip(names, self.engine.mean(terms).unbind(), strict=True))
        if self.tracker is None:
            return
        speed = self.step / max(self.seconds, 1e-9)
        self.tracker.scalars(
            self.step,
            numbers
            | {"gradient_norm": self._clipping.norm, "learning_rate": rate, "steps_per_second": round(speed, 3)},
        )

    def _validate(self) -> None:
        if self.tracker is None:
            return
        better = self.validation.look(self.step, self.averaged.energy, self.recipe.seed, self.tracker)
        if better:
            self.checkpoints.save_best({"step": self.step, "energy": self.averaged.energy.state_dict()})

    @property
    def seconds(self) -> float:
        """How long this run has been at work, without what passed between a stop and a resume."""
        return self._seconds_before + time.monotonic() - self._began

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
        }
        if self.engine.rank == 0:
            self.checkpoints.save(payload)
            self.folder.update(step=self.step, seconds=round(self.seconds, 3), status=self.status)

    def _restore(self, payload: Mapping[str, Any]) -> None:
        if len(payload["parts"]) != self.engine.processes:
            raise UserError(
                f"This run was made by {len(payload['parts'])} processes, but {self.engine.processes} are running; "
                "resume it with as many."
            )
        self.step, self._seconds_before = payload["step"], payload["seconds"]
        restore(self._parts(), payload["parts"][self.engine.rank])

    def _conclude(self) -> None:
        """Save and export; only between two updates, where the state is whole."""
        self._save()
        if self.engine.rank == 0:
            config = described(self.recipe, self.data.shape, self.data.support)
            export_energy(self.folder.weights, self.averaged.energy, config)
