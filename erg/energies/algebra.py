r"""Energies made of energies. Each class takes energies and is one.

Densities multiply where energies add: :math:`e^{-(E_1 + E_2)} = e^{-E_1} e^{-E_2}`. A temperature
divides, a condition fixes an argument, a clamp fixes entries, a mixture adds densities, and a path
joins two energies by a straight line for annealing.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from erg import rows
from erg.energies.energy import Energy, as_energy
from erg.roles import EnergyLike
from erg.support import Box, Real, Support

Weight = float | Tensor


class WeightedSum(Energy):
    r"""The product of experts :math:`E(x) = \sum_i w_i E_i(x)`.

    Args:
        energies: The experts.
        weights: One weight an expert: a number, or a tensor with one number per chain.

    Raises:
        ValueError: If there is no expert, the counts differ, or the experts live on different supports.
    """

    def __init__(self, energies: Sequence[EnergyLike], weights: Sequence[Weight]) -> None:
        super().__init__()
        if not energies or len(energies) != len(weights):
            raise ValueError(
                f"WeightedSum needs one weight an energy and at least one, but got {len(energies)} energies "
                f"and {len(weights)} weights."
            )
        self.energies = nn.ModuleList([as_energy(energy) for energy in energies])
        self.support = reduce(intersect, [energy.support for energy in self.energies])
        # Numbers are kept as numbers: a float32 buffer would round them for float64 states. Tensors
        # are buffers, so that .to() moves them.
        self._weights: list[float | str] = []
        for index, weight in enumerate(weights):
            if isinstance(weight, Tensor) and weight.ndim > 0:
                self.register_buffer(f"weight_{index}", weight)
                self._weights.append(f"weight_{index}")
            else:
                self._weights.append(float(weight))

    @property
    def weights(self) -> list[Weight]:
        """The weights, in the order of the energies."""
        return [getattr(self, weight) if isinstance(weight, str) else weight for weight in self._weights]

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum of the energies, shape (batch,)."""
        terms = [_scaled(energy(x), w) for energy, w in zip(self.energies, self.weights, strict=True)]
        return reduce(torch.add, terms)

    def given(self, y: Any) -> "WeightedSum":
        """The same sum of conditioned experts."""
        return WeightedSum([energy.given(y) for energy in self.energies], self.weights)

    def complete(self, x: Tensor) -> Tensor:
        """The state with the clamped entries of every expert filled in."""
        return reduce(lambda state, energy: energy.complete(state), self.energies, x)


class Given(Energy):
    r"""The conditional energy :math:`E_y(x) = E(x, y)`; samplers never see y.

    Args:
        energy: Written as ``forward(x, y)``.
        y: One condition for all chains (a number or a zero-dimensional tensor), or one a row.
    """

    y: Tensor

    def __init__(self, energy: EnergyLike, y: Any) -> None:
        super().__init__()
        self.energy = as_energy(energy)
        self.support = self.energy.support
        self.register_buffer("y", torch.as_tensor(y), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,) under the fixed condition."""
        return self.energy(x, self.y.expand(len(x)) if self.y.ndim == 0 else self.y)

    def complete(self, x: Tensor) -> Tensor:
        """The state with clamped entries filled in."""
        return self.energy.complete(x)


class Clamped(Energy):
    r"""The energy of the free entries with the others held: :math:`E(m \odot v + (1 - m) \odot x)`.

    The gradient is zero on held entries, so what a sampler does to them has no effect;
    `complete` writes the held values back, and `sample` returns completed states.

    Args:
        energy: Over the whole state.
        mask: True where an entry is held. Shape of the event, or (batch, *event).
        values: The held values, where `mask` is true. Broadcasts against `mask`.

    Raises:
        TypeError: If `mask` is not boolean.
    """

    mask: Tensor
    values: Tensor

    def __init__(self, energy: EnergyLike, mask: Bool[Tensor, "..."], values: Float[Tensor, "..."] | float) -> None:
        super().__init__()
        if mask.dtype != torch.bool:
            raise TypeError(f"clamp() needs a boolean mask, but got {mask.dtype}; pass mask.bool().")
        self.energy = as_energy(energy)
        self.support = self.energy.support
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("values", torch.as_tensor(values), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of the completed states, shape (batch,)."""
        return self.energy(self.complete(x))

    def complete(self, x: Tensor) -> Tensor:
        """`x` with the held entries at their values."""
        return torch.where(self.mask, self.values.to(x.dtype), x)

    def given(self, y: Any) -> "Clamped":
        """The conditioned energy with the same entries held."""
        return Clamped(self.energy.given(y), self.mask, self.values)


