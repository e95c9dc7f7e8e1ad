r"""Thin matrix products rewritten as sums, for graphs that are compiled to fused code.

A product :math:`AB` with an inner size of a few, or with one or two columns, is too little work for a call
into a matrix library. Written out, it is fused with the operations around it; so is a bias. Energies of
points in the plane have such products at both ends. The functions have the signature of the operation they
replace and return NotImplemented for the rest.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

_INNER = 4
_COLUMNS = 2


def mm(a: Tensor, b: Tensor) -> Any:
    """The product of two matrices, if it is thin."""
    inner, columns = b.shape
    if a.dtype == torch.bfloat16 or 0 in (inner, columns):  # in bfloat16 every partial sum would be rounded
        return NotImplemented
    # Contiguous, so that rows are read at once. Weights are copied once a chain.
    if inner <= _INNER:
        rows = b.contiguous()
        return reduce(torch.add, [a[:, k, None] * rows[None, k] for k in range(inner)])
    if columns <= _COLUMNS:
        return (a[:, None, :] * b.t().contiguous()[None]).sum(-1)
    return NotImplemented


def addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """The product plus a bias, apart from each other."""
    if a.dtype == torch.bfloat16 or beta != 1 or alpha != 1:
        return NotImplemented
    product = mm(a, b)
    return (torch.ops.aten.mm.default(a, b) if product is NotImplemented else product) + bias


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.mm.default: mm,
    torch.ops.aten.addmm.default: addmm,
}
