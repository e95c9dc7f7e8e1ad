"""Wrappers that leave an energy as it is, and notice how it is used."""

from typing import Any

from jaxtyping import Bool
from torch import Tensor

from erg.energies.energy import Energy, as_energy
from erg.roles import Conditionals, EnergyLike


class SeenThrough(Energy):
    """The same energy; whoever asks it for more than a number gets the answer of the energy inside.

    Exact conditionals are offered if and only if the energy inside has them.

    Args:
        energy: Energy, module or closure ``(batch, *event) -> (batch,)``.
    """

    def __init__(self, energy: EnergyLike) -> None:
        super().__init__()
        self.energy = as_energy(energy)
        self.support = self.energy.support
        # Attributes of the instance: methods of the class would promise conditionals for every energy.
        if isinstance(self.energy, Conditionals):
            self.sample_hidden = self.energy.sample_hidden
            self.sample_visible = self.energy.sample_visible

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        return self.energy(x)

    def complete(self, x: Tensor) -> Tensor:
        """The state with clamped entries filled in."""
        return self.energy.complete(x)

    def free_entries(self, event: tuple[int, ...]) -> Bool[Tensor, "*event"] | None:
        """Those of the energy."""
        return self.energy.free_entries(event)


def unwrapped(energy: EnergyLike) -> Any:
    """The energy that is looked at through such wrappers: whoever needs a class of energies asks this one."""
    while isinstance(energy, SeenThrough):
        energy = energy.energy
    return energy