class Mixture(Energy):
    r"""The mixture :math:`E(x) = -\log \sum_i w_i e^{-E_i(x)}`.

    The weights multiply the unnormalised densities: they are probabilities only when every component
    has the same partition function.

    Args:
        energies: The components.
        weights: Positive; equal when left out.

    Raises:
        ValueError: If there is no component, a weight is not positive, or the counts differ.
    """

    log_weights: Tensor

    def __init__(self, energies: Sequence[EnergyLike], weights: Float[Tensor, " components"] | None = None) -> None:
        super().__init__()
        weights = torch.full((len(energies),), 1 / max(len(energies), 1)) if weights is None else weights
        if not energies or weights.shape != (len(energies),) or not bool((weights > 0).all()):
            raise ValueError(
                f"Mixture needs one positive weight a component, but got {len(energies)} components "
                f"and weights {weights.tolist()}."
            )
        self.energies = nn.ModuleList([as_energy(energy) for energy in energies])
        self.support = reduce(intersect, [energy.support for energy in self.energies])
        self.register_buffer("log_weights", weights.log())

    def forward(self, x: Tensor) -> Tensor:
        """Minus the log of the mixed density, shape (batch,)."""
        log_densities = torch.stack([-energy(x) for energy in self.energies], dim=1)
        return -(log_densities + self.log_weights).logsumexp(1)

    def given(self, y: Any) -> "Mixture":
        """The mixture of conditioned components."""
        return Mixture([energy.given(y) for energy in self.energies], self.log_weights.exp())


class Path:
    r"""The straight line :math:`E_\beta = (1 - \beta) E_0 + \beta E_1` from a reference to a target.

    Args:
        reference: At beta = 0. Usually one with a known log Z and exact samples.
        energy: At beta = 1.

    Example:
        >>> from erg.energies import Gaussian
        >>> halfway = Path(Gaussian.standard(2), lambda x: x.square().sum(1))(0.5)
        >>> round(float(halfway(torch.ones(1, 2))), 4)
        1.5
    """

    def __init__(self, reference: EnergyLike, energy: EnergyLike) -> None:
        self.reference = as_energy(reference)
        self.energy = as_energy(energy)

    def __call__(self, beta: float | Float[Tensor, " batch"]) -> WeightedSum:
        """The energy at `beta` in [0, 1], a number or one per chain."""
        return WeightedSum([self.reference, self.energy], [1 - beta, beta])


def intersect(first: Support, second: Support) -> Support:
    """Where both supports agree: the real numbers give way to a box, boxes overlap, others must be equal.

    Raises:
        ValueError: If the supports have nothing in common.
    """
    if first == second or isinstance(second, Real):
        if isinstance(first, Real | Box) or first == second:
            return first
    elif isinstance(first, Real) and isinstance(second, Box):
        return second
    elif isinstance(first, Box) and isinstance(second, Box):
        return Box(max(first.low, second.low), min(first.high, second.high))
    raise ValueError(f"Energies on {first} and {second} cannot be combined.")


def _scaled(energies: Tensor, weight: Weight) -> Tensor:
    return energies if isinstance(weight, float) and weight == 1.0 else energies * rows.spread(weight, energies)
