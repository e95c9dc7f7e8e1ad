"""Counting what a sampler costs."""

import torch
from torch import Tensor

from erg.energies.energy import Energy, as_energy
from erg.roles import EnergyLike


class Counted(Energy):
    """The same energy; counts how often it is asked.

    Attributes:
        gradients: Calls with gradients switched on: each is one forward and, in `evaluate`, one backward pass.
        values: Calls without.

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import mala, sample
        >>> energy = Counted(Gaussian.standard(2))
        >>> x = sample(mala(0.5), energy, torch.zeros(4, 2), steps=10)
        >>> energy.gradients, energy.values
        (11, 0)
    """

    def __init__(self, energy: EnergyLike) -> None:
        super().__init__()
        self.energy = as_energy(energy)
        self.support = self.energy.support
        self.gradients = 0
        self.values = 0

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        if torch.is_grad_enabled():
            self.gradients += 1
        else:
            self.values += 1
        return self.energy(x)

    def complete(self, x: Tensor) -> Tensor:
        """The state with clamped entries filled in."""
        return self.energy.complete(x)
