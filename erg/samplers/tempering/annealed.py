r"""Temperatures that fall along a chain.

`Annealed` is simulated annealing: step t moves on :math:`E / T_t`. Slow cooling ends near the global minimum, where
descent ends in the next local one.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.compilation.compiled import Running
from erg.samplers.composition import refuse_inside
from erg.samplers.parallel import Parallel
from erg.samplers.rules import support_of
from erg.samplers.schedules import Schedule
from erg.samplers.tempering.rescaling import Tempered, changed, rescaling, scale_at


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
        temperatures: The temperature of each step, counted from 0: `Geometric`, `Cyclical`, or any function.

    Raises:
        ValueError: If a temperature is not positive.
        TypeError: If the kernel runs on threads.

    Example:
        >>> from erg.samplers import Geometric, descent, random_walk, sample
        >>> rugged = lambda x: (0.5 * x.square() + 1 - (6 * x).cos()).sum(1)
        >>> x = torch.full((100, 1), 5.0)
        >>> cooled = annealed(random_walk(0.5), Geometric(5.0, 0.01, steps=500))
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
