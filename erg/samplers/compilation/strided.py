r"""Strided convolutions rewritten as dense ones, for graphs that are compiled.

Libraries treat convolutions of stride s, and above all their input gradients, far worse than those of
stride 1. Both are convolutions of stride 1 on the s x s phases of the image, moved into the channels:
with the padding :math:`p = ms - a,\ 0 \le a < s`, and :math:`w_{t,r} = w_{ts + r - a}`,

.. math::
    y_o = \sum_{t,r} w_{t,r}\, x_{(o - m + t)s + r}
    \qquad\text{and}\qquad
    \bar x_{qs + r} = \sum_t w_{t,r}^\top\, \bar y_{q + m - t}.

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
    s = stride[0]
    batch, channels, height, width = x.shape
    if channels * s * s > _FEW_CHANNELS or height % s or width % s:
        return NotImplemented
    margin = -(-padding[0] // s)
    split, taps = _split(weight, s, margin * s - padding[0])
    phases = x.permute(0, 2, 3, 1).reshape(batch, height // s, s, width // s, s, channels).permute(0, 1, 3, 2, 4, 5)
    phases = phases.reshape(batch, height // s, width // s, s * s * channels)
    dense = split.permute(0, 2, 4, 3, 5, 1).reshape(len(weight), *taps, s * s * channels)
    sizes = [
        (side + 2 * padding[0] - taps_of) // s + 1
        for side, taps_of in zip((height, width), weight.shape[2:], strict=True)
    ]
    return _dense(phases, dense, bias, sizes, [margin, margin])


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
    s = stride[0]
    batch, channels, height, width = x.shape
    if x.dtype != torch.bfloat16 and channels * s * s > _FEW_CHANNELS:
        return NotImplemented
    margin = -(-padding[0] // s)
    split, taps = _split(weight, s, margin * s - padding[0])
    before = [tap - 1 - margin for tap in taps]
    if min(before) < 0:
        return NotImplemented
    dense = split.flip(2, 4).permute(3, 5, 1, 2, 4, 0).reshape(s * s * channels, *taps, len(weight))
    rows, columns = -(-height // s), -(-width // s)
    phases = _dense(gradient.permute(0, 2, 3, 1), dense, None, [rows, columns], before).permute(0, 2, 3, 1)
    phases = phases.reshape(batch, rows, columns, s, s * channels).transpose(2, 3)
    # as_strided() makes the compiler finish this copy, in long runs, before the next operation reads it
    # in short ones.
    strides = [rows * s * columns * s * channels, columns * s * channels, channels, 1]
    whole = phases.contiguous().as_strided([batch, rows * s, columns * s, channels], strides)
    return whole[:, :height, :width].permute(0, 3, 1, 2), None, None


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.convolution.default: convolution,
    torch.ops.aten.convolution_backward.default: convolution_backward,
}


def _fits(x: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> bool:
    square = len(set(stride)) == len(set(padding)) == 1
    return x.ndim == 4 and groups == 1 and square and stride[0] > 1 and set(dilation) == {1}


def _split(weight: Tensor, s: int, shift: int) -> tuple[Tensor, tuple[int, int]]:
    """The kernel behind `shift` zeros as (outputs, inputs, t, r, t', r'), and how many taps t, t' there are."""
    outputs, inputs, rows, columns = weight.shape
    taps = (-(-(rows + shift) // s), -(-(columns + shift) // s))
    padded = pad(weight, (shift, taps[1] * s - columns - shift, shift, taps[0] * s - rows - shift))
    return padded.reshape(outputs, inputs, taps[0], s, taps[1], s), taps


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None, sizes: list[int], before: list[int]) -> Tensor:
    """A convolution of stride 1 of channels-last tensors, with `before` zeros in front and `sizes` outputs a side."""
    taps = weight.shape[1:3]
    behind = [
        size + tap - 1 - side - front
        for size, tap, side, front in zip(sizes, taps, x.shape[1:3], before, strict=True)
    ]
    margin = [max(front, back) for front, back in zip(before, behind, strict=True)]
    x, weight = x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)
    y = torch.ops.aten.convolution.default(x, weight, bias, [1, 1], margin, [1, 1], False, [0, 0], 1)
    for axis, (size, around, front) in enumerate(zip(sizes, margin, before, strict=True), start=2):
        y = y.narrow(axis, around - front, size)
    return y
