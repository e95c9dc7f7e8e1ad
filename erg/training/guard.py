r"""The divergence guard: sees training go wrong, goes back, lowers what is too large, and goes on.

It is an iterator adaptor around `train`: every loss passes through it, and when the numbers of an update say that
training diverges it changes everything in place before the loss reaches the caller. A bad batch is only skipped: a
hook on the optimiser sees gradients before they are used, and drops those that are not finite or many times larger
than usual, so that neither weights nor moments ever see them. Anything else goes back to a snapshot:

1. weights, optimiser, average and chains are restored; a second failure soon after goes one snapshot further back;
2. poisoned chains restart at noise; from the third failure in a row, all of them;
3. learning rate and Langevin step size are multiplied by 1/2, then by 1/10 for each further failure soon after. The
   factor that the signal does not blame is only multiplied by 0.9;
4. random numbers and data are not rewound: the same draws and the same batch would fail again.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.errors import UserError
from erg.negatives import Persistent
from erg.roles import EnergyLike, Kernel, Loss, Objective
from erg.training.scaling import scaled
from erg.training.signals import Alarm, Detector, Limits
from erg.training.snapshots import Snapshots, finite, restart
from erg.training.state import Stateful, Stream, reachable, stateful

MILD, FIRST, AGAIN = 0.9, 0.5, 0.1
LARGE_CHANGE = 3.0
"""Relative change of the weights since the oldest snapshot that speaks against the learning rate."""
EXPLODED = 100.0
"""Relative change at which the weights, not the batch, are why something is not finite; NaN when they are not."""
LOST = 3
"""Batches in a row that are not finite, though the data are, before training goes back."""


class Event(NamedTuple):
    """Something the guard noticed and did.

    Attributes:
        step: The update, counted from 1.
        kind: ``"skip"``: a batch was not followed. ``"repair"``: chains that were not finite restarted.
            ``"recovery"``: training went back. ``"stop"``: it was given up.
        signal: What went wrong. Of the numbers of an update: ``energy``, ``gap``, ``separation``, ``drift``,
            ``saturation``, ``gradient`` (too steep) and ``flat`` (its norm vanished). Not finite: ``non-finite``
            (this batch only), ``chains``, ``gradients`` (several batches in a row) and ``weights``.
        detail: The number that was seen and the one that was allowed, in words.
        action: What was done, in words.
    """

    step: int
    kind: str
    signal: str
    detail: str
    action: str


class DivergenceError(RuntimeError):
    """Training diverged more often than allowed. The last good state is in place when this is raised."""


class Guard:
    """Watches training and takes it back when it diverges.

    Make it after a hook that averages gradients over processes and before one that clips them: it then sees the norm
    that belongs to the batch.

    Args:
        energy: What is trained.
        optimizer: Over its parameters.
        objective: Compares data and model; the kernels and chains inside it are found and looked after.
        averaged: A running average of the weights, if there is one.
        limits: When a number is out of line.
        snapshot_every: Updates between two snapshots.
        depth: How many snapshots are kept.
        recoveries: How often training may go back before it is given up.
        bad_batches: How many batches in a row may be skipped before it is given up.
        rng: Draws the restarts of chains.
        notify: Called with every event.
        share: Averages a vector over processes, so that all of them decide alike.
        checkpoint: Where the caller keeps the last good state; only named in the error.

    Attributes:
        learning_rate_factor: What the guard has made of the learning rate so far. It is applied to the optimiser at
            a recovery; a loop that sets the learning rate itself multiplies by it.
        step_size_factor: The same for the step size of the kernels, which the guard replaces.
        gradient_norm: Of the last update, before clipping.
        events: All events, oldest first.

    Raises:
        ValueError: If a count is not positive.

    Example:
        >>> from erg.negatives import Persistent
        >>> from erg.objectives import MaximumLikelihood
        >>> from erg.samplers import ula
        >>> from erg.training import train
        >>> energy = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
        >>> optimizer = torch.optim.Adam(energy.parameters())
        >>> objective = MaximumLikelihood(Persistent(ula(0.1), steps=5, size=64))
        >>> guard = Guard(energy=energy, optimizer=optimizer, objective=objective)
        >>> data = [torch.randn(16, 2) for _ in range(5)]
        >>> data[2] = data[2] * torch.nan
        >>> losses = list(guard.watch(train(energy, objective, data, optimizer)))
        >>> [(event.step, event.kind, event.signal) for event in guard.events]
        [(3, 'skip', 'non-finite')]
    """

    def __init__(
        self,
        *,
        energy: EnergyLike,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        averaged: Stateful | None = None,
        limits: Limits = Limits(),
        snapshot_every: int = 100,
        depth: int = 3,
        recoveries: int = 8,
        bad_batches: int = 50,
        rng: Rng = None,
        notify: Callable[[Event], None] | None = None,
        share: Callable[[Tensor], Tensor] | None = None,
        checkpoint: Path | str | None = None,
    ) -> None:
        for name, value in (("snapshot_every", snapshot_every), ("depth", depth), ("bad_batches", bad_batches)):
            if value < 1:
                raise ValueError(f"Guard needs a {name} of at least 1, but got {value}.")
        self._energy = as_energy(energy)
        self._optimizer = optimizer
        self.snapshot_every, self.recoveries, self.bad_batches = snapshot_every, recoveries, bad_batches
        self.rng, self.notify, self.share, self.checkpoint = rng, notify, share, checkpoint
        self.learning_rate_factor = self.step_size_factor = 1.0
        self.gradient_norm = 0.0
        self.events: list[Event] = []
        self.step = self.recovered = 0
        self._streak = self._skips = self._last_recovery = 0
        self._skipped = False
        self._detector = Detector(limits)
        found = [holder for _, holder in reachable(objective) if not isinstance(holder, Kernel)]
        self._kernels = [(holder, holder.kernel) for holder in found if hasattr(holder, "kernel")]
        self._buffers = [holder for holder in found if isinstance(holder, Persistent)]
        parts = {"energy": self._energy, "optimizer": optimizer, "objective": objective, "averaged": averaged}
        holders = {name: holder for name, holder in stateful(parts).items() if not isinstance(holder, Stream)}
        # The past goes back, too: numbers are compared with those of the time that training is taken back to.
        self._snapshots = Snapshots({**holders, "detector": self._detector}, depth)
        optimizer.register_step_pre_hook(self._before_update)

    def watch(self, losses: Iterable[Loss]) -> Iterator[Loss]:
        """Pass on every loss, after putting right what it showed.

        A skipped batch passes its loss on, too, so that steps are counted alike; its terms may be NaN.

        Raises:
            DivergenceError: If training went back or skipped more often than allowed.
            UserError: If there is a number that is not finite before the first update.
        """
        if not len(self._snapshots) and not self._snapshots.take(self.step, self.learning_rate_factor):
            raise UserError(
                "Guard needs finite weights, buffers, optimiser and chains before the first update, but some are "
                "not finite; start from others, and register a mask of infinities with persistent=False."
            )
        for loss in losses:
            self.step += 1
            self._check(loss)
            yield loss

    def state_dict(self) -> dict[str, Any]:
        """Snapshots, past, factors, counts and events: a resumed run decides as one that was never stopped."""
        return {
            "step": self.step,
            "recovered": self.recovered,
            "streak": self._streak,
            "skips": self._skips,
            "last_recovery": self._last_recovery,
            "learning_rate_factor": self.learning_rate_factor,
            "step_size_factor": self.step_size_factor,
            "gradient_norm": self.gradient_norm,
            "events": [event._asdict() for event in self.events],
            "detector": self._detector.state_dict(),
            "snapshots": self._snapshots.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the saved guard stopped, with its step size in the kernels."""
        self.step, self.recovered = state["step"], state["recovered"]
        self._streak, self._skips, self._last_recovery = state["streak"], state["skips"], state["last_recovery"]
        self.learning_rate_factor = state["learning_rate_factor"]
        self.step_size_factor = state["step_size_factor"]
        self.gradient_norm = state["gradient_norm"]
        self.events = [Event(**event) for event in state["events"]]
        self._detector.load_state_dict(state["detector"])
        self._snapshots.load_state_dict(state["snapshots"])
        self._set_step_size()

    def _before_update(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Look at the gradients before they are used; take away those that must not be followed."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norms = [torch.linalg.vector_norm(gradient).float() for gradient in gradients]
        self.gradient_norm = float(torch.stack(norms).norm()) if norms else 0.0
        self._skipped = not (math.isfinite(self.gradient_norm) and self.gradient_norm <= self._detector.steepest)
        if self._skipped:
            for parameter in parameters:
                parameter.grad = None

    def _check(self, loss: Loss) -> None:
        values = self._numbers(loss)
        if not (math.isfinite(values["loss"]) and math.isfinite(self.gradient_norm)):
            alarm = self._non_finite(values)
        elif self._skipped:
            alarm = self._too_steep()
        else:
            self._skips = 0
            alarm = self._detector.look({name: value for name, value in values.items() if math.isfinite(value)})
        if alarm is not None:
            self._recover(alarm)
            return
        since = self.step - self._last_recovery
        if since > 3 * self.snapshot_every:
            self._streak = 0
        settled = self._streak == 0 or since > self._detector.limits.patience
        if self.step % self.snapshot_every == 0 and settled and self._detector.calm and not self._skipped:
            self._snapshots.take(self.step, self.learning_rate_factor)

    def _numbers(self, loss: Loss) -> dict[str, float]:
        terms = {name: term for name, term in loss.terms.items() if term.numel() == 1}
        stacked = torch.stack([term.detach().float().reshape(()) for term in (loss.value, *terms.values())])
        shared = stacked if self.share is None else self.share(stacked)
        return dict(zip(("loss", *terms), shared.tolist(), strict=True)) | {"gradient_norm": self.gradient_norm}

    def _non_finite(self, values: Mapping[str, float]) -> Alarm | None:
        """Find out what is not finite: weights, chains, or only this batch."""
        names = ", ".join(name for name, value in values.items() if not math.isfinite(value))
        if not finite(self._optimizer.state_dict()) or not self._snapshots.change("energy") < EXPLODED:
            return Alarm("weights", math.nan, math.inf, "weights")
        repaired = sum(restart(buffer, self._energy, self.rng) for buffer in self._buffers)
        if repaired:
            self._tell("repair", "chains", f"{repaired} chains were not finite", "they restarted at noise")
        of_data = [value for name, value in values.items() if name.endswith("energy/data")]
        sound_data = bool(of_data) and all(map(math.isfinite, of_data))
        if sound_data and self._skips + 1 >= LOST:
            if any(name.endswith("chain/finite") and value < 1 for name, value in values.items()):
                return Alarm("chains", math.nan, math.inf, "chains")
            return Alarm("gradients", math.nan, math.inf, "either")
        self._skip("non-finite", f"not finite: {names}")
        return None

    def _too_steep(self) -> Alarm | None:
        """Skip a batch with a finite gradient; many in a row mean that the weights are bad, not the data."""
        if self._skips + 1 >= self._detector.limits.patience:
            return Alarm("gradient", self.gradient_norm, self._detector.steepest, "either")
        self._skip("gradient", f"the gradient norm was {self.gradient_norm:.3g}")
        return None

    def _skip(self, signal: str, detail: str) -> None:
        self._skips += 1
        if self._skips >= self.bad_batches:
            self._stop(signal, detail, f"{self._skips} batches in a row could not be used", self.step)
        self._tell("skip", signal, detail, "the batch was skipped")

    def _recover(self, alarm: Alarm) -> None:
        seen = f"{alarm.signal} was {alarm.value:.4g}, allowed {alarm.limit:.4g}"
        detail = f"{alarm.signal} were not finite, or exploded" if math.isnan(alarm.value) else seen
        change = self._snapshots.change("energy")
        if self._streak > 0:
            self._snapshots.drop()
        back = self._snapshots.restore()
        if self.recovered >= self.recoveries:
            self._stop(alarm.signal, detail, f"it went back {self.recovered} times", back.step)
        self.recovered += 1
        for buffer in self._buffers:
            restart(buffer, self._energy, self.rng, every=self._streak >= 2)
        self._lower(alarm, change, back.learning_rate_factor)
        self._streak += 1
        self._skips, self._last_recovery = 0, self.step
        factors = f"learning rate x{self.learning_rate_factor:.2g}, step size x{self.step_size_factor:.2g}"
        self._tell("recovery", alarm.signal, detail, f"back to step {back.step}, {factors}")

    def _lower(self, alarm: Alarm, change: float, factor_then: float) -> None:
        strong = FIRST if self._streak == 0 else AGAIN
        # Chains that are off do not move the weights far in the few updates before they are noticed.
        blames_weights = alarm.cause == "weights" or (alarm.cause == "either" and not change < LARGE_CHANGE)
        self.learning_rate_factor *= strong if blames_weights else MILD
        self.step_size_factor *= MILD if blames_weights else strong
        for group in self._optimizer.param_groups:
            group["lr"] = group["lr"] * (self.learning_rate_factor / factor_then)
        self._set_step_size()

    def _set_step_size(self) -> None:
        for holder, kernel in self._kernels:
            holder.kernel = scaled(kernel, self.step_size_factor)

    def _stop(self, signal: str, detail: str, reason: str, step: int) -> None:
        self._tell("stop", signal, detail, f"the state of step {step} is in place")
        where = f"; the last checkpoint is {self.checkpoint}" if self.checkpoint is not None else ""
        raise DivergenceError(
            f"Training was given up at step {self.step} because {reason}, the last time for {signal} ({detail}); "
            f"weights, optimiser and chains of step {step} are in place{where}."
        )

    def _tell(self, kind: str, signal: str, detail: str, action: str) -> None:
        event = Event(self.step, kind, signal, detail, action)
        self.events.append(event)
        if self.notify is not None:
            self.notify(event)
