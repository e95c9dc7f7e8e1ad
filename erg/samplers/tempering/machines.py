r"""Exchange between machines: replicas of a chain live on machines that are easier and easier to cross.

Dividing an energy by a temperature leaves no exact conditionals once a hidden layer is summed out. Machines along a
`Trajectory` have them: with weaker couplings (parallel tempering), or as they were earlier in training (trajectory
tempering), when the modes of today had not parted yet. Neighbours k and k + 1 swap their states with probability

.. math:: \min\left(1, \exp\left[E_k(x_k) - E_k(x_{k+1}) + E_{k+1}(x_{k+1}) - E_{k+1}(x_k)\right]\right),

even pairs at even steps, odd pairs at odd ones. The product of the machines' laws is kept exactly.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg import draws
from erg.draws import Rng
from erg.energies.energy import evaluate_energy
from erg.energies.restricted import RBM, Decoupled
from erg.energies.seen_through import unwrapped
from erg.energies.trajectory import Trajectory
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel
from erg.samplers.rules import check_start
from erg.samplers.tempering.replicas import Exchange


@runtime_checkable
class Rungs(Protocol):
    """The machines above a target."""

    def __call__(self, energy: Any) -> Sequence[Any]:
        """From the target's neighbour to the easiest, all with the target's layers."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


