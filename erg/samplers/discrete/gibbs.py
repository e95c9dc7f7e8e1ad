r"""Gibbs sampling: draw some entries from their exact law given the others. Nothing is ever rejected.

For any energy on a discrete support, a few sites can be drawn at once by scoring all their settings. Energies of
two groups of variables that are independent given each other, as in a restricted Boltzmann machine, offer
something better: their conditionals, which move everything at once.
"""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import evaluate_energy
from erg.energies.free import Reduced
from erg.roles import Conditionals, EnergyLike, Evaluated, Kernel
from erg.samplers.discrete.sites import Discrete, gumbel, indicator, other
from erg.samplers.rules import Position, check_start, check_support, precise, support_of
from erg.support import DISCRETE, OneHot

_SETTINGS = 4096


@dataclass(frozen=True)
class Gibbs(Kernel):
    r"""Draws a few sites of every row, chosen at random, from their exact law given the others.

    A block of k sites with C values each has :math:`C^k` settings. The energy of the current one is kept, so a step
    costs :math:`C^k - 1` energies and no gradient. Every row has its own sites. The acceptance is 1, or 0 where no
    setting has a finite energy.

    Args:
        block: k, the number of sites that are drawn together.

    Raises:
        ValueError: If `block` is less than 1; at `init` if a state has fewer sites, or the block too many settings.

    References:
        Geman & Geman (1984), Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images,
        doi:10.1109/TPAMI.1984.4767596

    Example:
        >>> from erg.energies import Independent
        >>> from erg.samplers import sample
        >>> from erg.support import Spin
        >>> coins = Independent(torch.tensor([0.0, 2.0, -2.0]), Spin())
        >>> sample(Gibbs(block=2), coins, -torch.ones(4, 3), steps=10).shape
        torch.Size([4, 3])
    """

    block: int = 1
    moves_on: ClassVar[tuple[type, ...]] = DISCRETE

    def __post_init__(self) -> None:
        rows.whole("block", self.block, of="Gibbs")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Evaluated:
        """Evaluate at `x`, if the energy is discrete."""
        check_support(self, energy)
        check_start(energy, x)
        sites, values = _extent(x, support_of(energy))
        if self.block > sites:
            raise ValueError(
                f"Gibbs draws blocks of {self.block} sites, but these states have {sites}; "
                f"use a block of at most {sites}."
            )
        if values**self.block > _SETTINGS:
            raise ValueError(
                f"A block of {self.block} sites with {values} values each has {values}^{self.block} settings, and "
                f"Gibbs scores at most {_SETTINGS} in a step; use a smaller block."
            )
        return evaluate_energy(energy, x)

    def step(self, energy: EnergyLike, state: Evaluated, rng: Rng) -> tuple[Evaluated, Float[Tensor, " batch"]]:
        """Score all settings of one block in every row, and draw one."""
        support = support_of(energy)
        sites, values = _extent(state.x, support)
        like = precise(state.energy)
        chosen = _distinct(draws.uniform(like[:, None].expand(-1, self.block), rng), sites)
        shifts = torch.tensor(list(itertools.product(range(values), repeat=self.block)), device=like.device)
        shifts = shifts.reshape(-1, self.block)
        energies = [state.energy]
        for shift in shifts[1:]:
            x = _shifted(state.x, chosen, shift.expand_as(chosen), support)
            energies.append(evaluate_energy(energy, x).energy)
        scores = torch.stack(energies, 1)
        logits = torch.where(scores.isfinite(), -precise(scores), -torch.inf)
        drawn = (logits + gumbel(draws.uniform(logits, rng))).argmax(1)
        moved = Evaluated(
            _shifted(state.x, chosen, shifts[drawn], support), scores.gather(1, drawn[:, None]).squeeze(1), None
        )
        return moved, scores.isfinite().any(1).to(like.dtype)


@dataclass(frozen=True)
class BlockGibbs(Kernel):
    """Draws the hidden variables given the visible ones, then the visible ones given these.

    The energy brings the conditionals (see `erg.roles.Conditionals`), and is never evaluated. The acceptance is 1.

    References:
        Hinton (2002), Training products of experts by minimizing contrastive divergence,
        doi:10.1162/089976602760128018
    """

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Position:
        """Start at `x`, if the energy has conditionals.

        Raises:
            TypeError: If it has none.
        """
        if not isinstance(energy, Conditionals):
            instead = "gibbs() or dmala()" if isinstance(support_of(energy), DISCRETE) else "mala() or random_walk()"
            named = energy.energy if isinstance(energy, Reduced) else energy
            raise TypeError(
                "BlockGibbs needs an energy with sample_hidden() and sample_visible(), but "
                f"{type(named).__name__} has no such conditionals. Use {instead}."
            )
        return Position(x)

    def step(self, energy: Any, state: Position, rng: Rng) -> tuple[Position, Float[Tensor, " batch"]]:
        """One sweep over both groups."""
        with torch.no_grad():
            x = energy.sample_visible(energy.sample_hidden(state.x, rng), rng)
        return Position(x), torch.ones(len(x), device=x.device)


def gibbs(block: int = 1) -> Gibbs:
    """Random-scan Gibbs sampling for any energy on Binary, Spin or OneHot; see `Gibbs`."""
    return Gibbs(block)


def _extent(x: Tensor, support: Discrete) -> tuple[int, int]:
    """How many sites a row has, and how many values a site."""
    entries = x[0].numel() if len(x) else x.new_empty(x.shape[1:]).numel()
    return (entries // x.shape[-1], x.shape[-1]) if isinstance(support, OneHot) else (entries, 2)


def _distinct(uniform: Float[Tensor, "batch block"], n: int) -> Int[Tensor, "batch block"]:
    """As many different numbers below n in every row, in random order, from as many uniforms."""
    picked: list[Tensor] = []
    for index, column in enumerate(uniform.unbind(1)):
        left = n - index
        place = (column * left).long().clamp(max=left - 1)
        # The place counts the numbers not yet taken; walking up the taken ones turns it into a number.
        for taken in torch.stack(picked, 1).sort(1).values.unbind(1) if picked else ():
            place = place + (place >= taken)
        picked.append(place)
    return torch.stack(picked, 1)


def _shifted(
    x: Float[Tensor, "batch *event"],
    sites: Int[Tensor, "batch block"],
    shift: Int[Tensor, "batch block"],
    support: Discrete,
) -> Float[Tensor, "batch *event"]:
    """Each row with the values at its `sites` moved on by `shift` places, in a circle."""
    if not isinstance(support, OneHot):
        flat = rows.flat(x)
        before = flat.gather(1, sites)
        after = torch.where(shift > 0, other(before, support), before)
        return flat.scatter(1, sites, after).reshape(x.shape)
    flat = x.flatten(1, -2) if x.ndim > 2 else x[:, None]
    index = sites[..., None].expand(-1, -1, x.shape[-1])
    category = (flat.gather(1, index).argmax(-1) + shift) % x.shape[-1]
    return flat.scatter(1, index, indicator(category, x.shape[-1]).to(x.dtype)).reshape(x.shape)
