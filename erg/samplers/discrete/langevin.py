r"""Discrete Langevin: every site moves at once, guided by one gradient.

A Langevin step draws from a normal law around :math:`x - h \beta \nabla E(x)` with variance h. Restricted to the
values of a discrete support that law is a product over sites, so a draw costs no more than on the real numbers.
"""

import copy
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from erg import draws, rows
from erg.draws import Rng
from erg.roles import Evaluated, Tuning
from erg.samplers.discrete.sites import Discrete, gumbel, indicator, other, predicted, squared_length
from erg.samplers.rules import Metropolis, Unadjusted
from erg.support import DISCRETE, Binary, OneHot


@dataclass(frozen=True)
class DiscreteLangevin:
    r"""Proposes a new value v for every site i, independently of the other sites.

    .. math:: q(v) \propto \exp\left(-\beta \langle \nabla_i E(x),\, v - x_i \rangle - \frac{\|v - x_i\|^2}{2h}\right)

    Unadjusted at the balance 1/2, its stationary law tends to exp(-E) as h falls. Under `Metropolis` the law is
    exact for any step size and balance.

    Args:
        step_size: h, in squared units of x; a number, or one per chain. A spin's change is twice as long as a
            bit's: `Spin` needs four times the step size that `Binary` does.
        balance: beta. 1/2 suits small steps, 1 the largest; a number, or one per chain.
        support: Where the states live. A kernel sets it to the energy's support when a chain starts.

    Raises:
        ValueError: If `step_size` is not positive, or `balance` not in (0, 1].

    References:
        Zhang, Liu & Liu (2022), A Langevin-like sampler for discrete distributions, arXiv:2206.09914
        Pynadath et al. (2024), Gradient-based discrete sampling with automatic cyclical scheduling,
        arXiv:2402.17699 (the balance)
        Sun, Dai & Schuurmans (2022), Optimal scaling for locally balanced proposals in discrete spaces,
        arXiv:2209.08183 (the acceptance that is best under `Metropolis`)
    """

    step_size: float | Float[Tensor, " batch"]
    balance: float | Float[Tensor, " batch"] = 0.5
    support: Discrete = field(default_factory=Binary)
    moves_on: ClassVar[tuple[type, ...]] = DISCRETE
    needs_gradient: ClassVar[bool] = True
    tuning: ClassVar[Tuning] = Tuning("step_size", acceptance=0.574)

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=DiscreteLangevin)
        rows.positive("balance", self.balance, of=DiscreteLangevin)
        if bool((torch.as_tensor(self.balance) > 1).any()):
            raise ValueError(f"DiscreteLangevin needs a balance of at most 1, but got {self.balance}.")

    def on(self, support: Discrete) -> "DiscreteLangevin":
        """The same move for states that live on `support`."""
        return self.unchecked(self.step_size, self.balance, support)

    def unchecked(self, step_size: float | Tensor, balance: float | Tensor, support: Discrete) -> "DiscreteLangevin":
        """A copy with other settings, whose values are not looked at: they may stand for tensors in a graph."""
        moved = copy.copy(self)
        for name, value in (("step_size", step_size), ("balance", balance), ("support", support)):
            object.__setattr__(moved, name, value)
        return moved

    def propose(self, source: Evaluated, rng: Rng) -> Float[Tensor, "batch *event"]:
        """One candidate per row."""
        logits = self._logits(source)
        uniform = draws.uniform(logits, rng)
        if isinstance(self.support, OneHot):
            chosen = (logits + gumbel(uniform)).argmax(-1)
            return indicator(chosen, logits.shape[-1]).to(source.x.dtype)
        return torch.where(uniform < logits.sigmoid(), other(source.x, self.support), source.x)

    def log_prob(self, source: Evaluated, target: Evaluated) -> Float[Tensor, " batch"]:
        """log q(target | source)."""
        logits = self._logits(source)
        if isinstance(self.support, OneHot):
            return rows.total(torch.where(target.x > 0, logits.log_softmax(-1), 0.0))
        return rows.total(logsigmoid(torch.where(target.x != source.x, logits, -logits)))

    def _logits(self, source: Evaluated) -> Tensor:
        """How each change compares with staying, whose logit is 0."""
        change = predicted(source, self.support)
        cost = squared_length(self.support) / (2 * rows.spread(self.step_size, change))
        logits = -rows.spread(self.balance, change) * change - cost
        return torch.where(source.x > 0, 0.0, logits) if isinstance(self.support, OneHot) else logits


def dula(step_size: float | Float[Tensor, " batch"]) -> Unadjusted:
    """The discrete unadjusted Langevin algorithm: one gradient per step, a biased law."""
    return Unadjusted(DiscreteLangevin(step_size))


def dmala(step_size: float | Float[Tensor, " batch"]) -> Metropolis:
    """The discrete Metropolis-adjusted Langevin algorithm: one gradient per step, the exact law."""
    return Metropolis(DiscreteLangevin(step_size))
