r"""Chains that run while their kernel is tuned by its acceptance, window by window.

In every window the setting follows the acceptance by dual averaging. The first brings the chains near. In the next
ones, each twice as long as the one before, the spread of every entry is learned anew. Then trajectories of several
lengths are compared, and the last window fixes the setting.
"""

import math
from dataclasses import replace
from functools import partial
from operator import mul

import torch
from torch import Tensor

from erg.draws import Rng
from erg.roles import EnergyLike, Kernel, Tuning
from erg.samplers.compilation.compiled import Compiled
from erg.samplers.composition import without
from erg.samplers.parallel import Parallel
from erg.samplers.preconditioned import Preconditioned
from erg.samplers.schedules import has_setting, with_setting
from erg.samplers.tuning.dual_averaging import Crossing, DualAveraging
from erg.samplers.tuning.spread import Spread, Welford
from erg.samplers.tuning.trajectory import TRAJECTORY, Trajectories
from erg.samplers.tuning.tunable import TRANSPARENT

FIRST, COMPARING, LAST = 0.05, 0.15, 0.25
"""Shares of the steps for the first window, for comparing trajectories, and for the last window."""
SHORTEST = 10


class Windows:
    """Chains and what they have found so far.

    Args:
        kernel: What is tuned.
        tuning: By which setting, until when.
        energy: What the chains run on.
        x: Where they start.
        rng: Draws.
        mass: Whether a scale for each entry is learned.
    """

    def __init__(self, kernel: Kernel, tuning: Tuning, energy: EnergyLike, x: Tensor, rng: Rng, mass: bool) -> None:
        self.kernel, self.tuning, self.energy, self.rng = kernel, tuning, energy, rng
        self.mass = mass
        self.log_factor = 0.0
        self.scale: Tensor | None = None
        self.leapfrogs: int | None = None
        self.spread: Spread | None = None
        # Neither compilation nor threads pay for settings that change all the time.
        self._bare = without(kernel, Compiled, Parallel)
        self._recent = torch.ones(len(x), dtype=torch.float64, device=x.device)
        self._start(x)

    def tuned(self, steps: int) -> tuple[Kernel, Tensor]:
        """The kernel after all windows, and where the chains ended."""
        travels = has_setting(self._bare, TRAJECTORY)
        first, middle, comparing, last = _windows(steps, learns=self.mass or travels, travels=travels)
        settled = self._window(first)
        for length in middle:
            settled = self._window(length, learn=True) or settled
            if self.mass and self.spread is not None and (self.spread.uneven or _is_scaled(self._bare)):
                self.scale = self.spread.deviation
            self._start(self.x)
        if comparing and self.spread is not None:
            last += comparing - self._compare(comparing, self.spread)
        settled = self._window(last) or settled
        return self._with_found(self.kernel, self.log_factor if settled else 0.0), self.x

    @property
    def x(self) -> Tensor:
        """Where the chains are."""
        return self._state.x

    def _start(self, x: Tensor) -> None:
        self._state = self._with_found(self._bare, self.log_factor).init(self.energy, x)

    def _step(self, log_factor: float) -> float:
        """One step; the mean acceptance over the chains that are not stuck."""
        kernel = self._with_found(self._bare, log_factor)
        self._state, acceptance = kernel.step(self.energy, self._state, self.rng)
        self._recent = 0.9 * self._recent + 0.1 * acceptance.double()
        # In order of size: the sum is the same to the last bit, whatever the order of the chains.
        return float(acceptance.double()[self._moving].sort().values.mean())

    @property
    def _moving(self) -> Tensor:
        return self._recent >= 0.02 * self._recent.median()

    def _window(self, steps: int, *, learn: bool = False) -> bool:
        """Tune for some steps; whether there is a setting at which the wanted acceptance was seen."""
        crossing = Crossing(self.log_factor, self.tuning.acceptance)
        averaging: DualAveraging | None = None
        seen = Welford(self.x)
        for _ in range(steps):
            search = averaging or crossing
            search.update(self._step(search.value))
            if learn:
                seen.add(self.x)
            if averaging is None and crossing.hopeless:
                self._refuse_if_stuck(crossing)
                return False
            if averaging is None and crossing.found:
                averaging = DualAveraging(crossing.value, self.tuning.acceptance)
        if steps:
            self.log_factor = crossing.value if averaging is None else averaging.average
        self.spread = (seen.pooled(self._moving) if learn else None) or self.spread
        return averaging is not None

    def _refuse_if_stuck(self, crossing: Crossing) -> None:
        if crossing.value < crossing.start:
            raise ValueError(
                f"warmup needs chains that can move, but proposals were rejected at any {self.tuning.setting}; "
                "start where the energy is finite."
            )

    def _compare(self, steps: int, spread: Spread) -> int:
        """Choose the length of trajectories; how many steps that took."""
        lengths = Trajectories(steps)
        taken = 0
        while not lengths.done:
            self.leapfrogs = lengths.next
            for _ in range(lengths.repeats):
                before = self.x
                self._step(self.log_factor)
                lengths.add(spread, before[self._moving], self.x[self._moving])
            taken += lengths.repeats
        self.leapfrogs = lengths.best
        return taken

    def _with_found(self, kernel: Kernel, log_factor: float) -> Kernel:
        """The kernel with what was found so far. Changes are made to the original: schedules would pile up."""
        kernel = with_setting(kernel, self.tuning.setting, partial(mul, math.exp(log_factor)))
        if self.leapfrogs is not None:
            kernel = with_setting(kernel, TRAJECTORY, lambda _: self.leapfrogs)
        return kernel if self.scale is None else _scaled(kernel, self.scale)


def _windows(steps: int, *, learns: bool, travels: bool) -> tuple[int, list[int], int, int]:
    """Lengths of the first window, of those in which something is learned, of the comparison, and of the last."""
    last = max(1, round(LAST * steps))
    first = round(FIRST * steps)
    comparing = round(COMPARING * steps) if travels else 0
    rest = steps - first - comparing - last
    if rest < SHORTEST or not learns:
        return first, [], 0, steps - first
    count = min(int(math.log2(rest / SHORTEST + 1)), 5)
    middle = [rest * 2**index // (2**count - 1) for index in range(count)]
    return first, middle, comparing, steps - first - sum(middle) - comparing


def _is_scaled(kernel: Kernel) -> bool:
    while isinstance(kernel, TRANSPARENT):
        if isinstance(kernel, Preconditioned):
            return True
        kernel = kernel.kernel
    return False


def _scaled(kernel: Kernel, scale: Tensor) -> Kernel:
    """The kernel with this scale, in the `Preconditioned` that it has, or inside of all wrappers."""
    if isinstance(kernel, Preconditioned):
        return replace(kernel, scale=scale)
    if isinstance(kernel, TRANSPARENT):
        return replace(kernel, kernel=_scaled(kernel.kernel, scale))
    return Preconditioned(kernel, scale)
