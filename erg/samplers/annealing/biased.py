"""Which kernels leave exp(-E) as it is, and how to ask for one that does not."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel, parts_of
from erg.samplers.tempering.replicas import ReplicaExchange, WithReplicas

_JOINT = (ReplicaExchange, WithReplicas)


@dataclass(frozen=True)
class Biased(Kernel):
    """The same kernel, by a name that owns its bias.

    Weights of annealing are right on average only if every kernel leaves its exp(-E) invariant. An unadjusted one
    does not, nor does replica exchange whose replicas all start at one state: log Z is then off by an amount that no
    number of chains removes and no standard error shows, and neither side of a bracket is a bound.

    Args:
        kernel: What moves.

    Example:
        >>> from erg.samplers import ula
        >>> kernel = Biased(ula(0.01))
    """

    kernel: Kernel

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="Biased")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Any:
        """Start at `x`."""
        return self.kernel.init(energy, x)

    def step(self, energy: EnergyLike, state: Any, rng: Rng) -> tuple[Any, Float[Tensor, " batch"]]:
        """One step of the kernel."""
        return self.kernel.step(energy, state, rng)


def bias_of(kernel: Any) -> str | None:
    """The name of the part of `kernel` that does not leave exp(-E) invariant; None if every part does.

    Annealing starts its kernel anew at every beta. Replica exchange would then begin with all replicas at one
    state: it keeps their joint law, and not that of the cold one alone.
    """
    parts = (part for part in parts_of(kernel) if isinstance(part, Kernel))
    return next((type(part).__name__ for part in parts if not part.invariant or isinstance(part, _JOINT)), None)


def refuse_bias(kernel: Kernel, *, of: str) -> bool:
    """Refuse a kernel with a bias that is not wrapped in `Biased`; whether there is one that is.

    Raises:
        TypeError: With what to use instead.
    """
    bias = bias_of(kernel)
    if bias is not None and not isinstance(kernel, Biased):
        raise TypeError(
            f"{of} needs a kernel that leaves exp(-E) invariant, but {bias} does not: log Z would be off by an "
            "amount that no number of chains removes; use an adjusted kernel such as mala(), or accept the bias by "
            "Biased(kernel)."
        )
    return bias is not None
