"""Any network or closure with one output per row, read as an energy."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from erg.energies.energy import Energy, check_energies
from erg.roles import Conditionals
from erg.support import Real, Support


class Neural(Energy):
    """A plain `nn.Module` or function ``(batch, *event) -> (batch,)`` as an energy.

    Exact conditionals are offered if and only if the module has them, for `BlockGibbs`.

    Args:
        network: Scores a batch of states. A module's parameters become the energy's parameters.
        support: Where x lives.

    Raises:
        TypeError: If `network` cannot be called.

    Example:
        >>> import torch
        >>> energy = Neural(lambda x: x.square().sum(1) / 2)
        >>> energy(torch.ones(3, 2))
        tensor([1., 1., 1.])
    """

    def __init__(self, network: nn.Module | Callable[..., Tensor], *, support: Support = Real()) -> None:
        super().__init__()
        if not callable(network):
            raise TypeError(f"Neural needs a module or a function, but got {type(network).__name__}.")
        self.network = network
        self.support = support
        # Attributes of the instance: methods of the class would promise conditionals for every network.
        if isinstance(network, Conditionals):
            self.sample_hidden = network.sample_hidden
            self.sample_visible = network.sample_visible

    def forward(self, x: Tensor, *condition: Any) -> Tensor:
        """Energies of shape (batch,)."""
        return check_energies(self.network(x, *condition), x)
