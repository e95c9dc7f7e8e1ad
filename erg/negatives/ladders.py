"""Kernels whose chains consist of replicas, within the wrappers that leave the acceptance as it is."""

from dataclasses import replace
from typing import NamedTuple

from erg.roles import Kernel
from erg.samplers.tempering.machines import MachineExchange
from erg.samplers.tempering.replicas import Exchange, ReplicaExchange
from erg.samplers.tuning.tunable import TRANSPARENT


class Ladder(NamedTuple):
    """A kernel that moves whole ladders.

    Attributes:
        kernel: Its position is that of all replicas, shape (batch, replicas, *event), the cold one first.
        replicas: How many.
    """

    kernel: Kernel
    replicas: int


def ladder_of(kernel: Kernel) -> Ladder | None:
    """The same kernel with all replicas as its position; None if its chains are single states.

    Example:
        >>> from erg.samplers import Compiled, mala, replica_exchange
        >>> ladder_of(Compiled(replica_exchange(mala(0.5), [1.0, 4.0]))).replicas
        2
    """
    if isinstance(kernel, Exchange):
        return Ladder(kernel.with_replicas(), kernel.count)
    inner = ladder_of(kernel.kernel) if isinstance(kernel, TRANSPARENT) else None
    return inner and Ladder(replace(kernel, kernel=inner.kernel), inner.replicas)  # type: ignore[call-arg, type-var]


def accepting(kernel: Kernel) -> Kernel:
    """The kernel whose acceptance `kernel` reports: that of the cold replica, if there are several."""
    while isinstance(kernel, (ReplicaExchange, MachineExchange, *TRANSPARENT)):
        kernel = kernel.kernel
    return kernel
