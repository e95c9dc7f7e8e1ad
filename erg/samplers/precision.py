r"""Sampling with the network in bfloat16.

Positions, noise and every energy that decides something stay in float32. What is rounded is the network
that gives the gradient. A Metropolis rule keeps its law *exactly*: it compares energies of the full
network, and for its proposal any drift :math:`g(x)` is right as long as the density of the proposal uses
the same one. An unadjusted rule follows the rounded gradient, whose relative error is about :math:`2^{-8}`
a product, without a trend.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import check_energies
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel
from erg.samplers.rules import Unadjusted, support_of
from erg.samplers.tempering.replicas import ReplicaExchange
from erg.support import Support


@dataclass(frozen=True)
class LowPrecision(Kernel):
    """Evaluates gradients with matrix products and convolutions in bfloat16, images channels-last.

    Pays where the network's arithmetic dominates, on processors with bfloat16 units; small networks get
    slower. Energies that are plain arithmetic are not rounded. Wrap in `Compiled` for most of the gain.

    Args:
        kernel: What moves.

    Example:
        >>> from erg.samplers import mala, sample
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
        >>> sample(LowPrecision(mala(0.1)), network, torch.zeros(4, 2), 5).dtype
        torch.float32
    """

    kernel: Kernel

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="LowPrecision")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Any:
        """Start at `x`."""
        return self.kernel.init(self._rounded(energy), x)

    def step(self, energy: EnergyLike, state: Any, rng: Rng) -> tuple[Any, Float[Tensor, " batch"]]:
        """One step of the kernel on the rounded gradient."""
        return self.kernel.step(self._rounded(energy), state, rng)

    def _rounded(self, energy: EnergyLike) -> "_Rounded":
        return _Rounded(energy, support_of(energy), exact=_compares(self.kernel))


@dataclass(frozen=True)
class _Rounded:
    """The energy with a rounded gradient; with `exact`, its values are those of the full network."""

    energy: EnergyLike
    support: Support
    exact: bool

    def __call__(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        # clone() makes channels-last strides also for one channel, where the two layouts look alike.
        laid_out = x.clone(memory_format=torch.channels_last) if x.ndim == 4 else x
        with torch.autocast(x.device.type, torch.bfloat16):
            low = check_energies(self.energy(laid_out), x)
        low = low.float() if low.dtype == torch.bfloat16 else low
        if not self.exact:
            return low
        with torch.no_grad():
            full = self.energy(x)
        # The bracket is zero in value and has the rounded gradient.
        return full + (low - low.detach())


def _compares(kernel: Any) -> bool:
    """Whether the rule inside may compare energies: all but `Unadjusted`, whose replicas are compared by swaps."""
    while not isinstance(kernel, Unadjusted | ReplicaExchange) and hasattr(kernel, "kernel"):
        kernel = kernel.kernel
    return not isinstance(kernel, Unadjusted)
