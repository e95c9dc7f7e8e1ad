"""Energies in an external field: what each row was seen to be, as evidence for it."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy, as_energy
from erg.energies.restricted import RBM
from erg.roles import EnergyLike


class InField(Energy):
    r"""The energy :math:`E(x) - f \cdot x` of each row in a field of its own.

    Evidence about single entries is such a field: its entries are the log odds that were observed. Exact
    conditionals are offered if and only if the energy is an RBM, whose visible units feel both this field and
    that of the hidden ones.

    Args:
        energy: Without the field.
        field: One value an entry, of the event's shape or (batch, *event).

    Example:
        >>> import torch
        >>> from erg.samplers import BlockGibbs, sample
        >>> certain = InField(RBM(3, 2), torch.tensor([100.0, -100.0, 100.0]))
        >>> sample(BlockGibbs(), certain, torch.zeros(1, 3), steps=1)
        tensor([[1., 0., 1.]])
    """

    field: Tensor

    def __init__(self, energy: EnergyLike, field: Float[Tensor, "..."]) -> None:
        super().__init__()
        self.energy = as_energy(energy)
        self.support = self.energy.support
        self.register_buffer("field", field, persistent=False)
        # Attributes of the instance: methods of the class would promise conditionals for every energy.
        if isinstance(self.energy, RBM):
            self.sample_hidden = self.energy.sample_hidden
            self.sample_visible = self._sample_visible

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,).

        Raises:
            ValueError: If the field is neither of the event's nor of the batch's shape.
        """
        if self.field.shape not in (x.shape, x.shape[1:]):
            raise ValueError(
                f"A field has the event's or the batch's shape, but got {tuple(self.field.shape)} for x of shape "
                f"{tuple(x.shape)}; give one value for each entry."
            )
        return self.energy(x) - rows.total(self.field.to(x.dtype) * x)

    def complete(self, x: Tensor) -> Tensor:
        """The state with clamped entries filled in."""
        return self.energy.complete(x)

    def free_entries(self, event: tuple[int, ...]) -> Any:
        """Those of the energy."""
        return self.energy.free_entries(event)

    def given(self, y: Any) -> "InField":
        """The conditioned energy in the same field."""
        return InField(self.energy.given(y), self.field)

    def _sample_visible(self, h: Float[Tensor, "batch *hidden"], rng: Rng = None) -> Float[Tensor, "batch *event"]:
        """One draw of the visible layer for each row of `h`, in the row's field."""
        machine = self.energy
        assert isinstance(machine, RBM)
        fields = machine.visible_field(h)
        field = self.field.expand(len(h), *machine.shape).flatten(1)
        return machine.units.sample(fields + field.to(fields.dtype), rng).reshape(-1, *machine.shape)
