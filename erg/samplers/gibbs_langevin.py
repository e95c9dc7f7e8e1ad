r"""Gibbs sampling whose visible half goes by small steps.

A sweep draws h from p(h | v), then moves v a few steps along :math:`-\nabla_v E(v, h)` with h held. Where exact draws
of v would go too far from the chain's past, as under Gaussian machines that are still learning their variances, a
chain moves by less. With a Metropolis test in every step the law is exact; without, it has the bias of the steps.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.gaussian_rbm import GaussianRBM
from erg.energies.neural import Neural
from erg.energies.seen_through import unwrapped
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel
from erg.samplers.rules import Position


@dataclass(frozen=True)
class GibbsLangevin(Kernel):
    """Draws the hidden layer of a `GaussianRBM` given the visible one, then moves the visible one by another kernel.

    A sweep costs `steps` + 1 gradients of the energy of both layers. The acceptance is the mean over its steps.

    Args:
        kernel: Moves the visible layer while the hidden one is held: `mala`, which leaves the law exact, or `ula`.
            Their steps are stable below twice the smallest variance.
        steps: How often, before the hidden layer is drawn again.

    Raises:
        TypeError: If `kernel` is none.
        ValueError: If `steps` is not positive.

    References:
        Liao, Kornblith, Ren, Fleet & Hinton (2022), Gaussian-Bernoulli RBMs without tears, arXiv:2210.10318 (there
        with one test for a whole sweep)

    Example:
        >>> from erg.samplers import mala, sample
        >>> sample(GibbsLangevin(mala(0.5), steps=5), GaussianRBM(3, hidden=2), torch.zeros(4, 3), steps=2).shape
        torch.Size([4, 3])
    """

    kernel: Kernel
    steps: int = 10

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="GibbsLangevin")
        rows.whole("steps", self.steps, of="GibbsLangevin")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Position:
        """Start at `x`.

        Raises:
            TypeError: If the energy is no `GaussianRBM`.
        """
        machine = unwrapped(energy)
        if not isinstance(machine, GaussianRBM):
            raise TypeError(
                f"GibbsLangevin moves between the layers of a GaussianRBM, but got {type(machine).__name__}; use "
                "mala() or another kernel for the visible layer alone."
            )
        return Position(x)

    def step(self, energy: Any, state: Position, rng: Rng) -> tuple[Position, Float[Tensor, " batch"]]:
        """One draw of the hidden layer, and `steps` moves of the visible one."""
        machine = unwrapped(energy)
        with torch.no_grad():
            h = machine.sample_hidden(state.x, rng)
        given = Neural(lambda x: machine.joint(x, h))
        moved, accepted = self.kernel.run(given, self.kernel.init(given, state.x), self.steps, rng)
        return Position(moved.x), accepted / self.steps
