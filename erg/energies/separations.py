r"""How the overlaps with stored patterns become an energy: the function F of a dense memory.

An overlap :math:`m_\mu = \xi_\mu \cdot s / N` is the mean over the N spins of their agreement with a pattern, 1 at
the pattern itself. See `erg.energies.hopfield`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from erg import rows


class Separation(ABC):
    """How overlaps with all patterns become an energy: the steeper, the more patterns are kept apart."""

    @property
    @abstractmethod
    def convex(self) -> bool:
        """Whether F is, so that the energy is concave and falls with all spins updated at once."""

    @abstractmethod
    def partial(self, overlaps: Float[Tensor, "batch patterns"], spins: int) -> Float[Tensor, " batch"]:
        """What some of the patterns add up to."""

    @abstractmethod
    def energy(self, partial: Float[Tensor, "batch parts"]) -> Float[Tensor, " batch"]:
        """The energy, from what all patterns add up to."""


@dataclass(frozen=True)
class Polynomial(Separation):
    r""":math:`F(m) = m^n / n`. Even powers recall a pattern and its negative alike.

    Args:
        power: n, 2 or more.

    Raises:
        ValueError: If the power is less.
    """

    power: int = 3

    def __post_init__(self) -> None:
        rows.whole("power", self.power, of=type(self).__name__, least=2)

    @property
    def convex(self) -> bool:
        """Of even powers."""
        return self.power % 2 == 0

    def partial(self, overlaps: Float[Tensor, "batch patterns"], spins: int) -> Float[Tensor, " batch"]:
        """The sum of N F."""
        return spins / self.power * overlaps.pow(self.power).sum(1)

    def energy(self, partial: Float[Tensor, "batch parts"]) -> Float[Tensor, " batch"]:
        """Minus the sum."""
        return -partial.sum(1)


@dataclass(frozen=True)
class Rectified(Polynomial):
    r""":math:`F(m) = \max(m, 0)^n / n`: what is unlike a pattern does not count."""

    @property
    def convex(self) -> bool:
        """Of every power."""
        return True

    def partial(self, overlaps: Float[Tensor, "batch patterns"], spins: int) -> Float[Tensor, " batch"]:
        """The sum of N F."""
        return super().partial(overlaps.clamp(min=0), spins)


@dataclass(frozen=True)
class Exponential(Separation):
    r""":math:`E(s) = -\frac1\beta \log \sum_\mu e^{\beta N m_\mu}`, the logarithm of a sum of exponentials.

    The sum itself overflows; its logarithm has the same minima, and falls and rises where it does.

    Args:
        sharpness: :math:`\beta`, positive. A pattern with one spin more in common weighs :math:`e^{2 \beta}` times
            as much.

    Raises:
        ValueError: If the sharpness is not positive.
    """

    sharpness: float = 1.0

    def __post_init__(self) -> None:
        rows.positive("sharpness", self.sharpness, of=Exponential)

    @property
    def convex(self) -> bool:
        """Always."""
        return True

    def partial(self, overlaps: Float[Tensor, "batch patterns"], spins: int) -> Float[Tensor, " batch"]:
        """The logarithm of the sum."""
        return (self.sharpness * spins * overlaps).logsumexp(1)

    def energy(self, partial: Float[Tensor, "batch parts"]) -> Float[Tensor, " batch"]:
        """Minus the logarithm of all sums, over the sharpness."""
        return -partial.logsumexp(1) / self.sharpness
