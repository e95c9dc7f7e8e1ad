r"""Units of a Boltzmann machine: what one layer does under the fields that the others send it.

Given its fields f a layer has the law :math:`p(x) \propto e^{f \cdot x}` on its own set of values, and everything a
layered machine needs follows from the sum over these values: its logarithm :math:`A(f) = \log \sum_x e^{f \cdot x}`,
the mean :math:`\nabla A(f)`, and exact draws.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from erg import draws
from erg.draws import Rng
from erg.support import Binary, OneHot, Spin, Support

# softplus() is the identity beyond its threshold: there the difference is below half a digit of float64.
_LARGE = 50.0


class Units(ABC):
    """A layer of independent units, one entry of the last axis a field.

    Attributes:
        support: Where their states live.
    """

    support: ClassVar[Support]

    @abstractmethod
    def log_partition(self, field: Float[Tensor, "batch entries"]) -> Float[Tensor, " batch"]:
        """A(f), summed over the units of a row."""

    @abstractmethod
    def mean(self, field: Float[Tensor, "batch entries"]) -> Float[Tensor, "batch entries"]:
        """The expected state."""

    @abstractmethod
    def sample(self, field: Float[Tensor, "batch entries"], rng: Rng = None) -> Float[Tensor, "batch entries"]:
        """One draw for each row."""

    @abstractmethod
    def field_of(self, mean: Float[Tensor, "*entries"]) -> Float[Tensor, "*entries"]:
        """The field at which the units have this mean, kept away from the ends; the inverse of `mean`."""

    def check(self, shape: tuple[int, ...]) -> None:  # noqa: B027 (most units take any shape)
        """Refuse an event whose shape does not hold whole units."""


@dataclass(frozen=True)
class Bits(Units):
    r"""0 or 1: :math:`A(f) = \sum_i \log(1 + e^{f_i})`, mean :math:`\sigma(f)`.

    Example:
        >>> Bits().mean(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    support: ClassVar[Support] = Binary()

    def log_partition(self, field: Tensor) -> Tensor:
        """The sum of softplus(f)."""
        return softplus(field, threshold=_LARGE).sum(-1)

    def mean(self, field: Tensor) -> Tensor:
        """The probabilities of a 1."""
        return field.sigmoid()

    def sample(self, field: Tensor, rng: Rng = None) -> Tensor:
        """Coins."""
        p = _precise(field).sigmoid()
        return (draws.uniform(p, rng) < p).to(field.dtype)

    def field_of(self, mean: Tensor) -> Tensor:
        """The log odds, of a mean in [0.01, 0.99]."""
        return mean.clamp(0.01, 0.99).logit()


@dataclass(frozen=True)
class Spins(Units):
    r"""-1 or 1: :math:`A(f) = \sum_i \log 2 \cosh f_i`, mean :math:`\tanh(f)`."""

    support: ClassVar[Support] = Spin()

    def log_partition(self, field: Tensor) -> Tensor:
        """The sum of log 2 cosh(f)."""
        return (softplus(2 * field, threshold=_LARGE) - field).sum(-1)

    def mean(self, field: Tensor) -> Tensor:
        """The magnetisations."""
        return field.tanh()

    def sample(self, field: Tensor, rng: Rng = None) -> Tensor:
        """Signs."""
        p = (2 * _precise(field)).sigmoid()
        return (draws.uniform(p, rng) < p).to(field.dtype) * 2 - 1

    def field_of(self, mean: Tensor) -> Tensor:
        """The inverse hyperbolic tangent, of a mean in [-0.98, 0.98]."""
        return mean.clamp(-0.98, 0.98).atanh()


@dataclass(frozen=True)
class Categories(Units):
    r"""One of k, as a unit vector along the last axis of the event: :math:`A(f) = \sum_i \log \sum_k e^{f_{ik}}`.

    Args:
        count: k.

    Raises:
        ValueError: If there are fewer than two.
    """

    count: int
    support: ClassVar[Support] = OneHot()

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"Categories are two or more, but got count={self.count}.")

    def log_partition(self, field: Tensor) -> Tensor:
        """The sum of log-sum-exp over sites."""
        return self._sites(field).logsumexp(-1).sum(-1)

    def mean(self, field: Tensor) -> Tensor:
        """The probabilities of the categories."""
        return self._sites(field).softmax(-1).flatten(-2)

    def sample(self, field: Tensor, rng: Rng = None) -> Tensor:
        """Dice."""
        sites = self._sites(_precise(field))
        # Gumbel noise turns a maximum into a draw; 1 - u is never 0.
        gumbel = -(-(1 - draws.uniform(sites, rng)).log()).log()
        categories = torch.arange(self.count, device=field.device)
        # Not one_hot(), which looks at values: a compiled step cannot.
        return ((sites + gumbel).argmax(-1, keepdim=True) == categories).to(field.dtype).flatten(-2)

    def field_of(self, mean: Tensor) -> Tensor:
        """Log probabilities, of a mean above 0.01 / k."""
        return mean.clamp(min=0.01 / self.count).log() + math.log(self.count)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse an event whose last axis is not that of the categories.

        Raises:
            ValueError: If so.
        """
        if not shape or shape[-1] != self.count:
            raise ValueError(
                f"Categories({self.count}) are the last axis of an event, but this one has shape {shape}; use "
                f"Categories({shape[-1] if shape else 'k'})."
            )

    def _sites(self, field: Tensor) -> Tensor:
        return field.unflatten(-1, (-1, self.count))


def _precise(field: Tensor) -> Tensor:
    """In float32 or better: uniform numbers of 16 bits are 0 once in a few hundred draws, below any probability."""
    return field if field.dtype == torch.float64 else field.float()
