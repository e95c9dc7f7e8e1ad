"""The free energy of a Gaussian-Bernoulli machine, with the derivatives by its parameters written out."""

from typing import Any

import torch
from torch import Tensor

from erg.energies.restricted_free_energy import product_plus
from erg.energies.units import Bits


class FreeEnergy(torch.autograd.Function):
    """The free energy of states in units, with its derivatives in closed form."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, weight: Tensor, b: Tensor, c: Tensor, log_variance: Tensor, mu: Tensor, lam: Tensor
    ) -> Tensor:
        parts = _parts(v, weight, b, c, log_variance, mu, lam)
        precision, rest, _, field = parts
        ctx.save_for_backward(v, weight, b, c, log_variance, mu, lam, *parts)
        return (rest.square() * precision).sum(1) / 2 - Bits().log_partition(field)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        inputs, parts = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
        if torch.is_grad_enabled():  # somebody differentiates the gradient: it needs a graph of its own
            parts = _parts(*inputs)
        (_, weight, *_, lam), (precision, rest, shifted, field) = inputs, parts
        by_v, by_weight, by_b, by_c, by_log_variance = ctx.needs_input_grad[:5]
        pull = field.sigmoid() * above[:, None]
        back = pull @ weight.T if by_v or by_log_variance else None
        pressed = (above @ rest) * precision
        # What moves the weight moves the bias at zero, too.
        rows, pulls = torch.cat([shifted * precision, -pressed[None]]), torch.cat([pull, lam[None]])
        spread = None
        if by_log_variance and back is not None:
            spread = ((shifted * back).sum(0) - above @ rest.square() / 2) * precision
        return (
            (rest * above[:, None] - back) * precision if by_v and back is not None else None,
            -(rows.T @ pulls) if by_weight else None,
            -pressed if by_b else None,
            -pull.sum(0) if by_c else None,
            spread,
            None,
            None,
        )


def _parts(
    v: Tensor, weight: Tensor, b: Tensor, c: Tensor, log_variance: Tensor, mu: Tensor, lam: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Precisions, distances from the bias, distances from the offset, and the fields of hidden units."""
    precision = (-log_variance).exp()
    shifted = v - mu
    return precision, v - (b - weight @ lam), shifted, product_plus(c, shifted * precision, weight)
