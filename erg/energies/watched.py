"""Counting states that have no finite energy."""

from torch import Tensor

from erg.energies.seen_through import SeenThrough
from erg.roles import EnergyLike


class Watched(SeenThrough):
    """The same energy; counts the states it is asked about, and those of NaN or infinite energy.

    Kernels reject a proposal without a finite energy row by row and say nothing of it; this tells how many there
    were. Looks at values, so that a compiled step runs eagerly on it.

    Attributes:
        states: Rows evaluated.
        nonfinite: Those without a finite energy.

    Example:
        >>> import torch
        >>> from erg.samplers import mala, sample
        >>> energy = Watched(lambda x: x.log().square().sum(1))  # NaN left of 0
        >>> x = sample(mala(0.5), energy, torch.ones(50, 1), 20, torch.Generator().manual_seed(0))
        >>> energy.states, energy.nonfinite > 0, bool(x.min() > 0)
        (1050, True, True)
    """

    def __init__(self, energy: EnergyLike) -> None:
        super().__init__(energy)
        self.states = self.nonfinite = 0

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        energies = super().forward(x)
        self.states += len(x)
        self.nonfinite += int((~energies.isfinite()).sum())
        return energies
