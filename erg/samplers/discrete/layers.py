"""Chains over all layers of a deep machine, of which the visible one is shown."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.deep import DBM
from erg.energies.seen_through import unwrapped
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel
from erg.samplers.discrete.gibbs import BlockGibbs


class Depth(NamedTuple):
    """The kernel's state on all even layers, and the shape of the visible one."""

    even: Any
    shape: tuple[int, ...]

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The visible layer."""
        visible: Tensor = self.even.x[:, : math.prod(self.shape)]
        return visible.reshape(-1, *self.shape)


@dataclass(frozen=True)
class AllLayers(Kernel):
    """Moves all layers of a `DBM` by a kernel for its two-layer machine.

    Hidden layers start at the likelier values of their mean field. What it leaves as it is, with a kernel that does
    so, is the law of all layers, and of the visible one the marginal: that is the model, on which the energy of a
    `DBM` is only a bound.

    Args:
        kernel: Moves the even layers.

    Example:
        >>> import torch
        >>> from erg.samplers import sample
        >>> sample(AllLayers(), DBM((2, 3), [4, 3]), torch.zeros(5, 2, 3), steps=2).shape
        torch.Size([5, 2, 3])
    """

    kernel: Kernel = field(default_factory=BlockGibbs)

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="AllLayers")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Depth:
        """Start at `x`.

        Raises:
            TypeError: If the energy has no layers.
        """
        deep = unwrapped(energy)
        if not isinstance(deep, DBM):
            raise TypeError(
                f"AllLayers moves the layers of a DBM, but got {type(deep).__name__}; use its kernel alone."
            )
        return Depth(self.kernel.init(deep.machine, deep.filled(x).detach().round()), deep.shape)

    def step(self, energy: Any, state: Depth, rng: Rng) -> tuple[Depth, Float[Tensor, " batch"]]:
        """One step of the kernel."""
        even, acceptance = self.kernel.step(unwrapped(energy).machine, state.even, rng)
        return state._replace(even=even), acceptance
