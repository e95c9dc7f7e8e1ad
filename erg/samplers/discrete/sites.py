r"""The sites of a discrete state, and what a gradient says about changing one.

Energies of discrete states are functions of floating tensors, so their gradient predicts what a change of one
site would cost: setting site i to the value v changes the energy by about

.. math:: \langle \nabla_i E(x),\, v - x_i \rangle.

On `Binary` and `Spin` a site is one entry with one other value; on `OneHot` it is a row of the last axis with one
value for each category. Everything here has the shape of the state: an entry stands for the change that it names.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg.roles import Evaluated
from erg.samplers.rules import precise
from erg.support import Binary, OneHot, Spin

Discrete = Binary | Spin | OneHot


def predicted(source: Evaluated, support: Discrete) -> Float[Tensor, "batch *event"]:
    """The predicted change of energy of every single-site change; 0 where the gradient says nothing.

    On `OneHot` the entries of the current categories are 0 too.
    """
    assert source.gradient is not None  # the rule evaluates gradients because needs_gradient is set
    gradient, x = precise(source.gradient), precise(source.x)
    if isinstance(support, OneHot):
        change = gradient - torch.where(x > 0, gradient, 0.0).sum(-1, keepdim=True)
    else:
        change = gradient * (other(x, support) - x)
    return change.nan_to_num(nan=0.0)


def other(x: Float[Tensor, "batch *event"], support: Binary | Spin) -> Float[Tensor, "batch *event"]:
    """The one other value of every site."""
    low, high = support.values
    return low + high - x


def squared_length(support: Discrete) -> float:
    """The squared distance between two values of a site."""
    if isinstance(support, OneHot):
        return 2.0
    low, high = support.values
    return (high - low) ** 2


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Noise that turns the largest of logits into a draw from their softmax; a 0 is never drawn."""
    return -(-uniform.log()).log()


def indicator(index: Tensor, size: int) -> Bool[Tensor, "..."]:
    """True at one place of a new last axis."""
    return torch.arange(size, device=index.device) == index[..., None]
