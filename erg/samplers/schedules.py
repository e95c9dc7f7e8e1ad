r"""Step sizes, noise and temperatures that change along a chain.

A schedule is a pure function of the step, without a hidden counter. `Scheduled` is a kernel that
counts in its state, so that two chains with one kernel never disturb each other.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.roles import Kernel
from erg.samplers.composition import check_kernel

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The same value at every step."""

    value: float

    def __call__(self, step: int) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Polynomial:
    r"""Decays as :math:`a\,(1 + t / b)^{-\gamma}`.

    Args:
        start: a, the value at step 0.
        delay: b, in steps: after b steps the value has fallen by the factor 2^-power.
        power: gamma. In (0.5, 1] Langevin with decaying steps converges without a Metropolis test.

    References:
        Welling & Teh (2011), Bayesian learning via stochastic gradient Langevin dynamics
    """

    start: float
    delay: float
    power: float = 0.55

    def __post_init__(self) -> None:
        rows.numbers({"start": self.start, "delay": self.delay, "power": self.power}, of="Polynomial")
        if self.start < 0 or self.delay <= 0 or self.power < 0:
            raise ValueError(
                "Polynomial needs start >= 0, delay > 0 and power >= 0, but got "
                f"start={self.start}, delay={self.delay}, power={self.power}."
            )

    def __call__(self, step: int) -> float:
        """The value at `step`, counted from 0."""
        return self.start * (1 + step / self.delay) ** -self.power


@dataclass(frozen=True)
class Cyclical:
    r"""Falls from `high` to `low` along half a cosine, then jumps back: explore, then refine, again.

    Args:
        high: The value at the start of each cycle.
        low: The value at its end.
        period: Steps in a cycle.

    References:
        Zhang et al. (2020), Cyclical stochastic gradient MCMC for Bayesian deep learning, arXiv:1902.03932
    """

    high: float
    low: float
    period: int

    def __post_init__(self) -> None:
        rows.numbers({"high": self.high, "low": self.low}, of="Cyclical")
        rows.whole("period", self.period, of="Cyclical")
        if not 0 <= self.low <= self.high:
            raise ValueError(f"Cyclical needs 0 <= low <= high, but got high={self.high}, low={self.low}.")

    def __call__(self, step: int) -> float:
        """The value at `step`, counted from 0."""
        position = (step % self.period) / self.period
        return self.low + (self.high - self.low) * (1 + math.cos(math.pi * position)) / 2


@dataclass(frozen=True)
class Geometric:
    r"""Grows or falls by the same factor a step: :math:`a_t = a_0 (a_n / a_0)^{t / n}`, and :math:`a_n` from then on.

    Step sizes that grow are safe where the start is far from the mass. Temperatures that fall are simulated
    annealing.

    Args:
        start: The value at step 0.
        end: The value from step `steps` on, larger or smaller.
        steps: n, how long it takes.

    Raises:
        ValueError: If an end is not positive and finite, or there is no step.

    References:
        Kirkpatrick, Gelatt & Vecchi (1983), Optimization by simulated annealing, doi:10.1126/science.220.4598.671
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        rows.numbers({"start": self.start, "end": self.end}, of="Geometric")
        rows.whole("steps", self.steps, of="Geometric")
        if not all(0 < value < math.inf for value in (self.start, self.end)):
            raise ValueError(
                f"Geometric needs a positive start and a positive end, but got start={self.start}, end={self.end}."
            )

    def __call__(self, step: int) -> float:
        """The value at `step`, counted from 0."""
        return self.start * (self.end / self.start) ** min(step / self.steps, 1.0)


class Stepped(NamedTuple):
    """The inner kernel's state and the number of steps made."""

    inner: Any
    steps: int

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.inner.x


