r"""Replica exchange: hot replicas cross barriers, swaps bring what they find to the cold one.

Every chain consists of replicas at temperatures :math:`1 = T_1 < \dots < T_K`. A step moves all of them by the
kernel, each on :math:`E / T_k`, and then offers a swap to every other pair of neighbours, accepted with probability

.. math:: \min\left(1, \exp\left[
    \left(\frac1{T_k} - \frac1{T_{k+1}}\right)\left(E(x_k) - E(x_{k+1})\right)\right]\right).

Even pairs at even steps, odd pairs at odd steps: a replica that climbs goes on climbing, and the ladder is crossed
in a time proportional to its length instead of its square. The joint law :math:`\prod_k e^{-E(x_k) / T_k}` is kept
exactly if the kernel is exact. It is the joint law that is kept: replicas that all start at samples of the cold law
reach it only after a while, so chains that are stopped and resumed carry all of their replicas.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from erg import draws, rows
from erg.draws import Grouped, Rng
from erg.energies.repeated import repeated
from erg.roles import Adaptive, EnergyLike, Kernel
from erg.samplers.composition import refuse_inside
from erg.samplers.parallel import Parallel
from erg.samplers.rules import support_of
from erg.samplers.tempering.annealed import Annealed
from erg.samplers.tempering.ladder import equalised, rungs_of
from erg.samplers.tempering.rescaling import (
    Change,
    Tempered,
    changed,
    energies_of,
    rescaling,
    scale_at,
)
from erg.support import Real, Support


class Exchanged(NamedTuple):
    """All replicas of every chain, and how well they move and swap.

    Attributes:
        inner: The kernel's state, with the replicas of a chain in consecutive rows.
        scales: The unit of length of every replica.
        rejected: The sum over steps of the rejection probabilities of the swaps offered to each pair.
        accepted: The sum over steps of the kernel's acceptance.
        steps: Steps made.
    """

    inner: Any
    scales: Float[Tensor, "batch temperatures"]
    rejected: Float[Tensor, "batch pairs"]
    accepted: Float[Tensor, "batch temperatures"]
    steps: Int[Tensor, " batch"]

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The cold replica of each chain: the sample."""
        return self.inner.x.unflatten(0, tuple(self.scales.shape))[:, 0].contiguous()

    @property
    def replicas(self) -> Float[Tensor, "batch temperatures *event"]:
        """The positions of all replicas, the cold one first."""
        z = self.inner.x
        return (z * rows.spread(self.scales.flatten(), z)).unflatten(0, tuple(self.scales.shape))

    @property
    def rejection(self) -> Float[Tensor, " pairs"]:
        """The mean rejection probability of each pair of neighbours; NaN before it was offered a swap."""
        even = torch.arange(self.rejected.shape[1], device=self.steps.device) % 2 == 0
        offers = (self.steps[:, None] + even) // 2
        return self.rejected.sum(0) / offers.sum(0)


class Exchange(Kernel):
    """A kernel whose chains consist of several replicas, of which the first is on the target."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many replicas a chain has."""

    @abstractmethod
    def start(self, energy: EnergyLike, replicas: Float[Tensor, "batch replicas *event"]) -> Any:
        """The state with every replica at its own place; it offers them as `replicas`."""

    def with_replicas(self) -> "WithReplicas":
        """The same kernel with all replicas as its position: x is of shape (batch, replicas, *event)."""
        return WithReplicas(self)


