"""The free energy of a restricted Boltzmann machine, with the derivatives by its parameters written out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg.energies.units import Units


def product_plus(
    bias: Float[Tensor, " columns"], x: Float[Tensor, "rows inner"], weight: Float[Tensor, "inner columns"]
) -> Float[Tensor, "rows columns"]:
    """Fields, in the dtype of the biases: autocast rounds the product, but no draw and no sum after it."""
    return torch.addmm(bias, x, weight).to(bias.dtype)


class FreeEnergy(torch.autograd.Function):
    """The free energy, with its derivatives in closed form."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, weight: Tensor, b: Tensor, c: Tensor, mu: Tensor, lam: Tensor, hidden: Units
    ) -> Tensor:
        shifted = v - mu
        field = product_plus(c, shifted, weight)
        ctx.save_for_backward(v, weight, b, c, mu, lam, shifted, field)
        ctx.hidden = hidden
        constant = lam @ c - mu @ (weight @ lam)
        # Not by matrix products, which autocast would round to a nat.
        return (field * lam).sum(1) - (v * b).sum(1) - hidden.log_partition(field) - constant

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        v, weight, b, c, mu, lam, shifted, field = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates the gradient: it needs a graph of its own
            shifted = v - mu
            field = product_plus(c, shifted, weight)
        mean = ctx.hidden.mean(field)
        pull = (lam - mean) * above[:, None]
        by_v, by_weight, by_b, by_c = ctx.needs_input_grad[:4]
        # The constant's part is one more row of the product.
        pushes, pulls = torch.cat([shifted, mu[None]]), torch.cat([pull, above.sum() * lam[None]])
        return (
            pull @ weight.T - above[:, None] * b if by_v else None,
            pushes.T @ pulls if by_weight else None,
            -(above @ v) if by_b else None,
            -(above @ mean) if by_c else None,
            None,
            None,
            None,
        )
