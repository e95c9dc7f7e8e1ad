"""Objectives made of objectives."""

from collections.abc import Mapping
from typing import Any

import torch

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.roles import EnergyLike, Loss, Objective


class Weighted(Objective):
    """A weighted sum of objectives; every term is logged under its objective's name.

    Args:
        objectives: Name to (weight, objective), evaluated in this order.

    Raises:
        ValueError: If there is none.

    Example:
        >>> from erg.negatives import FromNoise
        >>> from erg.objectives import MaximumLikelihood
        >>> from erg.samplers import ula
        >>> both = Weighted({"short": (1.0, MaximumLikelihood(FromNoise(ula(0.1), steps=2)))})
        >>> sorted(both(torch.nn.Flatten(0), torch.randn(4, 1)).terms)[0]
        'short/chain/acceptance'
    """

    def __init__(self, objectives: Mapping[str, tuple[float, Objective]]) -> None:
        if not objectives:
            raise ValueError("Weighted needs at least one objective, but got none.")
        self.objectives = dict(objectives)

    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss:
        """Evaluate every objective on the same batch."""
        value = torch.zeros(())
        terms = {}
        for name, (weight, objective) in self.objectives.items():
            loss = objective(energy, batch, rng)
            value = value.to(loss.value.device) + weight * loss.value
            terms[f"{name}/value"] = loss.value.detach()
            terms |= {f"{name}/{key}": term for key, term in loss.terms.items()}
        return Loss(value, terms)


class Conditional(Objective):
    """An objective for pairs (x, y): the inner one sees x and the energy given y.

    Args:
        objective: Compares x with the model ``energy.given(y)``.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss:
        """Condition on y, one label per row, and compare."""
        x, y = batch
        return self.objective(as_energy(energy).given(y), x, rng)
