"""Counting what a sampler costs."""

import torch
from torch import Tensor

from erg.energies.seen_through import SeenThrough
from erg.roles import EnergyLike


class _Calls:
    """Numbers that are no part of what the energy is: a compiled step need not be compiled again when they change."""

    __slots__ = ("gradients", "values")

    def __init__(self) -> None:
        self.gradients = self.values = 0


class Counted(SeenThrough):
    """The same energy; counts how often it is asked. A compiled step does not ask: count with the kernel inside.

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
        super().__init__(energy)
        self._calls = _Calls()

    @property
    def gradients(self) -> int:
        """Calls with gradients switched on."""
        return self._calls.gradients

    @gradients.setter
    def gradients(self, count: int) -> None:
        self._calls.gradients = count

    @property
    def values(self) -> int:
        """Calls without."""
        return self._calls.values

    @values.setter
    def values(self, count: int) -> None:
        self._calls.values = count

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        if torch.is_grad_enabled():
            self.gradients += 1
        else:
            self.values += 1
        return super().forward(x)
