r"""Automatic cyclical scheduling: discrete Langevin with steps that shrink along a cycle, again and again.

The large steps at the start of a cycle find new modes, the small ones at its end explore the mode that was found.
At position r of a cycle of s steps

.. math:: \alpha_r = \max\left(\frac{\alpha_{\max}}{2}\left(1 + \cos\frac{\pi r}{s}\right),\, \alpha_{\min}\right),
   \qquad h_r = \alpha_r\, \|v - x_i\|^2

is the step size. Large steps need another balance than small ones, between 1/2 and 1. All of it is found by
watching the acceptance: :math:`\alpha_{\min}` at the balance 1/2, :math:`\alpha_{\max}` at the largest one,
and then the balance that is accepted most at every position, never larger than at an earlier one. Every step
is a Metropolis step, so exp(-E) is exactly stationary as soon as the settings stay as they are.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.discrete.langevin import DiscreteLangevin
from erg.samplers.discrete.sites import indicator, squared_length
from erg.samplers.rules import Metropolis, check_support, support_of
from erg.support import DISCRETE

BALANCES = (0.5, 0.65, 0.8, 0.95)
_LARGEST = 5.0
_SMALLEST = 0.02
_FIRST = 0.2


class Cycling(NamedTuple):
    """Where each row is, and how many steps it made."""

    here: Evaluated
    steps: Int[Tensor, " batch"]

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.here.x


@dataclass(frozen=True)
class CyclicalLangevin(Kernel):
    """Metropolis-adjusted discrete Langevin that goes through a list of settings, one a step, in a circle.

    Every call of `sample` or `chain` begins at the first position. Chains that are continued in short runs, as
    persistent ones are, or that anneal with few steps a beta never reach the small steps at the end of a cycle: run
    as many steps as a cycle has positions, or a multiple.

    Args:
        step_sizes: For each position of the cycle, in units of the squared length of a change: on `Spin` a step
            size of 1 is h = 4, on `Binary` h = 1, on `OneHot` h = 2.
        balances: For each position of the cycle.

    Raises:
        ValueError: If there is not one positive step size and one balance in (0, 1] for every position.

    References:
        Pynadath et al. (2024), Gradient-based discrete sampling with automatic cyclical scheduling,
        arXiv:2402.17699
    """

    step_sizes: Float[Tensor, "..."]
    balances: Float[Tensor, "..."]
    moves_on: ClassVar[tuple[type, ...]] = DISCRETE

    def __post_init__(self) -> None:
        for name, value in {"step_sizes": self.step_sizes, "balances": self.balances}.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"CyclicalLangevin needs a tensor for {name}, but got {value!r}; use torch.tensor().")
        if self.step_sizes.ndim != 1 or self.step_sizes.shape != self.balances.shape or not len(self.balances):
            raise ValueError(
                "CyclicalLangevin needs one step size and one balance for every position of the cycle, but got "
                f"shapes {tuple(self.step_sizes.shape)} and {tuple(self.balances.shape)}."
            )
        DiscreteLangevin(self.step_sizes, self.balances)

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Cycling:
        """Start at `x`, at the first position of the cycle."""
        check_support(self, energy)
        return Cycling(Metropolis(_MOVE).init(energy, x), _zeros(x))

    def step(self, energy: EnergyLike, state: Cycling, rng: Rng) -> tuple[Cycling, Float[Tensor, " batch"]]:
        """One step with the settings of this position."""
        position = state.steps % len(self.step_sizes)
        step_size, balance = (table.to(state.steps.device)[position] for table in (self.step_sizes, self.balances))
        here, acceptance = _langevin(energy, state.here, rng, step_size=step_size, balance=balance)
        return Cycling(here, state.steps + 1), acceptance


class Watching(NamedTuple):
    """Where each row is, how many steps it made, and what they taught it.

    Attributes:
        here: The position, evaluated.
        steps: How many steps were made.
        smallest: log of alpha_min.
        largest: log of alpha_max.
        accepted: The sum of the acceptances, for each position and balance.
    """

    here: Evaluated
    steps: Int[Tensor, " batch"]
    smallest: Float[Tensor, " batch"]
    largest: Float[Tensor, " batch"]
    accepted: Float[Tensor, "batch period balances"]

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.here.x


@dataclass(frozen=True)
class AutomaticCycles(Kernel):
    r"""Cyclical discrete Langevin that finds its own settings, row by row, and then keeps them.

    Of the first `tuning_steps` steps a quarter each moves :math:`\alpha_{\min}` and :math:`\alpha_{\max}` until the
    `target` is accepted, and the rest tries balances at every position. While that lasts the law is only nearly
    exp(-E); from then on it is exact. Chains that are restarted often should not tune each time: tune once, and
    run the kernel that `adapted` returns, for whole cycles: see `CyclicalLangevin`.

    Args:
        period: s, the steps in a cycle.
        cycles: How often each balance is tried at each position.
        target: The acceptance that the smallest and the largest step size aim at.

    Raises:
        ValueError: If a number of steps is below 1, or the target not between 0 and 1.

    References:
        Pynadath et al. (2024), Gradient-based discrete sampling with automatic cyclical scheduling,
        arXiv:2402.17699

    Example:
        >>> from erg.energies import Independent
        >>> from erg.samplers import chain
        >>> from erg.support import Binary
        >>> coins = Independent(torch.tensor([0.0, 2.0, -2.0]), Binary())
        >>> steps = chain(AutomaticCycles(period=4), coins, torch.zeros(8, 3))
        >>> state, _ = next(steps)
        >>> AutomaticCycles(period=4).adapted(state).step_sizes.shape
        torch.Size([4])
    """

    period: int = 20
    cycles: int = 5
    target: float = 0.5
    moves_on: ClassVar[tuple[type, ...]] = DISCRETE
    invariant: ClassVar[bool] = False
    settles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("period", "cycles"):
            rows.whole(name, getattr(self, name), of="AutomaticCycles")
        rows.numbers({"target": self.target}, of="AutomaticCycles")
        if not 0 < self.target < 1:
            raise ValueError(f"AutomaticCycles needs a target between 0 and 1, but got {self.target}.")

    @property
    def tuning_steps(self) -> int:
        """How many steps a chain tunes before its settings stay as they are."""
        return 2 * self._trials

    @property
    def _trials(self) -> int:
        return self.period * len(BALANCES) * self.cycles

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Watching:
        """Start at `x`, with nothing learned."""
        check_support(self, energy)
        here = Metropolis(_MOVE).init(energy, x)
        level = torch.zeros(len(x), device=x.device)
        accepted = level[:, None, None].repeat(1, self.period, len(BALANCES))
        return Watching(here, _zeros(x), level + math.log(_FIRST), level + math.log(_LARGEST), accepted)

    def step(self, energy: EnergyLike, state: Watching, rng: Rng) -> tuple[Watching, Float[Tensor, " batch"]]:
        """One step of the phase that each row is in."""
        growing, shrinking, trying = self._phases(state.steps)
        position, trial = state.steps % self.period, (state.steps // self.period) % len(BALANCES)
        levels = torch.tensor(BALANCES, device=state.steps.device)
        table, best = self._learned(state.smallest, state.largest, state.accepted)
        best = best.gather(1, position[:, None]).squeeze(1)
        balance = levels[torch.where(trying, trial, best)]
        balance = torch.where(growing, levels[0], torch.where(shrinking, levels[-1], balance))
        along = table.gather(1, position[:, None]).squeeze(1)
        step_size = torch.where(growing, state.smallest, torch.where(shrinking, state.largest, along)).exp()
        here, acceptance = _langevin(energy, state.here, rng, step_size=step_size, balance=balance)

        push = self._push(state.steps) * (acceptance.float() - self.target)
        smallest = torch.where(growing, state.smallest + push, state.smallest)
        largest = torch.where(shrinking, state.largest + push, state.largest)
        smallest = smallest.clamp(math.log(_SMALLEST), math.log(_LARGEST))
        largest = torch.where(growing, largest, torch.maximum(largest.clamp(max=math.log(_LARGEST)), smallest))
        seen = indicator(position, self.period)[:, :, None] & indicator(trial, len(BALANCES))[:, None, :]
        seen = seen & trying[:, None, None]
        accepted = state.accepted + torch.where(seen, acceptance.float()[:, None, None], 0.0)
        return Watching(here, state.steps + 1, smallest, largest, accepted), acceptance

    def adapted(self, state: Any) -> CyclicalLangevin:
        """The cycle that the chains in `state` agree on: an ordinary kernel, exact from its first step."""
        smallest, largest = state.smallest.median()[None], state.largest.median()[None]
        table, best = self._learned(smallest, largest, state.accepted.mean(0, keepdim=True))
        return CyclicalLangevin(table[0].exp(), torch.tensor(BALANCES, device=best.device)[best[0]])

    def _phases(self, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which rows move alpha_min, which alpha_max, and which try balances."""
        growing, trying = 2 * steps < self._trials, (steps >= self._trials) & (steps < self.tuning_steps)
        return growing, ~growing & (steps < self._trials), trying

    def _push(self, steps: Tensor) -> Tensor:
        """How far one acceptance moves the log of a step size: less and less within a phase."""
        done = torch.where(2 * steps < self._trials, steps, steps - self._trials // 2)
        return (1.0 + done.clamp(min=0)) ** -0.6

    def _learned(self, smallest: Tensor, largest: Tensor, accepted: Tensor) -> tuple[Tensor, Tensor]:
        """The log step size and the index of the balance at every position, for each row."""
        position = torch.arange(self.period, device=smallest.device)
        shape = ((1 + (math.pi * position / self.period).cos()) / 2).log()
        table = torch.maximum(largest[:, None] + shape, smallest[:, None])
        # Steps shrink along a cycle, and so must the balance; the smallest have the balance of small steps.
        best = torch.where(table <= smallest[:, None], 0, accepted.argmax(-1))
        return table, best.flip(1).cummax(1).values.flip(1)


_MOVE = DiscreteLangevin(1.0)


def _langevin(
    energy: EnergyLike, here: Evaluated, rng: Rng, *, step_size: Tensor, balance: Tensor
) -> tuple[Evaluated, Tensor]:
    """One adjusted step, with a step size in units of the squared length of a change."""
    support: Any = support_of(energy)
    move = _MOVE.unchecked(step_size * squared_length(support), balance, support)
    return Metropolis(move).step(energy, here, rng)


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.long, device=x.device)


def acs(period: int = 20, *, cycles: int = 5, target: float = 0.5) -> AutomaticCycles:
    """The automatic cyclical sampler: one gradient a step, its own tuning; see `AutomaticCycles`.

    Tuning and cycles begin anew with every call of `sample` or `chain`. ``Persistent(acs(), steps=10)`` never goes
    beyond the first half of a cycle of 20 steps, nor tunes; use what `warmup` makes of it, for whole cycles a call.
    """
    return AutomaticCycles(period, cycles, target)
