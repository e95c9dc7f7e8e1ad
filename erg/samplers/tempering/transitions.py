r"""Tempered transitions: up a ladder of temperatures and down again as one proposal.

From the state :math:`x_0` the kernel moves once at :math:`T_1, \dots, T_n` and once at :math:`T_n, \dots, T_1`. With
:math:`\hat x_i` the state before the step up to :math:`T_{i+1}` and :math:`\check x_i` the one after the step at
:math:`T_{i+1}` on the way down, the end :math:`\check x_0` is accepted with probability

.. math:: \min\left(1, \exp \sum_{i=0}^{n-1} \left(\frac1{T_i} - \frac1{T_{i+1}}\right)
          \left(E(\hat x_i) - E(\check x_i)\right)\right), \qquad T_0 = 1.

The kernel does not move at T = 1 between the start and the test: that step would not cancel in the ratio. It moves
there once after the test.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.compilation.compiled import Compiled
from erg.samplers.composition import parts_of, refuse_inside
from erg.samplers.parallel import Parallel
from erg.samplers.preconditioned import Whitened
from erg.samplers.rules import support_of
from erg.samplers.tempering.annealed import Annealed
from erg.samplers.tempering.ladder import rungs_of
from erg.samplers.tempering.rescaling import (
    Tempered,
    changed,
    chosen,
    energies_of,
    rescaling,
    scale_at,
)


@dataclass(frozen=True)
class TemperedTransitions(Kernel):
    """Proposes a tour to high temperatures and back, accepts or rejects it as a whole, and then moves once at T = 1.

    A ladder of n + 1 temperatures costs 2 n + 1 steps of the kernel. The acceptance is that of the tour. Needs denser
    ladders than replica exchange, and one replica instead of many. A temperature given twice gets two moves each way.
    Compile around it, not inside.

    Args:
        kernel: What moves at each temperature. It must be reversible, as Metropolis kernels are.
        temperatures: Ascending from 1.0; see `ladder`.

    Raises:
        ValueError: If the temperatures do not start at 1.0 and ascend.
        TypeError: If the kernel does not leave exp(-E / T) as it is, or, at `init`, if it carries more from step to
            step than a position, as a momentum or a schedule, and is not reversible.

    References:
        Neal (1996), Sampling from multimodal distributions using tempered transitions, doi:10.1007/BF00143556

    Example:
        >>> from erg.samplers import ladder, mala
        >>> kernel = tempered_transitions(mala(0.5), ladder(64.0, 13))
    """

    kernel: Kernel
    temperatures: tuple[float, ...]

    def __post_init__(self) -> None:
        rungs = rungs_of(self.temperatures, of="TemperedTransitions", strictly=False)
        object.__setattr__(self, "temperatures", rungs)
        refuse_inside(self.kernel, Annealed, Compiled, Parallel, of="TemperedTransitions")
        for part in parts_of(self.kernel):
            if isinstance(part, Kernel) and not part.invariant:
                raise TypeError(
                    "TemperedTransitions needs a kernel that leaves exp(-E / T) as it is, since its ratio counts on "
                    f"that, but {type(part).__name__} does not; use an adjusted kernel, mala() instead of ula()."
                )

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Any:
        """The kernel's state at `x`."""
        state = self.kernel.init(self._view(energy, 1.0), x)
        carried = _carried(state)
        if carried is not None:
            raise TypeError(
                "TemperedTransitions needs a kernel that is reversible, but this one carries "
                f"{carried!r} from step to step; use one that carries a position only, such as mala() or hmc()."
            )
        return state

    def step(self, energy: EnergyLike, state: Any, rng: Rng) -> tuple[Any, Float[Tensor, " batch"]]:
        """A tour, its test, and one step at T = 1."""
        cold = self._view(energy, 1.0)
        start = energies_of(cold, state)
        tour, log_ratio = self._tour(energy, state, rng)
        end = energies_of(cold, tour)
        log_ratio = torch.where(start.isfinite(), log_ratio, torch.inf)
        probability = torch.where(end.isfinite(), log_ratio.exp().clamp(max=1.0), 0.0).nan_to_num(nan=0.0)
        accepted = draws.uniform(probability, rng) < probability
        state, _ = self.kernel.step(cold, chosen(accepted, tour, state), rng)
        return state, probability

    def _tour(self, energy: EnergyLike, state: Any, rng: Rng) -> tuple[Any, Float[Tensor, " batch"]]:
        """The end of the tour, at T = 1, and the log of its ratio."""
        support = support_of(energy)
        energies = energies_of(self._view(energy, 1.0), state)
        log_ratio = torch.zeros_like(energies)
        pairs = list(itertools.pairwise(self.temperatures))
        for low, high in pairs:
            log_ratio = log_ratio + (1 / low - 1 / high) * energies
            view, scale = self._view(energy, high), scale_at(low, support) / scale_at(high, support)
            state, _ = self.kernel.step(view, changed(state, rescaling(low / high, scale)), rng)
            energies = energies_of(view, state) * high
        for low, high in reversed(pairs):
            view, scale = self._view(energy, high), scale_at(high, support) / scale_at(low, support)
            state, _ = self.kernel.step(view, state, rng)
            log_ratio = log_ratio - (1 / low - 1 / high) * energies_of(view, state) * high
            state = changed(state, rescaling(high / low, scale))
        return state, log_ratio

    def _view(self, energy: EnergyLike, temperature: float) -> Tempered:
        support = support_of(energy)
        return Tempered(energy, support, temperature, scale_at(temperature, support))


def tempered_transitions(kernel: Kernel, temperatures: Iterable[float]) -> TemperedTransitions:
    """Tours to high temperatures and back; see `TemperedTransitions`."""
    return TemperedTransitions(kernel, rungs_of(temperatures, of="TemperedTransitions", strictly=False))


def _carried(state: Any) -> str | None:
    """The name of something in a state that is neither a position nor follows from it."""
    if isinstance(state, Evaluated):
        return None
    names = state._fields if hasattr(state, "_fields") else ()
    for name in names:
        part = getattr(state, name)
        if hasattr(part, "_fields"):
            found = _carried(part)
        else:
            fixed = part is None or name == "x" or (isinstance(state, Whitened) and name == "scale")
            found = None if fixed else name
        if found is not None:
            return found
    return None
