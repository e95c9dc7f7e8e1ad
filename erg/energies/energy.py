r"""The energy role: ``E(x)`` in nats, lower is likelier, ``p(x) = exp(-E(x)) / Z``.

A subclass writes ``forward(x: (batch, *event)) -> (batch,)`` and nothing else. Operators return
energies, so a tempered product of conditioned experts is again an ordinary energy.
"""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from erg.roles import EnergyLike, Evaluated
from erg.support import Real, Support

if TYPE_CHECKING:
    from erg.energies import algebra


class Energy(nn.Module):
    """A function that says how unlikely a state is.

    Attributes:
        support: Where x lives. Kernels that do not move there refuse at the start.
    """

    support: Support = Real()

    def __add__(self, other: EnergyLike) -> "algebra.WeightedSum":
        """Product of experts: the energies add, the densities multiply."""
        from erg.energies.algebra import WeightedSum

        return WeightedSum([self, as_energy(other)], [1.0, 1.0])

    __radd__ = __add__

    def __sub__(self, other: EnergyLike) -> "algebra.WeightedSum":
        """Divide the density by another one: `e1 - 0.5 * e2` moves away from what `e2` likes."""
        from erg.energies.algebra import WeightedSum

        return WeightedSum([self, as_energy(other)], [1.0, -1.0])

    def __neg__(self) -> "algebra.WeightedSum":
        return self * -1.0

    def __mul__(self, weight: float | Float[Tensor, "*batch"]) -> "algebra.WeightedSum":
        """Scale by a number, or by one number per chain."""
        from erg.energies.algebra import WeightedSum

        return WeightedSum([self], [weight])

    __rmul__ = __mul__

    def __truediv__(self, temperature: float | Float[Tensor, "*batch"]) -> "algebra.WeightedSum":
        """Temper: exp(-E / T). One temperature for all chains, or one per chain.

        Raises:
            ValueError: If a temperature is not positive.
        """
        from erg.energies.algebra import WeightedSum

        warm = bool((temperature > 0).all()) if isinstance(temperature, Tensor) else temperature > 0
        if not warm:
            raise ValueError(f"A temperature is positive, but got {temperature}.")
        return WeightedSum([self], [1.0 / temperature])

    def given(self, y: Any) -> "Energy":
        """Condition: an energy over x alone, for energies written as ``forward(x, y)``."""
        from erg.energies.algebra import Given

        return Given(self, y)

    def clamp(self, mask: Bool[Tensor, "..."], values: Float[Tensor, "..."] | float) -> "algebra.Clamped":
        """Hold the entries where `mask` is true at `values`: inpainting, observed units."""
        from erg.energies.algebra import Clamped

        return Clamped(self, mask, values)

    def complete(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
        """The state that is scored when `x` is given. Differs from `x` only where entries are clamped."""
        return x

    def free_entries(self, event: tuple[int, ...]) -> Bool[Tensor, "*event"] | None:
        """Which entries of a state of this shape are not clamped in all rows alike; None if all of them are free."""
        return None


def as_energy(energy: EnergyLike) -> Energy:
    """An energy as it is; a plain module or closure wrapped as one on the real numbers.

    Raises:
        TypeError: If `energy` cannot be called.
    """
    if isinstance(energy, Energy):
        return energy
    if not callable(energy):
        raise TypeError(
            f"An energy is a module or a function (batch, *event) -> (batch,), but got {type(energy).__name__}."
        )
    from erg.energies.neural import Neural

    return Neural(energy)


def check_energies(value: Any, x: Tensor) -> Float[Tensor, " batch"]:
    """Return `value` if it is one number per row.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If its shape is not (batch,).
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"An energy returns a tensor of shape (batch,), but got {type(value).__name__}.")
    if value.shape != x.shape[:1]:
        hint = "; return energy.squeeze(-1)" if value.shape == (*x.shape[:1], 1) else ""
        raise ValueError(
            f"An energy returns one number per row, shape ({len(x)},), but this one returned "
            f"{tuple(value.shape)}{hint}."
        )
    return value


def check_event(x: Tensor, shape: tuple[int, ...], *, of: type) -> None:
    """Refuse states of another event shape, which would otherwise broadcast to a wrong energy.

    Raises:
        ValueError: If the shape of `x` is not (batch, *shape).
    """
    if x.shape[1:] != shape:
        raise ValueError(
            f"This {of.__name__} scores events of shape {tuple(shape)}, but got a batch of shape {tuple(x.shape)}; "
            f"pass x of shape (batch, {', '.join(str(size) for size in shape)})."
        )


def evaluate(energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Evaluated:
    """Energy and gradient dE/dx at `x`, detached. Costs one forward and one backward pass.

    Parameters get no gradient. Works inside `torch.no_grad`.

    Raises:
        ValueError: If the energy is not of shape (batch,), or does not depend on x.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        energies = check_energies(energy(x), x)
        gradient = None
        if energies.requires_grad:
            (gradient,) = torch.autograd.grad(energies.sum(), x, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "This energy has no gradient with respect to x (detached, or computed under no_grad); "
                "use random_walk(), or gibbs() for discrete x, which need none."
            )
    return Evaluated(x.detach(), energies.detach(), gradient)


def evaluate_energy(energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Evaluated:
    """Energy at `x` without its gradient. Costs one forward pass.

    Raises:
        ValueError: If the energy is not of shape (batch,).
    """
    with torch.no_grad():
        x = x.detach()
        return Evaluated(x, check_energies(energy(x), x), None)
