"""Moves that need no gradient: a step from where a row is, or a draw that does not look at it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import Evaluated, Tuning
from erg.samplers.rules import Metropolis, precise, support_of
from erg.support import DISCRETE, Box, Real, Support


@dataclass(frozen=True)
class RandomWalk:
    r"""Proposes a Gaussian step: :math:`x' = x + \sigma\,\xi`.

    Args:
        scale: sigma, in units of x; a number, or one per chain. In d dimensions about 2.4 / sqrt(d)
            standard deviations of the target mix fastest.

    Raises:
        ValueError: If `scale` is not positive.

    References:
        Gelman, Roberts & Gilks (1996), Efficient Metropolis jumping rules
    """

    scale: float | Float[Tensor, " batch"]
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    needs_gradient: ClassVar[bool] = False
    tuning: ClassVar[Tuning] = Tuning("scale", acceptance=0.234)

    def __post_init__(self) -> None:
        rows.positive("scale", self.scale, of=RandomWalk)

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One candidate per row."""
        return source.x + rows.spread(self.scale, source.x) * draws.normal(source.x, rng)

    def log_prob(self, source: Evaluated, target: Evaluated) -> Float[Tensor, " batch"]:
        """Zero: the move is symmetric, and constants do not matter."""
        return torch.zeros_like(source.energy)


def random_walk(scale: float | Float[Tensor, " batch"]) -> Metropolis:
    """Random-walk Metropolis: one energy per step, no gradient, the exact law."""
    return Metropolis(RandomWalk(scale))


@runtime_checkable
class Samplable(Protocol):
    """A law that can be drawn from and scored: every `Reference`, and any other energy with exact samples."""

    def exact_samples(self, n: int, rng: Any = None) -> Any:
        """Independent draws, of shape (n, *event)."""
        ...

    def __call__(self, x: Any) -> Any:
        """Minus the log of the density, up to a constant."""
        ...


@dataclass(frozen=True)
class Independence:
    """Proposes a draw from a fixed law, wherever the row is.

    Chains mix fast if the law is close to the target and has heavier tails, and hardly at all in many dimensions.

    Args:
        reference: The law, on the support of the energy that is sampled, or on one that contains it.

    Raises:
        TypeError: If `reference` has no exact samples; at `init` if its support does not contain the energy's.

    References:
        Hastings (1970), Monte Carlo sampling methods using Markov chains, doi:10.1093/biomet/57.1.97
        Tierney (1994), Markov chains for exploring posterior distributions, doi:10.1214/aos/1176325750
    """

    reference: Samplable
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box, *DISCRETE)
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.reference, Samplable):
            raise TypeError(
                "Independence needs a law with exact_samples() that scores states, but got "
                f"{type(self.reference).__name__}; pass a Gaussian, a GaussianMixture, Independent or Uniform."
            )

    def on(self, support: Support) -> "Independence":
        """The same move, if its draws reach every state of `support`."""
        own = support_of(self.reference)
        if not _contains(own, support):
            raise TypeError(
                f"Independence draws on {own}, but this energy lives on {support}; "
                "propose from a law whose support contains the energy's."
            )
        return self

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One draw per row.

        Raises:
            ValueError: If the draws are not of the shape of the states.
        """
        with torch.no_grad():
            x = self.reference.exact_samples(len(source.x), rng).to(source.x)
        if x.shape != source.x.shape:
            raise ValueError(
                f"Independence draws events of shape {tuple(x.shape[1:])}, but the chains are of shape "
                f"{tuple(source.x.shape)}; propose from a law on events of shape {tuple(source.x.shape[1:])}."
            )
        return x

    def log_prob(self, source: Evaluated, target: Evaluated) -> Float[Tensor, " batch"]:
        """log q(target), up to a constant: the source does not matter."""
        with torch.no_grad():
            return -self.reference(precise(target.x))


def _contains(outer: Support, inner: Support) -> bool:
    """Whether states of one support are states of the other."""
    if isinstance(outer, Box) and isinstance(inner, Box):
        return outer.low <= inner.low and inner.high <= outer.high
    return outer == inner or (isinstance(outer, Real) and isinstance(inner, Box))


def independence(proposal: Samplable) -> Metropolis:
    """Metropolis-Hastings with independent proposals: one energy per step, no gradient, the exact law.

    Example:
        >>> from erg.energies import Gaussian
        >>> kernel = independence(Gaussian.isotropic(torch.zeros(2), variance=4.0))
    """
    return Metropolis(Independence(proposal))
