r"""Gibbs sweeps in colours: all sites that do not interact are drawn at once, from their exact laws given the others.

A site's law follows from its local field f. With the difference g of its two values, and categories v,

.. math:: P(x_i = \text{high} \mid \dots) = \sigma(g f_i), \qquad P(x_i = v \mid \dots) \propto e^{f_{iv}}.

A checkerboard needs two draws for the whole lattice. On dense graphs a block of sites has its fields from one matrix
product, and the sites follow one after the other with the fields corrected for those before them.
"""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import draws
from erg.draws import Rng
from erg.energies.energy import evaluate_energy
from erg.roles import EnergyLike, Kernel
from erg.samplers.discrete.fields import Couplings, Fields, check_groups, columns, fields_of, held, whole
from erg.samplers.rules import Position, check_start, check_support, precise, support_of
from erg.support import DISCRETE, Binary, OneHot, Spin

_IN_TURN = 128


@dataclass(frozen=True)
class Chromatic(Kernel):
    """One step is a sweep over all sites, each drawn from its exact law given the others. The acceptance is 1.

    The energy brings its local fields (see `erg.roles.LocalFields`), and is evaluated at the start only. Its
    sites are visited in a fixed order: exp(-E) stays as it is, without detailed balance of the sweep.

    References:
        Geman & Geman (1984), Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images,
        doi:10.1109/TPAMI.1984.4767596
        Gonzalez, Low, Gretton & Guestrin (2011), Parallel Gibbs sampling: from colored fields to thin junction trees,
        AISTATS 15

    Example:
        >>> from erg.energies import Ising, Lattice
        >>> from erg.samplers import sample
        >>> torus = Ising(Lattice((4, 4)), coupling=0.3)
        >>> sample(Chromatic(), torus, torch.ones(5, 4, 4), steps=10).shape
        torch.Size([5, 4, 4])
    """

    moves_on: ClassVar[tuple[type, ...]] = DISCRETE

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Position:
        """Start at `x`, with the chains along the last axis of memory.

        Raises:
            TypeError: If the energy has no local fields, or is a sum of some that do not go together.
        """
        check_support(self, energy)
        check_start(energy, x)
        check_groups(energy)
        evaluate_energy(energy, x)  # says what is wrong with states of another shape
        return Position(_as_columns(x))

    def step(self, energy: EnergyLike, state: Position, rng: Rng) -> tuple[Position, Float[Tensor, " batch"]]:
        """One sweep."""
        with torch.no_grad():
            inside, x, back = whole(energy, state.x)
            still = held(inside, x)
            fields, support = fields_of(energy), support_of(energy)
            _refuse_long_graphs(fields)
            now = columns(x, energy)
            fixed = None if still is None else columns(still, energy)
            for sites, couplings in zip(fields.groups, fields.couplings, strict=True):
                field, before = precise(fields.at(now, sites)), now[sites]
                keep = None if fixed is None else fixed[sites]
                after = _drawn(field, before, support, rng, couplings=couplings, keep=keep)
                now = now.index_copy(0, sites, after)
            end = back(now.reshape(*x.shape[1:], len(x)).movedim(-1, 0))
        return Position(_as_columns(end)), torch.ones(len(end), device=end.device)


def chromatic() -> Chromatic:
    """Gibbs sweeps over the colours of an energy with local fields; see `Chromatic`."""
    return Chromatic()


def _refuse_long_graphs(fields: Fields) -> None:
    """Leave sweeps of many sites one after the other to Python: a graph of them takes minutes to compile.

    Raises:
        RuntimeError: While such a sweep is traced; `Compiled` then runs it as it is, and tells why.
    """
    tracer = sys.modules.get("torch.fx.experimental.proxy_tensor")
    in_turn = sum(len(sites) for sites, inside in zip(fields.groups, fields.couplings, strict=True) if inside)
    if in_turn > _IN_TURN and tracer is not None and tracer.get_proxy_mode() is not None:
        raise RuntimeError(f"a sweep draws {in_turn} sites one after the other, too many for a graph")


def _drawn(
    field: Float[Tensor, "sites *values batch"],
    before: Float[Tensor, "sites *values batch"],
    support: Binary | Spin | OneHot,
    rng: Rng,
    *,
    couplings: Couplings,
    keep: Bool[Tensor, "sites *values batch"] | None,
) -> Float[Tensor, "sites *values batch"]:
    """The sites of one group, drawn anew; those to keep as before."""
    uniform = draws.uniform(field.new_empty(field.shape[-1], field.shape[0]), rng).t().contiguous()
    if isinstance(support, OneHot):
        return _kept(_categories(field, uniform).to(before.dtype), before, keep)
    # The field above which a site is at its high value: sigma(g f) > 1 - u, which has the same law as sigma(g f) > u.
    threshold = uniform.logit() * (-1.0 / (support.values[1] - support.values[0]))
    if not couplings:
        return _kept(_level(field, threshold, support).to(before.dtype), before, keep)
    after: list[Tensor] = []
    for place in range(len(field)):
        chosen = _level(field[0], threshold[place], support).to(before.dtype)
        chosen = _kept(chosen, before[place], None if keep is None else keep[place])
        change = precise(chosen - before[place])
        field = functools.reduce(_corrected(place, change), couplings, field[1:])
        after.append(chosen)
    return torch.stack(after)


def _level(field: Tensor, threshold: Tensor, support: Binary | Spin) -> Tensor:
    """The high value where the field is above its threshold, else the low one; several times faster than where()."""
    low, high = support.values
    above = (field > threshold).to(field.dtype)
    return above if support.values == (0.0, 1.0) else above * (high - low) + low


def _corrected(place: int, change: Tensor) -> Callable[[Tensor, tuple[Any, Tensor]], Tensor]:
    """The fields of the sites behind `place` after its change."""

    def correct(field: Tensor, coupling: tuple[Any, Tensor]) -> Tensor:
        weight, matrix = coupling
        weighted = change * (weight.to(change.dtype) if isinstance(weight, Tensor) else weight)
        return torch.addr(field, matrix[place + 1 :, place].to(field.dtype), weighted)

    return correct


def _categories(field: Float[Tensor, "sites q batch"], uniform: Float[Tensor, "sites batch"]) -> Tensor:
    """One category a site with the probability of its softmax, by inverting the distribution function."""
    levels = (field - field.amax(1, keepdim=True)).exp().cumsum(1)
    below = (levels[:, :-1] <= (uniform * levels[:, -1])[:, None]).sum(1, keepdim=True)
    return below == torch.arange(field.shape[1], device=field.device)[:, None]


def _kept(after: Tensor, before: Tensor, keep: Tensor | None) -> Tensor:
    return after if keep is None else torch.where(keep, before, after)


def _as_columns(x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch *event"]:
    """The same states with the chains along the last axis of memory."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)
