r"""Energies made of energies. Each class takes energies and is one.

Densities multiply where energies add: :math:`e^{-(E_1 + E_2)} = e^{-E_1} e^{-E_2}`. A temperature
divides, a condition fixes an argument, a clamp fixes entries, a mixture adds densities, and a path
joins two energies by a straight line for annealing.
"""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy, as_energy, check_energies
from erg.roles import Conditionals, EnergyLike
from erg.support import Box, Mixed, OneHot, Real, Support

Weight = float | Tensor


class WeightedSum(Energy):
    r"""The product of experts :math:`E(x) = \sum_i w_i E_i(x)`.

    An entry that one expert holds by `clamp` is held for all of them, as a product with a point mass.

    Args:
        energies: The experts.
        weights: One weight per expert: a number, a zero-dimensional tensor (a parameter is learned), or a
            tensor with one number per chain. Weights are not saved with the energy; parameters are.

    Raises:
        ValueError: If there is no expert, the counts differ, or the experts live on different supports.
    """

    def __init__(self, energies: Sequence[EnergyLike], weights: Sequence[Weight]) -> None:
        super().__init__()
        if not energies or len(energies) != len(weights):
            raise ValueError(
                f"WeightedSum needs one weight per energy and at least one, but got {len(energies)} energies "
                f"and {len(weights)} weights."
            )
        experts = [as_energy(energy) for energy in energies]
        self.energies = nn.ModuleList(experts)
        self.support = reduce(intersect, [expert.support for expert in experts])
        self._weights: list[float | str] = []
        for index, weight in enumerate(weights):
            # A number stays one: a float32 buffer would round it for float64 states.
            self._weights.append(f"weight_{index}" if isinstance(weight, Tensor) else float(weight))
            if isinstance(weight, nn.Parameter):
                self.register_parameter(f"weight_{index}", weight)
            elif isinstance(weight, Tensor):
                self.register_buffer(f"weight_{index}", weight, persistent=False)

    @property
    def weights(self) -> list[Weight]:
        """The weights, in the order of the energies."""
        return [getattr(self, weight) if isinstance(weight, str) else weight for weight in self._weights]

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum of the energies, shape (batch,)."""
        x = self.complete(x)
        terms = [
            _scaled(check_energies(energy(x), x), weight)
            for energy, weight in zip(_members(self.energies), self.weights, strict=True)
        ]
        return reduce(torch.add, terms)

    def given(self, y: Any) -> "WeightedSum":
        """The same sum of conditioned experts."""
        return WeightedSum([energy.given(y) for energy in _members(self.energies)], self.weights)

    def complete(self, x: Tensor) -> Tensor:
        """The state with the clamped entries of every expert filled in."""
        return reduce(lambda state, energy: energy.complete(state), _members(self.energies), x)

    def free_entries(self, event: tuple[int, ...]) -> Bool[Tensor, "*event"] | None:
        """Those that every expert leaves free."""
        return reduce(_both, [energy.free_entries(event) for energy in _members(self.energies)])


class Given(Energy):
    r"""The conditional energy :math:`E_y(x) = E(x, y)`; samplers never see y.

    Args:
        energy: Written as ``forward(x, y)``.
        y: One condition for all chains (a number or a zero-dimensional tensor), or one per row. A floating
            condition is given to the energy in the dtype of x.
    """

    y: Tensor | float

    def __init__(self, energy: EnergyLike, y: Any) -> None:
        super().__init__()
        self.energy = as_energy(energy)
        self.support = self.energy.support
        _hold(self, "y", y)

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,) under the fixed condition.

        Raises:
            ValueError: If there is neither one condition nor one per row.
        """
        if not isinstance(self.y, Tensor):
            dtype = x.dtype if isinstance(self.y, float) else torch.long
            return self.energy(x, torch.full((len(x),), self.y, dtype=dtype, device=x.device))
        y = self.y.expand(len(x)) if self.y.ndim == 0 else self.y
        if len(y) != len(x):
            raise ValueError(
                f"given() takes one condition, or one per row, but has {len(y)} conditions for {len(x)} rows; "
                "repeat the condition for every row."
            )
        return self.energy(x, y.to(x.dtype) if y.is_floating_point() else y)

    def complete(self, x: Tensor) -> Tensor:
        """The state with clamped entries filled in."""
        return self.energy.complete(x)

    def free_entries(self, event: tuple[int, ...]) -> Bool[Tensor, "*event"] | None:
        """Those of the energy."""
        return self.energy.free_entries(event)


