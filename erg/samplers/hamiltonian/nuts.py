r"""The No-U-Turn sampler: Hamiltonian trajectories that stop where they begin to turn back.

A trajectory doubles, forwards or backwards in time by a coin, until it turns or diverges; see `tree`. The next state
is a leaf drawn with weights :math:`e^{-H}`, progressively: uniformly within a doubling, and with a bias to the new
half between doublings. All chains grow their trees together, and every chain stops at a depth of its own; a step
takes as long as its longest tree.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel, Tuning
from erg.samplers.hamiltonian.hmc import slope
from erg.samplers.hamiltonian.tree import (
    Branch,
    Field,
    Stretch,
    closed,
    first_leaf,
    joined,
    opened,
    rooted,
    second_leaf,
)
from erg.samplers.parts import Caller, plain
from erg.samplers.rules import check_support, projected
from erg.support import Box, Real

# How often a device that computes behind our back is asked whether all rows are done.
_PATIENCE = 8


class Grown(NamedTuple):
    """Where each chain is, and what its trees were like.

    Attributes:
        here: The position with its energy and gradient.
        depth: Doublings in the last step.
        leaves: Gradients spent since the start of the chain.
        divergences: Trees since the start that ended at an energy error above 1000 or a non-finite energy.
    """

    here: Evaluated
    depth: Int[Tensor, " batch"]
    leaves: Int[Tensor, " batch"]
    divergences: Int[Tensor, " batch"]

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.here.x


@dataclass(frozen=True)
class NUTS(Kernel):
    r"""The No-U-Turn sampler with multinomial choice of the next state. The law is exact.

    Costs one gradient a leaf, and a tree of depth j has :math:`2^j - 1` leaves at most. The acceptance is the mean
    of :math:`\min(1, e^{H_0 - H})` over the leaves, which tells whether the step size fits. A tree ends at a leaf
    of non-finite energy, and so one that starts there takes its first leaf if that is finite. Walls of a `Box`
    reflect; see `erg.samplers.hamiltonian.hmc`.

    Args:
        step_size: h, in units of x; a number, or one per chain.
        max_depth: Doublings after which a tree ends in any case.

    Raises:
        ValueError: If `step_size` is not positive or `max_depth` is below 1.

    References:
        Hoffman & Gelman (2014), The No-U-Turn sampler, arXiv:1111.4246
        Betancourt (2017), A conceptual introduction to Hamiltonian Monte Carlo, arXiv:1701.02434

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import chain
        >>> rng = torch.Generator().manual_seed(0)
        >>> state, acceptance = next(chain(NUTS(0.5), Gaussian.standard(2), torch.zeros(3, 2), rng))
        >>> (state.leaves < 2**state.depth).all()
        tensor(True)
    """

    step_size: float | Float[Tensor, " batch"]
    max_depth: int = 10
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    tuning: ClassVar[Tuning] = Tuning("step_size", acceptance=0.8)

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=NUTS)
        rows.whole("max_depth", self.max_depth, of="NUTS")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Grown:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        none = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return Grown(slope(energy, projected(energy, x)), none, none, none)

    def step(self, energy: EnergyLike, state: Grown, rng: Rng) -> tuple[Grown, Float[Tensor, " batch"]]:
        """One tree a row, and a draw from its leaves."""
        return self.walk(energy, state, rng, plain)

    def walk(self, energy: EnergyLike, state: Grown, rng: Rng, call: Caller) -> tuple[Grown, Float[Tensor, " batch"]]:
        """A step whose parts are run by `call`."""
        momentum = draws.normal(state.x, rng)
        # Three for each doubling: which way, which leaf, and whether to go there. Double precision, see `tree`.
        chances = draws.uniform(state.x.new_empty(len(state.x), self.max_depth, 3, dtype=torch.float64), rng)
        field, tree = rooted(state.here, momentum)
        count = torch.zeros_like(state.leaves)
        depth, leaves, divergences, accepted = count, count, count, torch.zeros_like(field.start)
        for level, (way, which, whether) in enumerate(chances.permute(1, 2, 0).contiguous()):
            forwards = way < 0.5
            branch = call(opened, (), tree, field, forwards, which)
            branch, first = self._grown(energy, field, branch, 2**level, state.x.shape[1:], call)
            depth = depth + tree.growing
            leaves, divergences = leaves + branch.leaves, divergences + branch.diverged
            accepted = accepted + branch.accepted
            tree = call(joined, (), tree, branch, first, forwards, whether, several=level > 0)
            if not bool(tree.growing.any()):
                break
        x, reached, gradient = tree.chosen
        assert gradient is not None  # slope() gives one
        here = Evaluated(x.reshape(state.x.shape), reached, gradient.reshape(state.x.shape))
        after = Grown(here, depth, state.leaves + leaves, state.divergences + divergences)
        return after, accepted / leaves

    def _grown(
        self, energy: EnergyLike, field: Field, branch: Branch, size: int, event: torch.Size, call: Caller
    ) -> tuple[Branch, Stretch]:
        """The branch with `size` leaves, fewer where it turns or diverges, and the stretch that is all of it.

        Stretches of 2^k leaves end where the last k bits of the leaf's number are 1; the stack holds their starts,
        the longest stretch first.
        """
        stack: list[Stretch] = []
        for leaf in range(size):
            if leaf and _idle(branch.growing, leaf):
                break
            if leaf % 2 == 0:
                branch, begun = call(first_leaf, (self, energy), field, branch, event=event)
                stack.append(begun)
                continue
            branch = call(second_leaf, (self, energy), field, branch, stack[-1], event=event)
            for _ in range((leaf ^ (leaf + 1)).bit_length() - 2):
                middle = stack.pop()
                branch = call(closed, (), branch, stack[-1], middle)
        return branch, stack[0]


def nuts(step_size: float | Float[Tensor, " batch"], max_depth: int = 10) -> NUTS:
    """The No-U-Turn sampler: trajectories of the right length by themselves, the exact law; see `NUTS`."""
    return NUTS(step_size, max_depth)


def _idle(growing: Tensor, leaf: int) -> bool:
    """Whether no row grows, as far as one can ask without waiting for a device at every leaf."""
    return (growing.device.type == "cpu" or leaf % _PATIENCE == 0) and not bool(growing.any())
