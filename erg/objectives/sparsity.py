"""A penalty that keeps the hidden units of a machine mostly at rest, so that each stands for something."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from erg.energies.energy import Energy
from erg.objectives.penalties import Penalty
from erg.roles import Centring

if TYPE_CHECKING:
    from erg.objectives.likelihood import Phases


class Sparsity(Penalty):
    r"""How far the mean activations :math:`q_j` of hidden bits over a batch of data are from a target p.

    .. math:: \sum_j \left( p \log\frac{p}{q_j} + (1 - p) \log\frac{1 - p}{1 - q_j} \right)

    Args:
        target: p, the share of the data at which a unit should be on.

    Raises:
        ValueError: If the target is not strictly between 0 and 1.
        TypeError: When called, if the energy has no hidden means.

    References:
        Lee, Ekanadham & Ng (2007), Sparse deep belief net model for visual area V2
        Hinton (2012), A practical guide to training restricted Boltzmann machines,
        doi:10.1007/978-3-642-35289-8_32
    """

    def __init__(self, target: float) -> None:
        if not 0 < target < 1:
            raise ValueError(f"Sparsity aims at a share strictly between 0 and 1, but got target={target}.")
        self.target = target

    def __call__(self, energy: Energy, phases: "Phases") -> Float[Tensor, ""]:
        """The penalty, differentiable, in nats."""
        if not isinstance(energy, Centring):
            raise TypeError(
                f"Sparsity is one of hidden units, such as those of RBM, but {type(energy).__name__} has none; leave "
                "this penalty out."
            )
        means: Tensor = energy.hidden_mean(phases.data).flatten(1).mean(0)
        # Away from where all units agree on all rows, and a logarithm has no slope.
        means = means.clamp(1e-6, 1 - 1e-6)
        p = torch.as_tensor(self.target, dtype=means.dtype, device=means.device)
        return (p * (p / means).log() + (1 - p) * ((1 - p) / (1 - means)).log()).sum()
