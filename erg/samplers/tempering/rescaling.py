r"""A kernel at another temperature: what it sees, and what it remembered at the last one.

At temperature T a kernel sees :math:`U(z) = E(s z) / T` of the position z = x / s. On the real numbers
:math:`s = \sqrt T`, in which the law of a Gaussian is the same at every temperature: one step size serves all. In a
box and on discrete states s = 1. What a state remembers is rescaled and not evaluated again,

.. math:: z' = z\,\frac{s}{s'}, \qquad U' = U\,\frac{T}{T'}, \qquad
          \nabla U' = \nabla U\,\frac{T}{T'}\,\frac{s'}{s}.

Energies and gradients are looked for in `Evaluated`, positions there and in fields called ``x``. All else in a state
(momenta, step sizes, counters) is left where it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.energies.energy import check_energies, evaluate_energy
from erg.roles import EnergyLike, Evaluated
from erg.samplers.rules import choose, precise
from erg.support import Real, Support

Number = float | Tensor
"""One for all rows, or one for each."""


@dataclass(frozen=True)
class Tempered:
    """The energy E / T as a function of z = x / s."""

    energy: EnergyLike
    support: Support
    temperature: Number
    scale: Number

    def __call__(self, z: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        energies = check_energies(self.energy(z * rows.spread(self.scale, z)), z)
        return precise(energies) / self.temperature


class Change(NamedTuple):
    """What happens to the positions, energies and gradients that a state remembers."""

    x: Callable[[Tensor], Tensor]
    energy: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]


def rescaling(temperature: Number, scale: Number) -> Change:
    """To another temperature: T / T' and s / s' are given."""
    return Change(
        lambda x: x * rows.spread(scale, x),
        lambda energy: energy * temperature,
        lambda gradient: gradient * rows.spread(temperature / scale, gradient),
    )


def changed(state: Any, change: Change) -> Any:
    """The state with `change` made to every `Evaluated` and every field called ``x``."""
    if isinstance(state, Evaluated):
        gradient = None if state.gradient is None else change.gradient(state.gradient)
        return Evaluated(change.x(state.x), change.energy(state.energy), gradient)
    if not hasattr(state, "_fields"):
        return state
    parts = {
        name: change.x(part) if name == "x" and isinstance(part, Tensor) else changed(part, change)
        for name, part in zip(state._fields, state, strict=True)
    }
    return state._replace(**parts)


def chosen(accepted: Tensor, new: Any, old: Any) -> Any:
    """Where rows are accepted the positions, energies and gradients of `new`, of `old` elsewhere."""
    if isinstance(new, Evaluated):
        return choose(accepted, new, old)
    if not hasattr(new, "_fields"):
        return new
    parts = {
        name: rows.where(accepted, part, before)
        if name == "x" and isinstance(part, Tensor)
        else chosen(accepted, part, before)
        for name, part, before in zip(new._fields, new, old, strict=True)
    }
    return new._replace(**parts)


def remembered(state: Any) -> Evaluated | None:
    """The `Evaluated` in a state, if there is one."""
    if isinstance(state, Evaluated):
        return state
    parts = state if hasattr(state, "_fields") else ()
    return next((found for part in parts if (found := remembered(part)) is not None), None)


def energies_of(energy: EnergyLike, state: Any) -> Tensor:
    """The energies of a state, remembered or else evaluated, in float32 or better."""
    evaluated = remembered(state)
    if evaluated is None:
        evaluated = evaluate_energy(energy, state.x)
    return precise(evaluated.energy)


def scale_at(temperature: float, support: Support) -> float:
    """The unit of length s at a temperature."""
    return temperature**0.5 if isinstance(support, Real) else 1.0
