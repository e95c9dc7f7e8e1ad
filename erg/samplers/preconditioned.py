r"""Other coordinates for a kernel: the state divided by a scale for each entry.

With :math:`x = s \odot z` a kernel moves z on the energy :math:`E(s \odot z)`. This is what a diagonal mass
matrix does, for every kernel alike: the inverse mass of entry i is :math:`s_i^2`. The change of volume is
constant, so exp(-E) stays the law of x.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.composition import check_kernel
from erg.samplers.parts import Caller
from erg.samplers.rules import support_of
from erg.support import Real


class Whitened(NamedTuple):
    """The inner kernel's state, in the coordinates z."""

    inner: Any
    scale: Tensor

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.inner.x * self.scale.to(self.inner.x.dtype)


@dataclass(frozen=True)
class Preconditioned(Kernel):
    """Runs a kernel in units of a scale for each entry: a diagonal mass matrix for any kernel.

    Args:
        kernel: What moves, with step sizes in units of the scale.
        scale: The standard deviations of the law, as well as they are known: one, or an event's shape. A number
            becomes a tensor.

    Raises:
        ValueError: If a scale is not positive.
        TypeError: At `init`, if the energy does not live on `Real`.

    Example:
        >>> from erg.samplers import mala
        >>> kernel = Preconditioned(mala(0.5), torch.tensor([1.0, 100.0]))
    """

    kernel: Kernel
    scale: Any

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="Preconditioned")
        rows.positive("scale", self.scale, of=Preconditioned)
        object.__setattr__(self, "scale", torch.as_tensor(self.scale))

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Whitened:
        """Start at `x`.

        Raises:
            ValueError: If the scale does not broadcast to the event's shape.
        """
        support = support_of(energy)
        if not isinstance(support, Real):
            raise TypeError(
                f"Preconditioned moves on Real, but this energy lives on {support}; use the kernel inside it alone."
            )
        check_scale(self.scale, x.shape[1:])
        return Whitened(self.kernel.init(self._seen(energy), x / self.scale.to(x.dtype)), self.scale)

    def step(self, energy: EnergyLike, state: Whitened, rng: Rng) -> tuple[Whitened, Float[Tensor, " batch"]]:
        """One step of the kernel."""
        inner, acceptance = self.kernel.step(self._seen(energy), state.inner, rng)
        return Whitened(inner, state.scale), acceptance

    def walk(
        self, energy: EnergyLike, state: Whitened, rng: Rng, call: Caller
    ) -> tuple[Whitened, Float[Tensor, " batch"]]:
        """One step of a kernel that walks over parts."""
        kernel: Any = self.kernel
        inner, acceptance = kernel.walk(self._seen(energy), state.inner, rng, call)
        return Whitened(inner, state.scale), acceptance

    def _seen(self, energy: EnergyLike) -> "Scaled":
        return Scaled(energy, self.scale)


@dataclass(frozen=True)
class Scaled:
    """The energy as a function of z = x / scale, on the real numbers."""

    energy: EnergyLike
    scale: Tensor
    support: ClassVar[Real] = Real()

    def __call__(self, z: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        return self.energy(z * self.scale.to(z.dtype))


def check_scale(scale: Tensor, event: torch.Size) -> None:
    """Refuse scales that are neither one nor one for each entry.

    Raises:
        ValueError: If the scale does not broadcast to the event's shape.
    """
    if not _fits(scale.shape, event):
        raise ValueError(
            f"Preconditioned needs one scale, or one per entry, shape {tuple(event)}, but got {tuple(scale.shape)}."
        )


def _fits(shape: torch.Size, event: torch.Size) -> bool:
    try:
        return torch.broadcast_shapes(shape, event) == event
    except RuntimeError:
        return False
