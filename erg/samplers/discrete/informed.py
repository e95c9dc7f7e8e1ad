"""Gibbs with gradients: one site a step, chosen by what a gradient says about all of them."""

import copy
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.roles import Evaluated
from erg.samplers.discrete.sites import Discrete, gumbel, indicator, other, predicted
from erg.samplers.rules import Metropolis
from erg.support import DISCRETE, Binary, OneHot


@dataclass(frozen=True)
class GibbsWithGradients:
    r"""Proposes another value v for one site i, the likelier the better the gradient says it is.

    .. math:: q(i, v) \propto \exp\left(-\tfrac12 \langle \nabla_i E(x),\, v - x_i \rangle\right), \qquad v \neq x_i

    Args:
        support: Where the states live. A kernel sets it to the energy's support when a chain starts.

    References:
        Grathwohl et al. (2021), Oops I took a gradient: scalable sampling for discrete distributions,
        arXiv:2102.04509
    """

    support: Discrete = field(default_factory=Binary)
    moves_on: ClassVar[tuple[type, ...]] = DISCRETE
    needs_gradient: ClassVar[bool] = True

    def on(self, support: Discrete) -> "GibbsWithGradients":
        """The same move for states that live on `support`."""
        moved = copy.copy(self)
        object.__setattr__(moved, "support", support)
        return moved

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One candidate per row; it differs at one site."""
        logits = self._logits(source)
        noisy = rows.flat(logits + gumbel(draws.uniform(logits, rng)))
        chosen = indicator(noisy.argmax(1), noisy.shape[1]).reshape(logits.shape)
        if isinstance(self.support, OneHot):
            return torch.where(chosen.any(-1, keepdim=True), chosen.to(source.x.dtype), source.x)
        return torch.where(chosen, other(source.x, self.support), source.x)

    def log_prob(self, source: Evaluated, target: Evaluated) -> Float[Tensor, " batch"]:
        """log q(target | source): -inf unless the two differ at one site."""
        logits = rows.flat(self._logits(source))
        changed = rows.flat(target.x != source.x)
        if isinstance(self.support, OneHot):
            changed &= rows.flat(target.x > 0)
        chosen = torch.where(changed, logits, 0.0).sum(1) - logits.logsumexp(1)
        return torch.where(changed.sum(1) == 1, chosen, -torch.inf)

    def _logits(self, source: Evaluated) -> Tensor:
        """The weight of each change; staying has none."""
        logits = -predicted(source, self.support) / 2
        return torch.where(source.x > 0, -torch.inf, logits) if isinstance(self.support, OneHot) else logits


def gwg() -> Metropolis:
    """Gibbs with gradients: one site and one gradient per step, the exact law."""
    return Metropolis(GibbsWithGradients())
