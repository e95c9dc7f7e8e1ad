"""Inputs that are near the data and yet not data: what an energy should score higher.

Images live in [-1, 1] with background -1, as everywhere here. A flipped or shrunk digit has the
strokes and grey levels of a digit; an energy that only counts dark pixels cannot tell it. Binary images
are shifted as pictures and binarised again: their noise is fair coins.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from erg import draws
from erg.data import binarise, in_grey
from erg.draws import Rng
from erg.support import Binary, Real, Support

BACKGROUND = -1.0
BLUR = 1 / 14
"""Standard deviation of the blur, as a share of the shorter side: 2 pixels of 28."""


def shifted(x: Float[Tensor, "batch *event"], rng: Rng = None, *, support: Support = Real()) -> dict[str, Tensor]:
    """Shifted versions of each row by name: noise for any event, three more for images.

    Images, rows of shape (channels, height, width) with 4 pixels or more per side, give noise, blurred,
    flipped and shrunk; other rows give noise only.

    Args:
        x: The rows.
        rng: For the noise.
        support: Of the energy that they are for; on `Binary` every version is binary again.
    """
    if isinstance(support, Binary):
        return {name: binarise(version, 0.5) for name, version in shifted(in_grey(x, support), rng).items()}
    noisy = {"noise": noise(x, rng)}
    if not is_image(x):
        return noisy
    return {**noisy, "blurred": blurred(x), "flipped": x.flip(-1), "shrunk": shrunk(x)}


def is_image(x: Float[Tensor, "batch *event"]) -> bool:
    """Whether rows are (channels, height, width) in [-1, 1], with 4 pixels or more per side."""
    return x.ndim == 4 and min(x.shape[-2:]) >= 4 and bool((x.abs() <= 1).all())


def noise(x: Float[Tensor, "batch *event"], rng: Rng = None) -> Float[Tensor, "batch *event"]:
    """Uniform rows: in [-1, 1] for images, else in each entry's own range over the batch."""
    uniform = draws.uniform(x, rng)
    if is_image(x):
        return uniform * 2 - 1
    low, high = x.amin(0), x.amax(0)
    return low + (high - low) * uniform


def blurred(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """Gaussian blur with a width of `BLUR` of the shorter side, at least 0.8 pixels; edges are repeated."""
    width = max(0.8, BLUR * min(x.shape[-2:]))
    reach = min(math.ceil(3 * width), min(x.shape[-2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-((offsets / width) ** 2) / 2)
    weights = weights / weights.sum()
    planes = F.pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    rows = F.conv2d(planes, weights.reshape(1, 1, -1, 1))
    # Rounding may leave [-1, 1] by a hair, which a bounded support refuses.
    return F.conv2d(rows, weights.reshape(1, 1, 1, -1)).reshape(x.shape).clamp(-1, 1)


def shrunk(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """Each image at half its size, in the middle of an empty one."""
    height, width = x.shape[-2:]
    half = F.interpolate(x, size=(height // 2, width // 2), mode="bilinear", antialias=True)
    top, left = (height - height // 2) // 2, (width - width // 2) // 2
    canvas = torch.full_like(x, BACKGROUND)
    canvas[..., top : top + height // 2, left : left + width // 2] = half.clamp(-1, 1)
    return canvas