@dataclass(frozen=True)
class ReplicaExchange(Exchange):
    """Replicas of each chain at a ladder of temperatures, with non-reversible swaps between neighbours.

    All temperatures of all chains are one batch: a step is one step of the kernel on batch * temperatures rows, one
    forward pass for MALA, and what the kernel remembers of energies and gradients moves with a swap. A kernel that
    remembers none, as an unadjusted one, costs one more forward pass a step. The acceptance is the kernel's at the
    temperature 1. Momenta and the like stay with their temperature.

    Conditions, weights, temperatures and held entries for each row (``energy.given(y)``) are repeated for the
    replicas of the row. Step sizes for each row are for rows of replicas: one a replica.

    ``chain`` goes on from all replicas; ``state.replicas`` are their positions, from which
    ``chain(kernel.with_replicas(), energy, state.replicas)`` starts again.

    Args:
        kernel: What moves the replicas.
        temperatures: Ascending from 1.0; see `ladder`, and `adapted` for one with equal swap rates.
        scales: The unit of length of the kernel's steps at each temperature, 1.0 at the first. The square roots of
            the temperatures when left out. Only on `Real`; elsewhere it is 1 at every temperature.

    Raises:
        ValueError: If the temperatures do not start at 1.0 and ascend, or there is not one positive scale for each.
        TypeError: If the kernel changes the temperature itself, or runs on threads.

    References:
        Okabe, Kawata, Okamoto & Mikami (2001), Replica-exchange Monte Carlo method for the isobaric-isothermal
        ensemble, doi:10.1016/S0009-2614(01)00055-0 (even and odd pairs in turn)
        Syed, Bouchard-Côté, Deligiannidis & Doucet (2021), Non-reversible parallel tempering: a scalable highly
        parallel MCMC scheme, arXiv:1905.02939

    Example:
        >>> from erg.energies import GaussianMixture
        >>> from erg.samplers import chain, mala
        >>> rng = torch.Generator().manual_seed(0)
        >>> two = GaussianMixture.isotropic(torch.tensor([[-8.0], [8.0]]))
        >>> steps = chain(replica_exchange(mala(0.5), [1.0, 4.0, 16.0, 64.0]), two, torch.full((100, 1), 8.0), rng)
        >>> for _ in range(200):
        ...     state, acceptance = next(steps)
        >>> bool((state.x < 0).any()), state.replicas.shape
        (True, torch.Size([100, 4, 1]))
    """

    kernel: Kernel
    temperatures: tuple[float, ...]
    scales: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        rungs = rungs_of(self.temperatures, of="ReplicaExchange", strictly=True)
        object.__setattr__(self, "temperatures", rungs)
        refuse_inside(self.kernel, ReplicaExchange, Annealed, Parallel, of="ReplicaExchange")
        if self.scales is None:
            return
        good = all(0 < scale < math.inf for scale in self.scales)
        if len(self.scales) != len(rungs) or self.scales[0] != 1.0 or not good:
            raise ValueError(
                f"ReplicaExchange needs one positive, finite scale for each of its {len(rungs)} temperatures, 1.0 "
                f"for the first, but got {self.scales}; leave them out for the square roots of the temperatures."
            )

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Exchanged:
        """Start all replicas of a chain at its `x`."""
        return self.start(energy, x[:, None].expand(-1, len(self.temperatures), *x.shape[1:]))

    def start(self, energy: EnergyLike, replicas: Float[Tensor, "batch temperatures *event"]) -> Exchanged:
        """Start every replica at its own place.

        Raises:
            ValueError: If there is not one replica for each temperature, or scales were given off the real numbers.
        """
        count, support = len(self.temperatures), support_of(energy)
        if replicas.ndim < 2 or replicas.shape[1] != count:
            raise ValueError(
                f"Replicas are of shape (batch, {count}, *event), one for each temperature, but got "
                f"{tuple(replicas.shape)}; repeat a state for every temperature, or use the kernel without replicas."
            )
        if self.scales is not None and not isinstance(support, Real):
            raise ValueError(f"Scales are for energies on Real, but this one lives on {support}; leave them out.")
        x = replicas.flatten(0, 1)
        temperature, scale = self._units(support, x)
        zeros = torch.zeros(len(replicas), count, device=x.device)
        return Exchanged(
            self.kernel.init(self._view(energy, temperature, scale, x), x / rows.spread(scale, x)),
            scale.unflatten(0, (len(replicas), count)),
            zeros[:, 1:].clone(),
            zeros,
            torch.zeros(len(replicas), dtype=torch.long, device=x.device),
        )

    def step(self, energy: EnergyLike, state: Exchanged, rng: Rng) -> tuple[Exchanged, Float[Tensor, " batch"]]:
        """One step of the kernel at every temperature, and one offer to every other pair."""
        shape = tuple(state.scales.shape)
        temperature, scale = self._units(support_of(energy), state.inner.x)
        view = self._view(energy, temperature, scale, state.inner.x)
        inner, acceptance = self.kernel.step(view, state.inner, Grouped(rng, len(self.temperatures)))
        acceptance = acceptance.unflatten(0, shape)
        energies = (energies_of(view, inner) * temperature).unflatten(0, shape)
        probability = self._swap_probability(energies)
        pairs = torch.arange(probability.shape[1], device=probability.device)
        offered = pairs % 2 == state.steps[:, None] % 2
        swapped = (draws.uniform(probability, rng) < probability) & offered
        after = Exchanged(
            self._swap(inner, swapped, temperature, scale),
            state.scales,
            state.rejected + ((1 - probability) * offered).to(state.rejected.dtype),
            state.accepted + acceptance.to(state.accepted.dtype),
            state.steps + 1,
        )
        return after, acceptance[:, 0]

    def adapted(self, state: Any) -> "ReplicaExchange":
        """The same kernel on a ladder between the same ends with equal swap rates.

        Units of length change with it: where the kernel accepts less than at the temperature 1 its steps become
        smaller, where it accepts more they become larger. To be repeated, with more steps each time.
        """
        kernel = self.kernel.adapted(state.inner) if isinstance(self.kernel, Adaptive) else self.kernel
        rejection = state.rejection
        if not bool(rejection.isfinite().all()):
            return replace(self, kernel=kernel)
        temperatures = equalised(self.temperatures, rejection.tolist())
        scales = self._adapted_scales(state, temperatures)
        return replace(self, kernel=kernel, temperatures=temperatures, scales=scales)

    @property
    def count(self) -> int:
        """How many replicas a chain has."""
        return len(self.temperatures)

    def _units(self, support: Support, z: Float[Tensor, "rows *event"]) -> tuple[Tensor, Tensor]:
        """The temperature and the unit of length of each row."""
        chains = len(z) // len(self.temperatures)
        scales = self.scales or tuple(scale_at(temperature, support) for temperature in self.temperatures)
        wide = z.dtype if z.dtype == torch.float64 else torch.float32
        temperature = torch.tensor(self.temperatures, dtype=wide, device=z.device)
        return temperature.repeat(chains), torch.tensor(scales, dtype=z.dtype, device=z.device).repeat(chains)

    def _view(self, energy: EnergyLike, temperature: Tensor, scale: Tensor, z: Tensor) -> Tempered:
        several = repeated(energy, len(self.temperatures), event=z.ndim - 1)
        return Tempered(several, support_of(energy), temperature, scale)

    def _swap_probability(self, energies: Float[Tensor, "batch temperatures"]) -> Float[Tensor, "batch pairs"]:
        inverse = 1 / torch.tensor(self.temperatures, dtype=energies.dtype, device=energies.device)
        # A replica at infinite energy, or at none, gives way to any other.
        energies = torch.where(energies.isfinite(), energies, torch.inf)
        log_ratio = (inverse[:-1] - inverse[1:]) * (energies[:, :-1] - energies[:, 1:])
        return log_ratio.exp().clamp(max=1.0).nan_to_num(nan=0.0)

    def _swap(self, inner: Any, swapped: Bool[Tensor, "batch pairs"], temperature: Tensor, scale: Tensor) -> Any:
        """The state with the rows of swapped pairs exchanged, each brought to the temperature of its new place."""
        step = pad(swapped.long(), (0, 1)) - pad(swapped.long(), (1, 0))
        source = torch.arange(step.numel(), device=step.device) + step.flatten()
        to_here = rescaling(temperature[source] / temperature, scale[source] / scale)
        exchange = Change(
            lambda x: to_here.x(x[source]),
            lambda energy: to_here.energy(energy[source]),
            lambda gradient: to_here.gradient(gradient[source]),
        )
        return changed(inner, exchange)

    def _adapted_scales(self, state: Any, temperatures: tuple[float, ...]) -> tuple[float, ...] | None:
        import numpy as np

        scales = state.scales[0].double().cpu()
        if self.scales is None and bool((scales == 1).all()):
            return None  # off the real numbers there are none
        acceptance = (state.accepted.double().sum(0) / state.steps.sum()).cpu()
        logs = scales.log() + acceptance - acceptance[0]
        moved = np.interp(np.log(temperatures), np.log(self.temperatures), logs.numpy())
        return (1.0, *np.exp(moved[1:]).tolist())


