r"""A network on top of what single entries already say.

.. math:: E(x) = f(x) - \sum_i l_i\, x_i

The logits l are those of the data's means and stay. The network begins as a small correction to independent entries,
so that chains at the start are already where the data are, and annealing from those entries is short.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg import rows
from erg.energies.energy import Energy, check_energies, check_event
from erg.energies.units import Bits, Units


class Based(Energy):
    """A discrete energy: a network plus the energy of independent entries with the means of the data.

    Args:
        shape: Of the event; on `OneHot` the last axis is that of the categories.
        network: From the shape to a module ``(batch, *event) -> (batch,)``.
        units: What the entries are.

    Raises:
        ValueError: If the shape does not hold whole units; when the data are off the support.

    References:
        Grathwohl et al. (2021), Oops I took a gradient: scalable sampling for discrete distributions,
        arXiv:2102.04509 (the base of its deep energies)

    Example:
        >>> from erg.networks import MLP
        >>> energy = Based((4,), lambda shape: MLP(shape, hidden=(8,)))
        >>> energy.start_at(torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))
        >>> [round(logit, 2) for logit in energy.logits.tolist()]
        [4.6, -4.6, 0.0, -4.6]
    """

    logits: Tensor

    def __init__(
        self, shape: tuple[int, ...], network: Callable[[tuple[int, ...]], nn.Module], *, units: Units = Bits()
    ) -> None:
        super().__init__()
        units.check(tuple(shape))
        self.shape, self.units, self.support = tuple(shape), units, units.support
        self.network = network(self.shape)
        self.register_buffer("logits", torch.zeros(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Energies of shape (batch,)."""
        check_event(x, self.shape, of=Based)
        return check_energies(self.network(x), x) - rows.total(self.logits.to(x.dtype) * x)

    @torch.no_grad()
    def start_at(self, x: Float[Tensor, "rows *event"]) -> None:
        """Take the logits from the means of the data.

        Raises:
            ValueError: If the rows are of another shape, or off the support.
        """
        check_event(x, self.shape, of=Based)
        elsewhere = int((~self.support.contains(x)).sum())
        if elsewhere:
            raise ValueError(
                f"This energy is one on {self.support}, but {elsewhere} of {len(x)} rows have other values; binarise "
                "them (data.binarise)."
            )
        self.logits.copy_(self.units.field_of(x.double().mean(0)))
