r"""The No-U-Turn sampler: Hamiltonian trajectories that stop where they begin to turn back.

A trajectory doubles, forwards or backwards in time by a coin, until it turns or diverges. With momenta
:math:`p_i` and :math:`\rho = \sum_i p_i`, a stretch of it turns if :math:`\rho \cdot p` is not positive at one
of its ends. All stretches of the doublings' binary tree are tried, each also in halves that reach over the
middle by one leaf. The next state is a leaf drawn with weights :math:`e^{-H}`, progressively: uniformly
within a doubling, and with a bias to the new half between doublings.

All chains grow their trees together, leaf by leaf and without recursion: a leaf closes the stretches whose
left ends are on a short stack. Every chain stops at a depth of its own; a step takes as long as its longest tree.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import EnergyLike, Evaluated, Kernel, Tuning
from erg.samplers.hamiltonian.hmc import kinetic, leapfrog, slope
from erg.samplers.rules import check_support, choose, precise, support_of
from erg.support import Box, Real, Support

_DIVERGENCE = 1000.0
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
        Phan et al. (2019), Composable effects for flexible and accelerated probabilistic programming in NumPyro,
        arXiv:1912.11554 (without recursion)

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
        if self.max_depth < 1:
            raise ValueError(f"NUTS needs a max_depth of at least 1, but got {self.max_depth}.")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Grown:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        none = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return Grown(slope(energy, x), none, none, none)

    def step(self, energy: EnergyLike, state: Grown, rng: Rng) -> tuple[Grown, Float[Tensor, " batch"]]:
        """One tree a row, and a draw from its leaves."""
        momentum = draws.normal(state.x, rng)
        # Three for each doubling: which way, which leaf, and whether to go there. Double precision, see `_pick`.
        chances = draws.uniform(state.x.new_empty(len(state.x), self.max_depth, 3, dtype=torch.float64), rng)
        field = _Field(energy, state.here, momentum, self.step_size)
        tree = _Tree.start(field, state.here, momentum)
        count = torch.zeros_like(state.leaves)
        depth, leaves, divergences, accepted = count, count, count, torch.zeros_like(field.start)
        for level, (way, which, whether) in enumerate(chances.permute(1, 2, 0)):
            forwards = way < 0.5
            branch = tree.grow(field, forwards, level, which)
            depth = depth + tree.growing
            leaves, divergences = leaves + branch.leaves, divergences + branch.diverged
            accepted = accepted + branch.accepted
            tree = tree.joined(branch, forwards, level, whether)
            if not bool(tree.growing.any()):
                break
        x, reached, gradient = tree.chosen
        assert gradient is not None  # slope() gives one
        here = Evaluated(x.reshape(state.x.shape), reached, gradient.reshape(state.x.shape))
        after = Grown(here, depth, state.leaves + leaves, state.divergences + divergences)
        return after, accepted / leaves


def nuts(step_size: float | Float[Tensor, " batch"], max_depth: int = 10) -> NUTS:
    """The No-U-Turn sampler: trajectories of the right length by themselves, the exact law; see `NUTS`."""
    return NUTS(step_size, max_depth)


class _Field:
    """The dynamics on flattened rows, and energy errors against where the step began."""

    def __init__(self, energy: EnergyLike, start: Evaluated, momentum: Tensor, step_size: float | Tensor) -> None:
        self.energy, self.event = energy, start.x.shape[1:]
        self.support: Support = support_of(energy)
        self.step_size = step_size
        inside = start.energy.isfinite()
        # A row that starts at a non-finite energy has no error to speak of.
        self.start = torch.where(inside, precise(start.energy), 0.0) + kinetic(momentum)
        self.weight = torch.where(inside, 0.0, -torch.inf).to(self.start.dtype)
        self.lowest = torch.where(inside, -_DIVERGENCE, -torch.inf)

    def __call__(self, lines: Float[Tensor, "batch entries"]) -> Float[Tensor, " batch"]:
        return self.energy(lines.reshape(len(lines), *self.event))

    def leap(self, here: Evaluated, momentum: Tensor, sign: Tensor) -> tuple[Evaluated, Tensor, Tensor]:
        """The next leaf on that side (none at the sign 0), its momentum and its log weight H_0 - H."""
        here, momentum = leapfrog(self, here, momentum, sign * self.step_size, support=self.support)
        return here, momentum, self.start - precise(here.energy) - kinetic(momentum)

    def lost(self, log_weight: Tensor) -> Bool[Tensor, " batch"]:
        """Which leaves diverged: an error above 1000, or a non-finite energy."""
        return ~((log_weight > self.lowest) & log_weight.isfinite())


class _Branch(NamedTuple):
    """What a doubling adds to a tree, in the order in which the leaves were reached."""

    first: Tensor
    last: Tensor
    rho: Tensor
    log_weight: Tensor
    chosen: Evaluated
    whole: Tensor
    leaves: Tensor
    accepted: Tensor
    diverged: Tensor


class _Tree(NamedTuple):
    """A trajectory: both its ends (position, momentum and gradient in one line), and the leaf drawn so far."""

    left: Tensor
    right: Tensor
    rho: Tensor
    log_weight: Tensor
    chosen: Evaluated
    growing: Tensor

    @classmethod
    def start(cls, field: _Field, here: Evaluated, momentum: Tensor) -> "_Tree":
        """The tree that is one leaf."""
        assert here.gradient is not None  # slope() gives one
        here, momentum = Evaluated(rows.flat(here.x), here.energy, rows.flat(here.gradient)), rows.flat(momentum)
        end = _packed(here, momentum)
        return cls(end, end, momentum, field.weight, here, torch.ones_like(here.energy, dtype=torch.bool))

    def grow(self, field: _Field, forwards: Tensor, level: int, u: Tensor) -> _Branch:
        """As many leaves again as there are, beyond one end; fewer where they turn or diverge."""
        here, momentum = _unpacked(rows.where(forwards, self.right, self.left), self.chosen.energy)
        sign = torch.where(forwards, 1.0, -1.0).to(momentum.dtype)
        chosen, growing, rho = here, self.growing, torch.zeros_like(momentum)
        log_weight, accepted = torch.full_like(field.start, -torch.inf), torch.zeros_like(field.start)
        leaves, diverged = torch.zeros_like(growing, dtype=torch.long), torch.zeros_like(growing)
        starts: list[_Start] = []
        for leaf in range(2**level):
            if leaf and _idle(growing, leaf):
                break
            previous = momentum
            # A row that is done stays where it is: its step size is 0.
            here, momentum, weight = field.leap(here, momentum, sign * growing)
            leaves = leaves + growing
            accepted = accepted + torch.where(growing, weight.clamp(max=0.0).exp(), 0.0).nan_to_num(nan=0.0)
            lost = growing & field.lost(weight)
            diverged = diverged | lost
            log_weight = torch.logaddexp(log_weight, weight)
            picked, u = _pick(u, (weight - log_weight).exp())
            chosen = choose(picked, here, chosen)
            if leaf % 2 == 0:
                starts.append(_Start(momentum, previous, rho))
            rho = rho + momentum
            growing = growing & ~lost
            if leaf % 2 == 1:
                growing = growing & ~_closing(starts, leaf, momentum, rho)
        first = starts[0].momentum
        return _Branch(first, _packed(here, momentum), rho, log_weight, chosen, growing, leaves, accepted, diverged)

    def joined(self, branch: _Branch, forwards: Tensor, level: int, u: Tensor) -> "_Tree":
        """Both together where the branch is whole; the tree as it is, and done, elsewhere."""
        inner = _momentum(rows.where(forwards, self.right, self.left))
        outer = _momentum(rows.where(forwards, self.left, self.right))
        last, rho = _momentum(branch.last), self.rho + branch.rho
        turned = _turns(rho, outer, last)
        if level:
            turned = turned | _turns(self.rho + branch.first, outer, branch.first)
            turned = turned | _turns(branch.rho + inner, inner, last)
        taken = branch.whole & (u < (branch.log_weight - self.log_weight).exp())
        return _Tree(
            rows.where(branch.whole & ~forwards, branch.last, self.left),
            rows.where(branch.whole & forwards, branch.last, self.right),
            rho,
            torch.logaddexp(self.log_weight, branch.log_weight),
            choose(taken, branch.chosen, self.chosen),
            branch.whole & ~turned,
        )


class _Start(NamedTuple):
    """Where a stretch of a branch begins: the momentum there and at the leaf before, and the sum before it."""

    momentum: Tensor
    previous: Tensor
    before: Tensor


def _closing(starts: list[_Start], leaf: int, momentum: Tensor, rho: Tensor) -> Bool[Tensor, " batch"]:
    """Whether a stretch that ends at this leaf turns. Takes the starts that are of no more use off the stack.

    Stretches of 2^k leaves end where the last k bits of the leaf's number are 1; the stack holds their starts,
    the longest stretch first.
    """
    closed = (leaf ^ (leaf + 1)).bit_length() - 1
    left = starts[-1]
    turned = _turns(rho - left.before, left.momentum, momentum)
    for middle, left in zip(starts[:-closed:-1], starts[-2 : -closed - 1 : -1], strict=True):
        turned = turned | _turns(rho - left.before, left.momentum, momentum)
        over = middle.before - left.before + middle.momentum
        turned = turned | _turns(over, left.momentum, middle.momentum)
        over = rho - middle.before + middle.previous
        turned = turned | _turns(over, middle.previous, momentum)
    del starts[len(starts) - closed + 1 :]
    return turned


def _turns(rho: Tensor, first: Tensor, last: Tensor) -> Bool[Tensor, " batch"]:
    """Whether a stretch with the momentum sum `rho` stops getting longer at one of its ends."""
    return ~(((rho * first).sum(1) > 0) & ((rho * last).sum(1) > 0))


def _pick(u: Tensor, probability: Tensor) -> tuple[Bool[Tensor, " batch"], Tensor]:
    """A choice by the uniform `u`, and what is left of it: again uniform, and independent of the choice.

    So one number serves all choices in a branch, and what a step draws has a fixed shape. The choices in a
    branch of 512 leaves use up some 37 of the 53 bits of double precision.
    """
    picked = u < probability
    return picked, torch.where(picked, u / probability, (u - probability) / (1 - probability))


def _idle(growing: Tensor, leaf: int) -> bool:
    """Whether no row grows, as far as one can ask without waiting for a device at every leaf."""
    return (growing.device.type == "cpu" or leaf % _PATIENCE == 0) and not bool(growing.any())


def _packed(here: Evaluated, momentum: Tensor) -> Tensor:
    assert here.gradient is not None  # slope() gives one
    return torch.cat([here.x, momentum, here.gradient], 1)


def _unpacked(end: Tensor, energy: Tensor) -> tuple[Evaluated, Tensor]:
    x, momentum, gradient = end.chunk(3, 1)
    return Evaluated(x, energy, gradient), momentum


def _momentum(end: Tensor) -> Tensor:
    return end.chunk(3, 1)[1]
