"""An energy for several states of each row."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from erg.energies.algebra import Clamped, Given, Mixture, WeightedSum
from erg.energies.field import InField
from erg.energies.free import Reduced
from erg.roles import EnergyLike


def repeated(energy: EnergyLike, times: int, *, event: int) -> Any:
    """The same energy for `times` consecutive states of each row: what it holds one of a row is repeated.

    Conditions, weights (temperatures too), fields and held entries are found inside sums, mixtures, conditions and
    clamps. An energy without any is returned as it is. What a function of the user's own holds for each row is out of
    reach.

    Args:
        energy: Over rows.
        times: States of each row.
        event: The number of an event's axes: held entries with one axis more are one set a row.

    Example:
        >>> from erg.energies import Gaussian
        >>> tempered = Gaussian.standard(1) / torch.tensor([1.0, 2.0])
        >>> repeated(tempered, 2, event=1)(torch.ones(4, 1))
        tensor([0.5000, 0.5000, 0.2500, 0.2500])
    """
    match energy:
        case Reduced():
            inner = repeated(energy.energy, times, event=len(energy.entries.event))
            return energy if inner is energy.energy else replace(energy, energy=inner)
        case Given():
            inner, y = repeated(energy.energy, times, event=event), _repeated(energy.y, times, over=0)
            return energy if inner is energy.energy and y is energy.y else inner.given(y)
        case Clamped():
            inner = repeated(energy.energy, times, event=event)
            mask, values = (_repeated(held, times, over=event) for held in (energy.mask, energy.values))
            same = inner is energy.energy and mask is energy.mask and values is energy.values
            return energy if same else Clamped(inner, mask, values)
        case InField():
            inner = repeated(energy.energy, times, event=event)
            whole = energy.field.ndim <= event
            field = energy.field if whole else energy.field.repeat_interleave(times, 0)
            return energy if inner is energy.energy and whole else InField(inner, field)
        case WeightedSum():
            parts = [repeated(part, times, event=event) for part in energy.energies]
            weights = [_repeated(weight, times, over=0) for weight in energy.weights]
            old = [*energy.energies, *energy.weights]
            same = all(new is before for new, before in zip([*parts, *weights], old, strict=True))
            return energy if same else WeightedSum(parts, weights)
        case Mixture():
            parts = [repeated(part, times, event=event) for part in energy.energies]
            same = all(new is before for new, before in zip(parts, energy.energies, strict=True))
            logs = energy.log_weights
            return energy if same else Mixture(parts, None if logs is None else logs.exp())
    return energy


def _repeated(value: Any, times: int, *, over: int) -> Any:
    """A tensor of more than `over` axes repeated with its rows; one row stands for all and stays."""
    if not isinstance(value, Tensor) or value.ndim <= over or len(value) == 1:
        return value
    return torch.repeat_interleave(value, times, 0)