@dataclass(frozen=True)
class Scheduled(Kernel):
    """A kernel whose settings follow schedules.

    Schedules begin at step 0 with every call of `sample` or `chain`, and so do chains that are started anew at each
    update of a training or at each beta of a path: where there are fewer steps than a schedule is long, its end is
    never reached. ``ais(..., steps=1)`` uses the first value only. What shall follow the updates themselves is set
    by `with_setting`, between them.

    Args:
        kernel: The kernel; its own values of the scheduled settings are not used.
        schedules: A schedule for each setting, under its name in the kernel or its move.

    Raises:
        TypeError: If a schedule cannot be called, or `kernel` is none.
        ValueError: If the kernel has no setting of that name.

    Example:
        >>> from erg.samplers import sgld
        >>> kernel = Scheduled(sgld(10.0, 0.005), {"noise": Polynomial(start=0.05, delay=20)})
        >>> kernel.at(20).move.noise < kernel.at(0).move.noise
        True
    """

    kernel: Kernel
    schedules: Mapping[str, Schedule]

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="Scheduled")
        for name, schedule in self.schedules.items():
            if not callable(schedule):
                raise TypeError(
                    f"Scheduled needs a function of the step for {name}, but got {schedule}; "
                    f"use Constant({schedule}) for a value that stays."
                )
        self.at(0)

    def at(self, step: int) -> Kernel:
        """The kernel as it is at `step`."""
        kernel = self.kernel
        for name, schedule in self.schedules.items():
            kernel = with_setting(kernel, name, partial(_value, schedule, step))
        return kernel

    def init(self, energy: Any, x: Float[Tensor, "batch *event"]) -> Stepped:
        """Start at `x`, at step 0."""
        return Stepped(self.at(0).init(energy, x), 0)

    def step(self, energy: Any, state: Stepped, rng: Rng) -> tuple[Stepped, Float[Tensor, " batch"]]:
        """One step with the settings of this step."""
        inner, acceptance = self.at(state.steps).step(energy, state.inner, rng)
        return Stepped(inner, state.steps + 1), acceptance


def _value(schedule: Schedule, step: int, _: Any) -> float:
    return schedule(step)


def with_setting(kernel: Any, name: str, change: Callable[[Any], Any]) -> Any:
    """A copy of `kernel` with the setting called `name` changed, wherever it is nested.

    A setting that follows a schedule is changed at every step. Of two settings of that name, one inside of the
    other, the inner one is meant: the scale of ``Preconditioned(random_walk(0.5), scale)`` is that of the walk.

    Args:
        kernel: A frozen dataclass of frozen dataclasses, as all kernels are.
        name: A field's name, for example ``step_size``.
        change: From the old value to the new one.

    Raises:
        ValueError: If there is no such setting.
    """
    changed = _with_setting(kernel, name, change)
    if changed is None:
        raise ValueError(f"{type(kernel).__name__} has no setting called {name!r}.")
    return changed


def has_setting(kernel: Any, name: str) -> bool:
    """Whether `with_setting` finds a setting called `name` in `kernel`."""
    return _with_setting(kernel, name, lambda value: value) is not None


def setting(kernel: Any, name: str) -> Any:
    """The value of the setting that `with_setting` changes; at step 0, where it follows a schedule.

    Raises:
        ValueError: If there is no such setting.

    Example:
        >>> from erg.samplers import mala
        >>> setting(Scheduled(mala(0.5), {"step_size": Constant(0.25)}), "step_size")
        0.25
    """
    values: list[Any] = []

    def look(value: Any) -> Any:
        values.append(value)
        return value

    with_setting(kernel, name, look)
    return values[-1]  # a schedule is asked after the value that it replaces


def _with_setting(kernel: Any, name: str, change: Callable[[Any], Any]) -> Any | None:
    """The changed copy, or None when the setting is nowhere in `kernel`."""
    if not is_dataclass(kernel) or isinstance(kernel, type):
        return None
    changes: dict[str, Any] = {}
    for field in fields(kernel):
        new = _with_setting(getattr(kernel, field.name), name, change)
        if new is not None:
            changes[field.name] = new
    if not changes and any(field.name == name for field in fields(kernel)):
        changes[name] = change(getattr(kernel, name))
    if isinstance(kernel, Scheduled) and name in kernel.schedules:
        schedule = kernel.schedules[name]
        changes["schedules"] = {**kernel.schedules, name: lambda step: change(schedule(step))}
    return replace(kernel, **changes) if changes else None
