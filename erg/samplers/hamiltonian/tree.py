r"""Trajectories that double until they turn, all chains together, leaf by leaf and without recursion.

A trajectory with momenta :math:`p_i` and :math:`\rho = \sum_i p_i` turns where :math:`\rho \cdot p` is not positive
at one of its ends. All stretches of the doublings' binary tree are tried, each also in halves that reach over the
middle by one leaf. A leaf closes the stretches whose left ends are on a short stack. Every chain stops where its
own tree turns or diverges, and keeps still until the last one is done.

What is computed here depends on values nowhere: who calls decides by values, `Compiled` makes graphs of the parts.
Rows are flat: (batch, entries).

References:
    Hoffman & Gelman (2014), The No-U-Turn sampler, arXiv:1111.4246
    Betancourt (2017), A conceptual introduction to Hamiltonian Monte Carlo, arXiv:1701.02434
    Phan et al. (2019), Composable effects for flexible and accelerated probabilistic programming in NumPyro,
    arXiv:1912.11554 (without recursion)
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erg import rows
from erg.roles import EnergyLike, Evaluated
from erg.samplers.hamiltonian.hmc import kinetic, leapfrog
from erg.samplers.rules import choose, precise, support_of

_DIVERGENCE = 1000.0


class Field(NamedTuple):
    """What leaves of a tree are compared with.

    Attributes:
        start: H_0, where the step began; the kinetic part alone for a row of non-finite energy.
        weight: The log weight of the start: 0, or minus infinity for such a row.
        lowest: The log weight below which a leaf has diverged.
    """

    start: Float[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    lowest: Float[Tensor, " batch"]


class Tree(NamedTuple):
    """A trajectory: both its ends (position, momentum and gradient in one line), and the leaf drawn so far."""

    left: Float[Tensor, "batch three_times_entries"]
    right: Float[Tensor, "batch three_times_entries"]
    rho: Float[Tensor, "batch entries"]
    log_weight: Float[Tensor, " batch"]
    chosen: Evaluated
    growing: Bool[Tensor, " batch"]


class Branch(NamedTuple):
    """What a doubling adds to a tree, as far as it has grown.

    Attributes:
        here: The last leaf.
        momentum: There.
        sign: 1 forwards in time, -1 backwards.
        rho: The sum of momenta.
        log_weight: Of all leaves.
        chosen: One of them.
        u: What is left of the uniform number that chooses.
        growing: Which rows go on.
        leaves: How many there are.
        accepted: The sum over leaves of min(1, weight).
        diverged: Where it ended at an energy error above 1000 or a non-finite energy.
    """

    here: Evaluated
    momentum: Float[Tensor, "batch entries"]
    sign: Float[Tensor, " batch"]
    rho: Float[Tensor, "batch entries"]
    log_weight: Float[Tensor, " batch"]
    chosen: Evaluated
    u: Float[Tensor, " batch"]
    growing: Bool[Tensor, " batch"]
    leaves: Int[Tensor, " batch"]
    accepted: Float[Tensor, " batch"]
    diverged: Bool[Tensor, " batch"]


class Stretch(NamedTuple):
    """Where a stretch of a branch begins: the momentum there and at the leaf before, and the sum before it."""

    momentum: Float[Tensor, "batch entries"]
    previous: Float[Tensor, "batch entries"]
    before: Float[Tensor, "batch entries"]


def rooted(here: Evaluated, momentum: Float[Tensor, "batch *event"]) -> tuple[Field, Tree]:
    """The tree that is one leaf."""
    assert here.gradient is not None  # slope() gives one
    here, momentum = Evaluated(rows.flat(here.x), here.energy, rows.flat(here.gradient)), rows.flat(momentum)
    inside = here.energy.isfinite()
    # A row that starts at a non-finite energy has no error to speak of.
    start = torch.where(inside, precise(here.energy), 0.0) + kinetic(momentum)
    field = Field(
        start,
        torch.where(inside, 0.0, -torch.inf).to(start.dtype),
        torch.where(inside, -_DIVERGENCE, -torch.inf).to(start.dtype),
    )
    end = _packed(here, momentum)
    return field, Tree(end, end, momentum, field.weight, here, torch.ones_like(inside))


def opened(tree: Tree, field: Field, forwards: Bool[Tensor, " batch"], u: Float[Tensor, " batch"]) -> Branch:
    """A branch without leaves, beyond one end of the tree."""
    here, momentum = _unpacked(rows.where(forwards, tree.right, tree.left), tree.chosen.energy)
    sign = torch.where(forwards, 1.0, -1.0).to(momentum.dtype)
    zero = torch.zeros_like(field.start)
    none = torch.zeros_like(tree.growing)
    nothing = torch.zeros_like(momentum)
    leaves = torch.zeros_like(tree.growing, dtype=torch.long)
    return Branch(here, momentum, sign, nothing, zero - torch.inf, here, u, tree.growing, leaves, zero, none)


def first_leaf(
    kernel: Any, energy: EnergyLike, field: Field, branch: Branch, *, event: torch.Size
) -> tuple[Branch, Stretch]:
    """One leaf more, and the stretch that begins with it."""
    longer = _longer(kernel, energy, field, branch, event=event)
    return longer, Stretch(longer.momentum, branch.momentum, branch.rho)


def second_leaf(
    kernel: Any, energy: EnergyLike, field: Field, branch: Branch, stretch: Stretch, *, event: torch.Size
) -> Branch:
    """One leaf more, which closes the stretch that began with the one before."""
    longer = _longer(kernel, energy, field, branch, event=event)
    turned = _turns(longer.rho - stretch.before, stretch.momentum, longer.momentum)
    return longer._replace(growing=longer.growing & ~turned)


def closed(branch: Branch, left: Stretch, middle: Stretch) -> Branch:
    """Closes the stretch that begins at `left`, whose second half begins at `middle`."""
    turned = _turns(branch.rho - left.before, left.momentum, branch.momentum)
    over = middle.before - left.before + middle.momentum
    turned = turned | _turns(over, left.momentum, middle.momentum)
    over = branch.rho - middle.before + middle.previous
    turned = turned | _turns(over, middle.previous, branch.momentum)
    return branch._replace(growing=branch.growing & ~turned)


def joined(
    tree: Tree, branch: Branch, first: Stretch, forwards: Bool[Tensor, " batch"], u: Tensor, *, several: bool
) -> Tree:
    """Both together where the branch is whole; the tree as it is, and done, elsewhere.

    Args:
        tree: Before.
        branch: All its leaves.
        first: The stretch that is the whole branch.
        forwards: On which side it is.
        u: Decides whether its leaf is taken.
        several: Whether tree and branch have more than one leaf.
    """
    inner = _momentum(rows.where(forwards, tree.right, tree.left))
    outer = _momentum(rows.where(forwards, tree.left, tree.right))
    whole, rho = branch.growing, tree.rho + branch.rho
    turned = _turns(rho, outer, branch.momentum)
    if several:
        turned = turned | _turns(tree.rho + first.momentum, outer, first.momentum)
        turned = turned | _turns(branch.rho + inner, inner, branch.momentum)
    taken = whole & (u < (branch.log_weight - tree.log_weight).exp())
    last = _packed(branch.here, branch.momentum)
    return Tree(
        rows.where(whole & ~forwards, last, tree.left),
        rows.where(whole & forwards, last, tree.right),
        rho,
        torch.logaddexp(tree.log_weight, branch.log_weight),
        choose(taken, branch.chosen, tree.chosen),
        whole & ~turned,
    )


def _longer(kernel: Any, energy: EnergyLike, field: Field, branch: Branch, *, event: torch.Size) -> Branch:
    def of_lines(lines: Float[Tensor, "batch entries"]) -> Float[Tensor, " batch"]:
        return energy(lines.reshape(len(lines), *event))

    growing = branch.growing
    # A row that is done stays where it is: its step size is 0.
    here, momentum = leapfrog(
        of_lines,
        branch.here,
        branch.momentum,
        branch.sign * growing * kernel.step_size,
        support=support_of(energy),
    )
    weight = field.start - precise(here.energy) - kinetic(momentum)
    lost = growing & ~((weight > field.lowest) & weight.isfinite())
    log_weight = torch.logaddexp(branch.log_weight, weight)
    picked, u = _pick(branch.u, (weight - log_weight).exp())
    return Branch(
        here,
        momentum,
        branch.sign,
        branch.rho + momentum,
        log_weight,
        choose(picked, here, branch.chosen),
        u,
        growing & ~lost,
        branch.leaves + growing,
        branch.accepted + torch.where(growing, weight.clamp(max=0.0).exp(), 0.0).nan_to_num(nan=0.0),
        branch.diverged | lost,
    )


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


def _packed(here: Evaluated, momentum: Tensor) -> Tensor:
    assert here.gradient is not None  # slope() gives one
    return torch.cat([here.x, momentum, here.gradient], 1)


def _unpacked(end: Tensor, energy: Tensor) -> tuple[Evaluated, Tensor]:
    x, momentum, gradient = end.chunk(3, 1)
    return Evaluated(x, energy, gradient), momentum


def _momentum(end: Tensor) -> Tensor:
    return end.chunk(3, 1)[1]
