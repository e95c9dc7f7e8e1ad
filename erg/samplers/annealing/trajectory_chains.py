r"""Chains that move along a `Trajectory`.

Its energies are not linear in beta once a layer is summed out, so a weight is the difference of two energies where a
chain stands: :math:`\log w = E_\beta(x) - E_{\beta'}(x)`. Kernels that draw from conditionals keep no energy anyway.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import evaluate_energy
from erg.energies.trajectory import Trajectory
from erg.roles import Kernel


class TrajectoryChains(NamedTuple):
    """States on the way.

    Attributes:
        x: Where each chain is.
        trajectory: Along which they go.
    """

    x: Float[Tensor, "batch *event"]
    trajectory: Trajectory

    def log_weight(self, beta: float, following: float) -> Float[Tensor, " batch"]:
        """The log of each row's weight from one beta to another; minus infinity where an energy is not finite."""
        here, there = (evaluate_energy(self.trajectory(at), self.x).energy.double() for at in (beta, following))
        change = here - there
        return torch.where(change.isfinite(), change, -torch.inf)

    def select(self, index: Tensor) -> "TrajectoryChains":
        """Rows by number."""
        return TrajectoryChains(self.x[index], self.trajectory)

    @property
    def finite(self) -> bool:
        """Whether all rows have a finite energy under the target."""
        return bool(evaluate_energy(self.trajectory.energy, self.x).energy.isfinite().all())


def moved_along(
    trajectory: Any, kernel: Kernel, x: Tensor, beta: float, *, steps: int, rng: Rng
) -> tuple[TrajectoryChains, Float[Tensor, " batch"]]:
    """The chains after `steps` steps at `beta`, and each row's mean acceptance."""
    machine = trajectory(beta)
    state, accepted = kernel.run(machine, kernel.init(machine, x), steps, rng)
    return TrajectoryChains(state.x, trajectory), accepted / steps