class Clamped(Energy):
    r"""The energy of the free entries with the others held: :math:`E(m \odot v + (1 - m) \odot x)`.

    Samplers move the free entries alone where one mask serves all rows. Where it differs from row to row they move
    all, which has no effect on the held ones; their gradient is zero. `complete` writes the held values back, and
    `sample` returns completed states.

    Exact conditionals are offered if and only if the energy has them and no site of `OneHot` is held in part:
    entries are independent given the hidden variables, so that those of the free ones stay as they are.

    Args:
        energy: Over the whole state.
        mask: True where an entry is held. Shape of the event, or (batch, *event).
        values: The held values, where `mask` is true. Broadcasts against `mask`.

    Raises:
        TypeError: If `mask` is not a boolean tensor.
    """

    mask: Tensor
    values: Tensor | float

    def __init__(self, energy: EnergyLike, mask: Bool[Tensor, "..."], values: Float[Tensor, "..."] | float) -> None:
        super().__init__()
        if not isinstance(mask, Tensor):
            raise TypeError(
                f"clamp() needs a boolean tensor as its mask, but got a {type(mask).__name__}; "
                "pass torch.tensor(mask, dtype=torch.bool)."
            )
        if mask.dtype != torch.bool:
            raise TypeError(f"clamp() needs a boolean mask, but got {mask.dtype}; pass mask.bool().")
        self.energy = as_energy(energy)
        self.support = self.energy.support
        self.register_buffer("mask", mask, persistent=False)
        _hold(self, "values", values)
        # Attributes of the instance: methods of the class would promise conditionals for every energy.
        if isinstance(self.energy, Conditionals) and not self._parts_sites():
            self.sample_hidden = self._sample_hidden
            self.sample_visible = self._sample_visible

    def forward(self, x: Tensor) -> Tensor:
        """Energies of the completed states, shape (batch,)."""
        return self.energy(self.complete(x))

    def complete(self, x: Tensor) -> Tensor:
        """`x` with the held entries at their values; an earlier clamp of the same entry wins.

        Raises:
            ValueError: If the mask or the values do not fit the shape of `x`.
        """
        values = self.values.to(x.dtype) if isinstance(self.values, Tensor) else self.values
        try:
            completed = torch.where(self.mask, values, x)
        except RuntimeError as error:
            if self._fits(x):
                raise
            raise ValueError(self._misfit(x)) from error
        if completed.shape != x.shape:
            raise ValueError(self._misfit(x))
        return self.energy.complete(completed)

    def free_entries(self, event: tuple[int, ...]) -> Bool[Tensor, "*event"] | None:
        """Those that neither this mask holds, if it is one for all rows, nor the energy inside."""
        inside = self.energy.free_entries(event)
        if self.mask.ndim > len(event):
            return inside
        try:
            own = ~self.mask.expand(event)
        except RuntimeError:
            return None  # complete() says what does not fit
        return _both(own, inside)

    def _sample_hidden(self, x: Tensor, rng: Rng = None) -> Tensor:
        """One draw of the hidden variables given each row of completed states."""
        return cast(Conditionals, self.energy).sample_hidden(self.complete(x), rng)

    def _sample_visible(self, h: Tensor, rng: Rng = None) -> Tensor:
        """One draw of the free entries given each row of `h`, with the held ones at their values."""
        return self.complete(cast(Conditionals, self.energy).sample_visible(h, rng))

    def _parts_sites(self) -> bool:
        """Whether some categories of a site are held and some are free."""
        if self.mask.ndim == 0 or not isinstance(self.support, OneHot | Mixed):
            return False
        if isinstance(self.support, Mixed):
            return not bool(self.support.whole(self.mask).all())
        return not torch.equal(self.mask.all(-1), self.mask.any(-1))

    def _fits(self, x: Tensor) -> bool:
        values = self.values.shape if isinstance(self.values, Tensor) else ()
        try:
            return torch.broadcast_shapes(self.mask.shape, values, x.shape) == x.shape
        except RuntimeError:
            return False

    def _misfit(self, x: Tensor) -> str:
        values = f" with values of shape {tuple(self.values.shape)}" if isinstance(self.values, Tensor) else ""
        return (
            "clamp() takes a mask and values of the event's or the batch's shape, but a mask of shape "
            f"{tuple(self.mask.shape)}{values} does not fit x of shape {tuple(x.shape)}; "
            "give them the shape of one event."
        )

    def given(self, y: Any) -> "Clamped":
        """The conditioned energy with the same entries held."""
        return Clamped(self.energy.given(y), self.mask, self.values)


