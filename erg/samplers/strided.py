r"""Strided convolutions rewritten as dense ones, for graphs that are compiled.

Libraries treat convolutions of stride s, and above all their input gradients, far worse than those of
stride 1. Both are convolutions of stride 1 on the s x s phases of the image, moved into the channels:
with :math:`w_{t,r} = w_{ts + r}` padded to a multiple of s,

.. math::
    y_o = \sum_{t,r} w_{t,r}\, x_{(o + t)s + r - p}
    \qquad\text{and}\qquad
    \bar x_{qs + r - p} = \sum_t w_{t,r}^\top\, \bar y_{q - t}.

The sums are the same, in another order. Used where it was measured to pay: gradients in bfloat16, and
images with so few channels that a matrix unit would stay empty. Both functions have the signature of
the operation they replace and return NotImplemented for the rest.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

_FEW_CHANNELS = 16


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """A strided convolution of an image with few channels, as a dense one of its phases."""
    if transposed or not _fits(x, stride, padding, dilation, groups):
        return NotImplemented
    s, p = stride[0], padding[0]
    batch, channels, height, width = x.shape
    if channels * s * s > _FEW_CHANNELS or p % s or height % s or width % s:
        return NotImplemented
    phases = x.permute(0, 2, 3, 1).reshape(batch, height // s, s, width // s, s, channels).permute(0, 1, 3, 2, 4, 5)
    phases = phases.reshape(batch, height // s, width // s, s * s * channels)
    split, taps = _split(weight, s)
    dense = split.permute(0, 2, 4, 3, 5, 1).reshape(len(weight), *taps, s * s * channels)
    return _dense(_channels_first(phases), _channels_first(dense), bias, [p // s, p // s])


def convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> Any:
    """The input gradient of a strided convolution, as a dense convolution that yields its phases."""
    if transposed or output_mask[1] or output_mask[2] or not _fits(x, stride, padding, dilation, groups):
        return NotImplemented
    s, p = stride[0], padding[0]
    batch, channels, height, width = x.shape
    if x.dtype != torch.bfloat16 and channels * s * s > _FEW_CHANNELS:
        return NotImplemented
    split, taps = _split(weight, s)
    first = p // s
    last = [(p + size - 1) // s for size in (height, width)]
    # How far the phases reach past the gradient, before and behind.
    before = [tap - 1 - first for tap in taps]
    behind = [end - (size - 1) for end, size in zip(last, gradient.shape[2:], strict=True)]
    if min(before) < 0:
        return NotImplemented
    extra = [max(more - less, 0) for more, less in zip(behind, before, strict=True)]
    if any(extra):
        gradient = pad(gradient, (0, extra[1], 0, extra[0]))
    dense = split.flip(2, 4).permute(3, 5, 1, 2, 4, 0).reshape(s * s * channels, *taps, len(weight))
    phases = _dense(gradient, _channels_first(dense), None, before).permute(0, 2, 3, 1)
    rows, columns = (end - first + 1 for end in last)
    phases = phases[:, :rows, :columns].reshape(batch, rows, columns, s, s, channels).permute(0, 1, 3, 2, 4, 5)
    whole = phases.reshape(batch, rows * s, columns * s, channels)
    offset = p - first * s
    return _channels_first(whole[:, offset : offset + height, offset : offset + width]), None, None


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.convolution.default: convolution,
    torch.ops.aten.convolution_backward.default: convolution_backward,
}


def _fits(x: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> bool:
    square = len(set(stride)) == len(set(padding)) == 1
    return x.ndim == 4 and groups == 1 and square and stride[0] > 1 and set(dilation) == {1}


def _split(weight: Tensor, s: int) -> tuple[Tensor, tuple[int, int]]:
    """(outputs, inputs, t, r, t', r') and how many taps t, t' there are."""
    outputs, inputs, rows, columns = weight.shape
    taps = (-(-rows // s), -(-columns // s))
    padded = pad(weight, (0, taps[1] * s - columns, 0, taps[0] * s - rows))
    return padded.reshape(outputs, inputs, taps[0], s, taps[1], s), taps


def _channels_first(x: Tensor) -> Tensor:
    """(batch, channels, height, width), with the channels last in memory."""
    return x.permute(0, 3, 1, 2)


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    return torch.ops.aten.convolution.default(x, weight, bias, [1, 1], padding, [1, 1], False, [0, 0], 1)
