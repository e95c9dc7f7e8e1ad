r"""Temperatures and noise levels that fall along a chain.

`Annealed` is simulated annealing: step t moves on :math:`E / T_t`. Slow cooling ends near the global minimum, where
descent ends in the next local one. `Stage` is annealing through different energies, as the noise levels of a diffused
one: a list says all, and `run_stages` goes through it.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.chain import advance
from erg.samplers.compilation.compiled import Running
from erg.samplers.composition import refuse_inside
from erg.samplers.parallel import Parallel
from erg.samplers.rules import support_of
from erg.samplers.schedules import Schedule
from erg.samplers.tempering.rescaling import Tempered, changed, rescaling, scale_at


@dataclass(frozen=True)
class Cooling:
    r"""Falls geometrically: :math:`T_t = T_0 (T_n / T_0)^{t / n}`, and stays at :math:`T_n` from step n on.

    Args:
        start: The value at step 0.
        end: The value from step `steps` on.
        steps: n.

    Raises:
        ValueError: If it does not fall, or an end is not positive.

    References:
        Kirkpatrick, Gelatt & Vecchi (1983), Optimization by simulated annealing, doi:10.1126/science.220.4598.671
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start < math.inf or self.steps < 1:
            raise ValueError(
                "Cooling needs 0 < end <= start and at least one step, but got "
                f"start={self.start}, end={self.end}, steps={self.steps}."
            )

    def __call__(self, step: int) -> float:
        """The value at `step`, counted from 0."""
        return self.start * (self.end / self.start) ** min(step / self.steps, 1.0)


class Cooled(NamedTuple):
    """The inner kernel's state, its temperature and unit of length, and the number of steps made."""

    inner: Any
    temperature: float
    scale: float
    steps: int

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.inner.x * self.scale


@dataclass(frozen=True)
class Annealed(Kernel):
    """Moves at a temperature that follows a schedule: simulated annealing.

    Costs what the kernel costs: energies and gradients that it remembers are rescaled when the temperature changes.
    On `Real` the kernel's unit of length is the square root of the temperature, so that its steps shrink as it cools.
    The count is in the state; two chains with one kernel do not disturb each other. `Compiled` goes inside.

    Args:
        kernel: What moves.
        temperatures: The temperature of each step, counted from 0: `Cooling`, `Cyclical`, or any function.

    Raises:
        ValueError: If a temperature is not positive.
        TypeError: If the kernel runs on threads.

    Example:
        >>> from erg.samplers import descent, random_walk, sample
        >>> rugged = lambda x: (0.5 * x.square() + 1 - (6 * x).cos()).sum(1)
        >>> x = torch.full((100, 1), 5.0)
        >>> cooled = annealed(random_walk(0.5), Cooling(5.0, 0.01, steps=500))
        >>> found = sample(cooled, rugged, x, 500, torch.Generator().manual_seed(0))
        >>> bool(rugged(found).mean() < 0.5), bool(rugged(sample(descent(0.01), rugged, x, 500)).mean() > 5)
        (True, True)
    """

    kernel: Kernel
    temperatures: Schedule
    invariant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        refuse_inside(self.kernel, Parallel, of="Annealed")
        self.temperature(0)

    def temperature(self, step: int) -> float:
        """The temperature of a step.

        Raises:
            ValueError: If the schedule's value is not positive.
        """
        value = float(self.temperatures(step))
        if not 0 < value < math.inf:
            raise ValueError(f"A temperature is positive and finite, but the schedule gives {value} at step {step}.")
        return value

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Cooled:
        """Start at `x`, at step 0."""
        return Cooled(self.kernel.init(_view(energy, 1.0, 1.0, x), x), 1.0, 1.0, 0)

    def step(self, energy: EnergyLike, state: Cooled, rng: Rng) -> tuple[Cooled, Float[Tensor, " batch"]]:
        """One step at the temperature of this step."""
        inner, temperature = state.inner, self.temperature(state.steps)
        scale = scale_at(temperature, support_of(energy))
        if temperature != state.temperature:
            change = rescaling(state.temperature / temperature, state.scale / scale)
            # What was compiled holds the temperature that it was bound to.
            inner = _unbound(changed(inner, change))
        inner, acceptance = self.kernel.step(_view(energy, temperature, scale, state.inner.x), inner, rng)
        return Cooled(inner, temperature, scale, state.steps + 1), acceptance


def annealed(kernel: Kernel, schedule: Schedule) -> Annealed:
    """Simulated annealing with any kernel; see `Annealed`."""
    return Annealed(kernel, schedule)


@dataclass(frozen=True)
class Stage:
    """A part of a chain: an energy, the kernel that moves on it, and for how long.

    Args:
        energy: For example a diffused energy at one noise level.
        kernel: With the step size of that level.
        steps: Transitions; none passes the states on.

    Raises:
        ValueError: If `steps` is negative.
    """

    energy: EnergyLike
    kernel: Kernel
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"A Stage has zero steps or more, but got {self.steps}.")


def run_stages(
    stages: Iterable[Stage], x: Float[Tensor, "batch *event"], rng: Rng = None
) -> Iterator[tuple[Float[Tensor, "batch *event"], Float[Tensor, " batch"]]]:
    """Go through stages, each from where the last one ended: annealed Langevin dynamics, when noise levels fall.

    Yields after every stage the states and each row's mean acceptance.

    Args:
        stages: In order.
        x: Where the chains start. Not modified.
        rng: The only source of randomness when given; torch's global generator otherwise.

    References:
        Song & Ermon (2019), Generative modeling by estimating gradients of the data distribution, arXiv:1907.05600

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import ula
        >>> levels = [4.0, 1.0, 0.25]
        >>> stages = [Stage(Gaussian.isotropic(torch.ones(2), variance=v), ula(0.3 * v), 20) for v in levels]
        >>> for x, acceptance in run_stages(stages, torch.zeros(5, 2), torch.Generator().manual_seed(0)):
        ...     pass
        >>> x.shape
        torch.Size([5, 2])
    """
    for stage in stages:
        x, acceptance = advance(stage.kernel, stage.energy, x, stage.steps, rng)
        yield x, acceptance


def _view(energy: EnergyLike, temperature: float, scale: float, x: Tensor) -> Tempered:
    # Tensors, so that a compiled kernel takes them as inputs and serves every temperature.
    numbers = (torch.tensor(value, dtype=torch.float64, device=x.device) for value in (temperature, scale))
    return Tempered(energy, support_of(energy), *numbers)


def _unbound(state: Any) -> Any:
    """The state without the compiled steps in it."""
    if isinstance(state, Running):
        state = state._replace(bound=None)
    if not hasattr(state, "_fields"):
        return state
    return state._replace(**{name: _unbound(part) for name, part in zip(state._fields, state, strict=True)})