class Together(NamedTuple):
    """The state of replica exchange with all replicas as its position."""

    inner: Any

    @property
    def x(self) -> Float[Tensor, "batch temperatures *event"]:
        """All replicas of each chain, the cold one first."""
        return self.inner.replicas


@dataclass(frozen=True)
class WithReplicas(Kernel):
    """An exchange whose position is that of all replicas, so that `sample` starts from them and returns them.

    Args:
        kernel: The exchange of replicas.
    """

    kernel: "Exchange"
    extra_axes: ClassVar[int] = 1

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch temperatures *event"]) -> Together:
        """Start every replica at its own place."""
        return Together(self.kernel.start(energy, x))

    def step(self, energy: EnergyLike, state: Together, rng: Rng) -> tuple[Together, Float[Tensor, " batch"]]:
        """One step of replica exchange."""
        inner, acceptance = self.kernel.step(energy, state.inner, rng)
        return Together(inner), acceptance


def replica_exchange(kernel: Kernel, temperatures: Iterable[float]) -> ReplicaExchange:
    """Parallel tempering around any kernel; see `ReplicaExchange`.

    Example:
        >>> from erg.samplers import ladder, mala
        >>> replica_exchange(mala(0.5), ladder(100.0, 5)).temperatures[2]
        10.0
    """
    return ReplicaExchange(kernel, rungs_of(temperatures, of="ReplicaExchange", strictly=True))
