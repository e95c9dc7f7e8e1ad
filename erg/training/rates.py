"""Learning rates as pure functions of the step, without a hidden counter: a resumed run needs only its step.

A rate is the base rate times a factor. Other factors, such as a guard's, multiply it.
"""

import math
from dataclasses import dataclass, field, replace

import torch

from erg.samplers.schedules import Constant, Schedule


@dataclass(frozen=True)
class Exponential:
    r"""Falls by a factor at the end of every epoch: :math:`d^{\lfloor t / n \rfloor}`.

    Args:
        decay: d, the factor an epoch.
        every: n, steps in an epoch.

    Example:
        >>> Exponential(decay=0.5, every=10)(25)
        0.25
    """

    decay: float
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1 or self.every < 1:
            raise ValueError(
                f"Exponential needs a decay in (0, 1] and every >= 1, but got {self.decay} and {self.every}."
            )

    def __call__(self, step: int) -> float:
        """The factor at `step`, counted from 0."""
        return self.decay ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """Falls from 1 to `end` along half a cosine in `steps` steps, and stays there.

    Args:
        steps: How long the fall takes; None takes as long as the run that it is fitted to, see `fitted`.
        end: The last factor.
    """

    steps: int | None = None
    end: float = 0.0

    def __post_init__(self) -> None:
        if (self.steps is not None and self.steps < 1) or not 0 <= self.end <= 1:
            raise ValueError(f"Cosine needs steps >= 1 and an end in [0, 1], but got {self.steps} and {self.end}.")

    def __call__(self, step: int) -> float:
        """The factor at `step`, counted from 0.

        Raises:
            ValueError: If `steps` was never settled.
        """
        if self.steps is None:
            raise ValueError("Cosine does not know how long to fall; give it steps, or call fitted().")
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2


@dataclass(frozen=True)
class WarmUp:
    """Rises linearly to 1 in `steps` steps, multiplied by another schedule.

    The first step has the factor 1 / steps, so that none is wasted.

    Args:
        steps: How long the rise takes.
        then: What it multiplies, counted from step 0 as well.
    """

    steps: int
    then: Schedule = field(default_factory=lambda: Constant(1.0))

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"WarmUp needs steps >= 1, but got {self.steps}.")

    def __call__(self, step: int) -> float:
        """The factor at `step`, counted from 0."""
        return min((step + 1) / self.steps, 1.0) * self.then(step)


def fitted(schedule: Schedule, steps: int) -> Schedule:
    """The schedule with what it left open settled by the length of a run.

    Args:
        schedule: Any; those that leave nothing open come back as they are.
        steps: Of the run.

    Example:
        >>> fitted(WarmUp(steps=10, then=Cosine(end=0.1)), 500).then
        Cosine(steps=500, end=0.1)
    """
    if isinstance(schedule, Cosine) and schedule.steps is None:
        return replace(schedule, steps=steps)
    if isinstance(schedule, WarmUp):
        return replace(schedule, then=fitted(schedule.then, steps))
    return schedule


def set_learning_rate(optimizer: torch.optim.Optimizer, base: float, *, factor: float = 1.0) -> float:
    """Give every parameter group the rate `base * factor`, and return it."""
    rate = base * factor
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
