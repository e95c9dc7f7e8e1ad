"""A multilayer perceptron on the flattened event."""

import math
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from erg.networks.bounded import squash
from erg.networks.layers import Activation, check_sizes, linear


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        shape: Event shape. Events are flattened.
        hidden: Widths of the hidden layers.
        activation: A module class or factory. Smooth ones give continuous gradients.
        spectral: Give every layer spectral norm 1, so that the energy's slope is at most that of the activations.
        bound: b, to squash the energy into [-b, b].

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> import torch
        >>> MLP((2,), hidden=(64, 64))(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        hidden: tuple[int, ...] = (64, 64),
        activation: Activation = nn.SiLU,
        spectral: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes("event sizes", shape, of=MLP)
        check_sizes("hidden widths", hidden, of=MLP)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([math.prod(shape), *hidden]):
            layers += [linear(inputs, outputs, spectral=spectral), activation()]
        self.layers = nn.Sequential(*layers, linear(hidden[-1], 1, spectral=spectral))
        self.squash = squash(bound)

    def forward(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        """Energies of a batch of events."""
        return self.squash(self.layers(x.flatten(1)).squeeze(1))
