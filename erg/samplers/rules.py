r"""Rules turn a move into a kernel: take it as it comes, or test it.

.. math:: a = \min\left(1, \frac{e^{-E(x')}\, q(x \mid x')}{e^{-E(x)}\, q(x' \mid x)}\right)

`Unadjusted` keeps the bias of its move and evaluates once per step. `Metropolis` removes it with the
test above, one decision per row, and keeps the energy and gradient of where each row stands, so that
it, too, evaluates once per step.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import evaluate, evaluate_energy
from erg.roles import Evaluated, Kernel, Move, Placeable, Proposal
from erg.support import DISCRETE, Box, Real


class Position(NamedTuple):
    """A state that is only a position."""

    x: Float[Tensor, "batch *event"]


@dataclass(frozen=True)
class Unadjusted(Kernel):
    """Makes every proposed move. On a `Box` the move is projected back onto it.

    The acceptance is 1 where the energy was finite and 0 where it was not: a row that has left for
    infinity shows there.

    Args:
        move: Where to go.

    Raises:
        TypeError: If `move` cannot propose.
    """

    move: Move
    invariant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.move, Move):
            raise TypeError(f"Unadjusted needs a move with propose(), but got {type(self.move).__name__}.")

    def init(self, energy: Any, x: Float[Tensor, "batch *event"]) -> Position:
        """Start at `x`, if this kernel moves where the energy lives."""
        check_support(self.move, energy)
        check_start(energy, x)
        return Position(x)

    def step(self, energy: Any, state: Position, rng: Rng) -> tuple[Position, Float[Tensor, " batch"]]:
        """One evaluation, one move."""
        support = support_of(energy)
        move = placed(self.move, support)
        here = _evaluate(move, energy, state.x)
        x = move.propose(here, rng)
        if isinstance(support, Box):
            x = x.clamp(support.low, support.high)
        return Position(x), here.energy.isfinite().float()


@dataclass(frozen=True)
class Metropolis(Kernel):
    """Accepts or rejects every row by the Metropolis-Hastings ratio: exp(-E) is exactly stationary.

    A proposal with a non-finite energy or outside of a `Box` is rejected; a row that starts at a
    non-finite energy takes the first finite one it is offered, and one that starts outside of a `Box` is
    projected onto it. Energy differences are taken in float32 or better.

    Args:
        proposal: Where to go, with its density.

    Raises:
        TypeError: If `proposal` has no density.

    References:
        Hastings (1970), Monte Carlo sampling methods using Markov chains, doi:10.1093/biomet/57.1.97
    """

    proposal: Proposal

    def __post_init__(self) -> None:
        if not isinstance(self.proposal, Proposal):
            raise TypeError(
                f"Metropolis needs a proposal with propose() and log_prob(), but "
                f"{type(self.proposal).__name__} has no density; use Unadjusted."
            )

    def init(self, energy: Any, x: Float[Tensor, "batch *event"]) -> Evaluated:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self.proposal, energy)
        check_start(energy, x)
        start = _evaluate(self.proposal, energy, projected(energy, x))
        if start.gradient is None:
            return start
        # Without a slope there the row walks at random until it finds a finite energy; a NaN would hold it for ever.
        return start._replace(gradient=start.gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))

    def step(self, energy: Any, state: Evaluated, rng: Rng) -> tuple[Evaluated, Float[Tensor, " batch"]]:
        """One proposal, one evaluation, one decision per row."""
        support = support_of(energy)
        proposal = placed(self.proposal, support)
        target = _evaluate(proposal, energy, proposal.propose(state, rng))
        log_ratio = (
            precise(state.energy)
            - precise(target.energy)
            + precise(proposal.log_prob(target, state))
            - precise(proposal.log_prob(state, target))
        )
        log_ratio = torch.where(state.energy.isfinite(), log_ratio, torch.inf)
        possible = target.energy.isfinite()
        if isinstance(support, Box):
            possible = possible & support.contains(target.x)
        probability = torch.where(possible, log_ratio.exp().clamp(max=1.0), 0.0).nan_to_num(nan=0.0)
        accepted = draws.uniform(probability, rng) < probability
        return choose(accepted, target, state), probability


def choose(accepted: Tensor, target: Evaluated, source: Evaluated) -> Evaluated:
    """Rows of `target` where accepted, of `source` elsewhere."""
    gradient = None
    if target.gradient is not None and source.gradient is not None:
        gradient = rows.where(accepted, target.gradient, source.gradient)
    return Evaluated(
        rows.where(accepted, target.x, source.x), rows.where(accepted, target.energy, source.energy), gradient
    )


def support_of(energy: Any) -> Any:
    """The energy's support; a plain closure lives on the real numbers."""
    return getattr(energy, "support", Real())


def placed(move: Any, support: Any) -> Any:
    """The move as it is written for `support`."""
    return move.on(support) if isinstance(move, Placeable) else move


def check_support(move: Any, energy: Any) -> None:
    """Refuse an energy that lives where a move, or a kernel that is its own move, does not go.

    Raises:
        TypeError: With the kernels to use instead.
    """
    support = support_of(energy)
    if not isinstance(support, move.moves_on):
        raise TypeError(
            f"{type(move).__name__} moves on {_listed(move.moves_on)}, but this energy lives on {support}. "
            f"Use {_advice(move, support)}."
        )
    placed(move, support)


def check_start(energy: Any, x: Float[Tensor, "batch *event"]) -> None:
    """Refuse states that are not on a discrete support: no move would bring them there.

    Raises:
        ValueError: If a state has an entry that the support does not allow.
    """
    support = support_of(energy)
    if isinstance(support, DISCRETE) and not bool(support.contains(x).all()):
        raise ValueError(
            f"Chains on {support} start at states that lie there, but some of these do not; "
            f"draw them by {support}.initial({tuple(x.shape)})."
        )


def projected(energy: Any, x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
    """`x` on the `Box` of the energy, if it lives on one: a test that rejects what is outside would hold it there."""
    support = support_of(energy)
    return x.clamp(support.low, support.high) if isinstance(support, Box) else x


def precise(value: Tensor) -> Tensor:
    """The value in float32 or better, for differences and for uniform noise that decides."""
    return value if value.dtype == torch.float64 else value.float()


def _evaluate(move: Move, energy: Any, x: Tensor) -> Evaluated:
    return evaluate(energy, x) if move.needs_gradient else evaluate_energy(energy, x)


def _listed(places: tuple[type, ...]) -> str:
    *others, last = (place.__name__ for place in places)
    return f"{', '.join(others)} or {last}" if others else last


def _advice(move: Any, support: Any) -> str:
    if isinstance(support, DISCRETE):
        return "dmala() or gibbs()"
    if isinstance(support, Real) and all(place in DISCRETE for place in move.moves_on):
        return "mala() or random_walk(), or say where x lives, as by Neural(function, support=Binary())"
    return "mala() or random_walk()"