class Mixture(Energy):
    r"""The mixture :math:`E(x) = -\log \sum_i w_i e^{-E_i(x)}`.

    The weights multiply the unnormalised densities: they are probabilities only when every component
    has the same partition function.

    Args:
        energies: The components.
        weights: Positive; equal, with sum 1, when left out.

    Raises:
        ValueError: If there is no component, a weight is not positive, the counts differ, the components live on
            different supports, or a component is clamped.
    """

    log_weights: Tensor | None

    def __init__(self, energies: Sequence[EnergyLike], weights: Float[Tensor, "..."] | None = None) -> None:
        super().__init__()
        fits = weights is None or (weights.shape == (len(energies),) and bool((weights > 0).all()))
        if not energies or not fits:
            raise ValueError(
                f"Mixture needs one positive weight per component, but got {len(energies)} components "
                f"and weights {weights}."
            )
        components = [as_energy(energy) for energy in energies]
        self.energies = nn.ModuleList(components)
        if any(isinstance(part, Clamped) for part in self.energies.modules()):
            raise ValueError(
                "Mixture needs components without held entries, but got a clamped one; clamp the mixture instead."
            )
        self.support = reduce(intersect, [component.support for component in components])
        self.register_buffer("log_weights", None if weights is None else weights.log())

    def forward(self, x: Tensor) -> Tensor:
        """Minus the log of the mixed density, shape (batch,)."""
        log_densities = torch.stack([-check_energies(energy(x), x) for energy in _members(self.energies)], dim=1)
        if self.log_weights is None:
            return math.log(len(self.energies)) - log_densities.logsumexp(1)
        return -(log_densities + self.log_weights.to(log_densities.dtype)).logsumexp(1)

    def given(self, y: Any) -> "Mixture":
        """The mixture of conditioned components."""
        weights = None if self.log_weights is None else self.log_weights.exp()
        return Mixture([energy.given(y) for energy in _members(self.energies)], weights)


class Path:
    r"""The straight line :math:`E_\beta = (1 - \beta) E_0 + \beta E_1` from a reference to a target.

    Args:
        reference: At beta = 0. Usually one with a known log Z and exact samples.
        energy: At beta = 1.

    Raises:
        ValueError: When called, if `beta` is outside [0, 1], or the two live on different supports.

    Example:
        >>> from erg.energies import Gaussian
        >>> halfway = Path(Gaussian.standard(2), lambda x: x.square().sum(1))(0.5)
        >>> round(float(halfway(torch.ones(1, 2))), 4)
        1.5
    """

    def __init__(self, reference: EnergyLike, energy: EnergyLike) -> None:
        self.reference = as_energy(reference)
        self.energy = as_energy(energy)

    def __repr__(self) -> str:
        return f"Path({type(self.reference).__name__}, {type(self.energy).__name__})"

    def __call__(self, beta: float | Float[Tensor, "*batch"]) -> WeightedSum:
        """The energy at `beta` in [0, 1], a number or one per chain."""
        inside = bool(((beta >= 0) & (beta <= 1)).all()) if isinstance(beta, Tensor) else 0 <= beta <= 1
        if not inside:
            raise ValueError(
                f"A path runs from beta = 0 to beta = 1, but got {beta}; divide by a temperature instead."
            )
        return WeightedSum([self.reference, self.energy], [1 - beta, beta])


def intersect(first: Support, second: Support) -> Support:
    """Where both supports agree: the real numbers give way to a box, boxes overlap, others must be equal.

    Raises:
        ValueError: If the supports have nothing in common.
    """
    if first == second:
        return first
    match first, second:
        case (Box() as box, Real()) | (Real(), Box() as box):
            return box
        case Box(), Box() if max(first.low, second.low) < min(first.high, second.high):
            return Box(max(first.low, second.low), min(first.high, second.high))
    raise ValueError(
        f"Energies are combined on one support, but these live on {first} and {second}; say where a plain "
        "function lives by Neural(function, support=...)."
    )


def _hold(energy: Energy, name: str, value: Any) -> None:
    """A number as it is, since a float32 buffer would round it; anything else as a buffer that `.to()` moves."""
    if isinstance(value, int | float):
        setattr(energy, name, value)
    else:
        energy.register_buffer(name, torch.as_tensor(value), persistent=False)


def _members(energies: nn.ModuleList) -> Iterable[Energy]:
    return cast(Iterable[Energy], energies)


def _both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Where both masks are true; None is true everywhere."""
    return first if second is None else second if first is None else first & second


def _scaled(energies: Tensor, weight: Weight) -> Tensor:
    return energies if isinstance(weight, float) and weight == 1.0 else energies * rows.spread(weight, energies)
