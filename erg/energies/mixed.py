"""Units of several kinds in one layer: pixels beside a label, the columns of a table."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.units import Units
from erg.support import Mixed


@dataclass(frozen=True)
class MixedUnits(Units):
    r"""Kinds of units side by side, in one line of entries: :math:`A(f) = \sum_k A_k(f_k)` over the parts.

    Args:
        parts: From the first entry on: the kind, and how many entries there are of it. Each category is a part of
            its own, of as many entries as it has values.

    Raises:
        ValueError: If there is no part, one is empty, or one of categories is not one site.

    Example:
        >>> from erg.energies import RBM, Bits, Categories
        >>> table = RBM(5, hidden=4, units=MixedUnits(((Bits(), 2), (Categories(3), 3))))
        >>> table.sample_visible(torch.zeros(2, 4))[:, 2:].sum(1)
        tensor([1., 1.])
    """

    parts: tuple[tuple[Units, int], ...]

    def __post_init__(self) -> None:
        for units, entries in self.parts:
            units.check((entries,))
        self.check((sum(self.support.sizes),))

    @property
    def support(self) -> Mixed:  # type: ignore[override]
        """Where the states of all parts live."""
        return Mixed(tuple((units.support, entries) for units, entries in self.parts))

    def log_partition(self, field: Float[Tensor, "*batch entries"]) -> Float[Tensor, "*batch"]:
        """The sum over the parts."""
        return torch.stack([units.log_partition(part) for units, part in self._split(field)]).sum(0)

    def mean(self, field: Float[Tensor, "*batch entries"]) -> Float[Tensor, "*batch entries"]:
        """The expected states, side by side."""
        return torch.cat([units.mean(part) for units, part in self._split(field)], -1)

    def sample(self, field: Float[Tensor, "*batch entries"], rng: Rng = None) -> Float[Tensor, "*batch entries"]:
        """One draw of each part for each row."""
        return torch.cat([units.sample(part, rng) for units, part in self._split(field)], -1)

    def field_of(self, mean: Float[Tensor, "*entries"]) -> Float[Tensor, "*entries"]:
        """The fields of the parts."""
        return torch.cat([units.field_of(part) for units, part in self._split(mean)], -1)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse an event that is not one line of all entries.

        Raises:
            ValueError: If so.
        """
        if shape != (sum(self.support.sizes),):
            raise ValueError(
                f"These units are one line of {sum(self.support.sizes)} entries, but the event has shape {shape}; "
                "flatten each part and put them side by side."
            )

    def _split(self, field: Tensor) -> list[tuple[Units, Tensor]]:
        kinds = (units for units, _ in self.parts)
        return list(zip(kinds, field.split([entries for _, entries in self.parts], -1), strict=True))
