"""Energies that are made of their data at once: nothing about them is found by gradients."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import Energy, check_event
from erg.energies.hopfield import DenseMemory
from erg.energies.separations import Exponential, Separation
from erg.support import Binary


class Stored(Energy, ABC):
    """An energy that a run fills from its training rows in one step, in place of training it.

    What it stores is in buffers whose shapes are known before, so that it is saved and loaded like weights.
    """

    @abstractmethod
    def store(self, x: Float[Tensor, "rows *event"], rng: Rng = None) -> None:
        """Become the energy of these rows.

        Args:
            x: Rows on the support.
            rng: For the choice of rows, where not all of them are stored.

        Raises:
            ValueError: If the rows are too few, or not on the support.
        """


class StoredMemory(Stored):
    """A dense memory of binary rows, with a slot for each pattern, at a temperature of its own.

    Args:
        shape: Of one event.
        slots: How many patterns it stores.
        separation: How overlaps become an energy, see `erg.energies.separations`.
        temperature: T of the law exp(-E / T) that a run samples; the valleys are where they are.

    Raises:
        ValueError: If slots or temperature are not positive.

    Example:
        >>> memory = StoredMemory((2, 3), slots=5, temperature=0.5)
        >>> patterns = Binary().initial((5, 2, 3), torch.Generator().manual_seed(0))
        >>> memory.store(patterns)
        >>> bool((memory(patterns) <= memory(1 - patterns)).all())
        True
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        slots: int,
        separation: Separation = Exponential(),
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        rows.whole("slots", slots, of="StoredMemory")
        rows.positive("temperature", temperature, of=StoredMemory)
        self.support, self.temperature = Binary(), temperature
        self.memory = DenseMemory(torch.zeros(slots, *shape), separation, support=self.support)

    @property
    def concave(self) -> bool:
        """Whether all bits may be updated at once in recall."""
        return self.memory.concave

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,), over the temperature."""
        check_event(x, self.memory.shape, of=StoredMemory)
        return self.memory(x) / self.temperature

    def store(self, x: Float[Tensor, "rows *event"], rng: Rng = None) -> None:
        """Put rows into the slots: all of them if there are as many, else as many chosen at random."""
        slots = len(self.memory.patterns)
        if len(x) < slots:
            raise ValueError(
                f"This memory has {slots} slots, but there are {len(x)} rows; set slots to at most that."
            )
        chosen = draws.uniform(torch.empty(len(x)), rng).argsort()[:slots].to(x.device)
        filled = DenseMemory(x[chosen], self.memory.separation, support=self.support)
        self.memory.patterns.copy_(filled.patterns)