@dataclass(frozen=True)
class Weakened:
    """The target with its couplings and hidden biases times each beta; visible biases are those at its offsets.

    Args:
        betas: Descending, below 1.

    Raises:
        ValueError: If they do not descend from below 1 to 0 or above.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        falling = all(high > low for high, low in zip((1.0, *self.betas), self.betas, strict=False))
        if not self.betas or not falling or self.betas[-1] < 0:
            raise ValueError(
                f"Weaker machines have betas that fall from below 1 to 0 or above, but got {self.betas}; write for "
                "example [0.8, 0.6, 0.4, 0.2, 0.0]."
            )

    def __call__(self, energy: Any) -> Sequence[Any]:
        """One machine a beta."""
        energy = unwrapped(energy)
        if not isinstance(energy, RBM):
            raise TypeError(
                f"Exchange with weaker machines is for RBMs, but got {type(energy).__name__}; use replica_exchange()."
            )
        path = Trajectory([Decoupled(energy), energy])
        return [path(beta) for beta in self.betas]

    def __len__(self) -> int:
        return len(self.betas)


@dataclass(frozen=True)
class Milestones:
    """Machines that stay as they are, as those that training went through.

    Args:
        machines: From the one most like the target to the easiest.
    """

    machines: tuple[Any, ...]

    def __call__(self, energy: Any) -> Sequence[Any]:
        """The same for any target."""
        return self.machines

    def __len__(self) -> int:
        return len(self.machines)


class Spread(NamedTuple):
    """The replicas of every chain, and how well they swap.

    Attributes:
        replicas: The positions, that on the target first.
        rejected: The sum over steps of the rejection probabilities of the swaps offered to each pair.
        steps: Steps made.
    """

    replicas: Float[Tensor, "batch machines *event"]
    rejected: Float[Tensor, "batch pairs"]
    steps: Int[Tensor, " batch"]

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The replica on the target of each chain: the sample."""
        return self.replicas[:, 0].contiguous()

    @property
    def rejection(self) -> Float[Tensor, " pairs"]:
        """The mean rejection probability of each pair of neighbours; NaN before it was offered a swap."""
        even = torch.arange(self.rejected.shape[1], device=self.steps.device) % 2 == 0
        return self.rejected.sum(0) / ((self.steps[:, None] + even) // 2).sum(0)


@dataclass(frozen=True)
class MachineExchange(Exchange):
    """Replicas of each chain on a series of machines, with non-reversible swaps between neighbours.

    The acceptance is the kernel's on the target.

    Args:
        kernel: What moves each replica on its machine, as `BlockGibbs`.
        rungs: The machines above the target: `Weakened` or `Milestones`.

    References:
        Desjardins, Courville, Bengio, Vincent & Delalleau (2010), Tempered Markov chain Monte Carlo for training of
        restricted Boltzmann machines
        Béreux, Decelle, Furtlehner, Rosset & Seoane (2024), Fast training and sampling of restricted Boltzmann
        machines, arXiv:2405.15376

    Example:
        >>> from erg.samplers import BlockGibbs, sample
        >>> rbm = RBM(6, hidden=3)
        >>> kernel = machine_exchange(BlockGibbs(), betas=[0.5, 0.0])
        >>> sample(kernel, rbm, rbm.support.initial((4, 6)), steps=5).shape
        torch.Size([4, 6])
    """

    kernel: Kernel
    rungs: Rungs

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="MachineExchange")

    @property
    def count(self) -> int:
        """How many replicas a chain has."""
        return 1 + len(self.rungs)

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Spread:
        """Start all replicas of a chain at its `x`."""
        return self.start(energy, x[:, None].expand(-1, self.count, *x.shape[1:]))

    def start(self, energy: EnergyLike, replicas: Float[Tensor, "batch machines *event"]) -> Spread:
        """Start every replica at its own place.

        Raises:
            ValueError: If there is not one replica for each machine.
            TypeError: If the kernel does not move on them, or the target has no weaker machines.
        """
        if replicas.ndim < 2 or replicas.shape[1] != self.count:
            raise ValueError(
                f"Replicas are of shape (batch, {self.count}, *event), one for each machine, but got "
                f"{tuple(replicas.shape)}; repeat a state for every machine, or use the kernel without replicas."
            )
        check_start(energy, replicas[:, 0])
        for machine in self._machines(energy):
            self.kernel.init(machine, replicas[:, 0])
        return Spread(
            replicas.contiguous(),
            torch.zeros(len(replicas), self.count - 1, device=replicas.device),
            torch.zeros(len(replicas), dtype=torch.long, device=replicas.device),
        )

    def step(self, energy: EnergyLike, state: Spread, rng: Rng) -> tuple[Spread, Float[Tensor, " batch"]]:
        """One step of the kernel on every machine, and one offer to every other pair."""
        return self.run(energy, state, 1, rng)

    def run(self, energy: EnergyLike, state: Spread, steps: int, rng: Rng) -> tuple[Spread, Float[Tensor, " batch"]]:
        """Several steps; the machines are made once."""
        machines = self._machines(energy)
        accepted = torch.zeros(len(state.replicas), device=state.replicas.device)
        for _ in range(steps):
            state, acceptance = self._step(machines, state, rng)
            accepted += acceptance
        return state, accepted

    def _machines(self, energy: EnergyLike) -> list[Any]:
        return [energy, *self.rungs(energy)]

    def _step(self, machines: list[Any], state: Spread, rng: Rng) -> tuple[Spread, Tensor]:
        moved, acceptances = [], []
        for machine, x in zip(machines, state.replicas.unbind(1), strict=True):
            inner, acceptance = self.kernel.step(machine, self.kernel.init(machine, x), rng)
            moved.append(inner.x)
            acceptances.append(acceptance)
        offers = draws.uniform(state.rejected, rng)
        rejected = state.rejected.clone()
        odd = state.steps[:, None] % 2
        for low in range(len(machines) - 1):
            offered = odd[:, 0] == low % 2
            if not bool(offered.any()):
                continue
            probability = _swap_probability(machines[low], machines[low + 1], moved[low], moved[low + 1])
            swapped = (offers[:, low] < probability) & offered
            rejected[:, low] += (1 - probability) * offered
            choose = swapped.reshape(-1, *[1] * (moved[low].ndim - 1))
            moved[low], moved[low + 1] = (
                torch.where(choose, moved[low + 1], moved[low]),
                torch.where(choose, moved[low], moved[low + 1]),
            )
        return Spread(torch.stack(moved, 1), rejected, state.steps + 1), acceptances[0]


def machine_exchange(kernel: Kernel, betas: Iterable[float]) -> MachineExchange:
    """Parallel tempering of a restricted Boltzmann machine with weaker ones; see `MachineExchange`."""
    return MachineExchange(kernel, Weakened(tuple(betas)))


def trajectory_exchange(kernel: Kernel, machines: Iterable[Any]) -> MachineExchange:
    """Trajectory tempering: exchange with what a machine was earlier, the latest first; see `MachineExchange`."""
    return MachineExchange(kernel, Milestones(tuple(machines)))


def _swap_probability(first: Any, second: Any, x: Tensor, y: Tensor) -> Float[Tensor, " batch"]:
    both = torch.cat([x, y])
    (first_x, first_y), (second_x, second_y) = (
        evaluate_energy(machine, both).energy.double().chunk(2) for machine in (first, second)
    )
    log_ratio = first_x - first_y + second_y - second_x
    # NaN, as where both are infinite, is no reason to move.
    return log_ratio.nan_to_num(nan=-math.inf).clamp(max=0.0).exp().float()
