"""Pixels of two values: grey images to `Binary`, and back for whatever looks at pictures.

A threshold is in units of [0, 1] grey, as binarised digits are described in papers; images here are
in [-1, 1]. Pictures and the classifiers of digits go on seeing [-1, 1]: `in_grey` is the one place
that knows how the values of a support are shown.
"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from erg.data.dataset import Dataset, Split
from erg.errors import UserError
from erg.support import Binary, Box, Support


def binarise(x: Float[Tensor, "*batch"], threshold: float) -> Float[Tensor, "*batch"]:
    """Images in [-1, 1] as 1 where the grey level (x + 1) / 2 is above the threshold, and 0 elsewhere.

    Example:
        >>> import torch
        >>> binarise(torch.tensor([-1.0, 0.0, 0.1, 1.0]), 0.5)
        tensor([0., 0., 1., 1.])
    """
    return (x > 2 * threshold - 1).to(x.dtype)


def binarised(data: Dataset, threshold: float) -> Dataset:
    """A set of grey images as one of binary images.

    Raises:
        UserError: If its rows are no images.
    """
    if not isinstance(data.support, Box):
        raise UserError(f"Grey images can be binarised, but {data.name} is a table; leave data.binarise out.")
    train, held_out = (Split(binarise(split.x, threshold), split.y) for split in (data.train, data.held_out))
    return replace(data, train=train, held_out=held_out, support=Binary())


def in_grey(x: Float[Tensor, "*batch"], support: Support) -> Float[Tensor, "*batch"]:
    """Images as pictures and classifiers take them, in [-1, 1]: bits are black and white, others stay.

    Example:
        >>> import torch
        >>> in_grey(torch.tensor([0.0, 1.0]), Binary())
        tensor([-1.,  1.])
    """
    return 2 * x - 1 if isinstance(support, Binary) else x
