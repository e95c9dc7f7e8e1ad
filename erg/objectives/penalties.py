r"""Penalties keep an energy in a range where it can be sampled.

A contrast only sees differences of energies, so nothing holds their level, and a steep energy makes
chains unstable. A penalty is a function of the energy and of both phases, whose energies are at hand.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.energies.energy import Energy
from erg.energies.repeated import repeated

if TYPE_CHECKING:
    from erg.objectives.likelihood import Phases


class Penalty(ABC):
    """What an energy should not become, as a differentiable number."""

    @abstractmethod
    def __call__(self, energy: Energy, phases: "Phases") -> Float[Tensor, ""]:
        """The unweighted penalty."""


Penalties = Mapping[str, tuple[float, Penalty]]


class Magnitude(Penalty):
    r"""Mean squared energy of both phases, :math:`\overline{E(x)^2} + \overline{E(x')^2}`.

    References:
        Du & Mordatch (2019), Implicit generation and generalization in energy-based models, arXiv:1903.08689
    """

    def __call__(self, energy: Energy, phases: "Phases") -> Float[Tensor, ""]:
        """The penalty, differentiable, in squared nats."""
        return phases.energy_data.square().mean() + phases.energy_model.square().mean()


class Gradient(Penalty):
    r"""Mean squared gradient norm at the data and at the negatives, :math:`\overline{\|\nabla_x E\|^2}`.

    Costs a second derivative: about twice an update without chains.
    """

    def __call__(self, energy: Energy, phases: "Phases") -> Float[Tensor, ""]:
        """The penalty, differentiable, in squared nats per squared unit of x."""
        data, model = (x.detach().requires_grad_() for x in (phases.data, phases.model))
        of_model = repeated(energy, len(model) // len(data), event=data.ndim - 1)
        gradients = torch.autograd.grad(energy(data).sum() + of_model(model).sum(), (data, model), create_graph=True)
        return torch.cat([rows.total(gradient.square()) for gradient in gradients]).mean()


def penalise(penalties: Penalties, energy: Energy, phases: "Phases") -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the penalties, and each one's unweighted value by name."""
    sum_of_all = phases.energy_data.new_zeros(())
    terms = {}
    for name, (weight, penalty) in penalties.items():
        value = penalty(energy, phases)
        sum_of_all = sum_of_all + weight * value
        terms[f"penalty/{name}"] = value.detach()
    return sum_of_all, terms
