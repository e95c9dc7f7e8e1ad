"""Images side by side, as PNG files."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from erg.files import write_atomically

_MARGIN = 2
_CELL = 32


def grid(
    x: Float[Tensor, "images channels height width"], *, columns: int | None = None
) -> UInt8[np.ndarray, "rows columns colours"]:
    """Images in [-1, 1] as one picture of 8-bit colours, 1 (grey) or 3 (RGB).

    Values outside are clamped; an entry that is not finite is black. Images of fewer than 32 pixels per side are
    magnified by a whole number, every pixel to a square.

    Args:
        x: The images, in reading order.
        columns: Images per row; nearly square when left out.

    Raises:
        ValueError: If there are no images, or they have neither 1 nor 3 channels.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not len(x):
        raise ValueError(f"A grid shows images (n, 1 or 3 channels, height, width), but got shape {tuple(x.shape)}.")
    columns = columns or math.ceil(math.sqrt(len(x)))
    pixels = x.detach().float().nan_to_num(nan=-1.0, posinf=-1.0, neginf=-1.0).clamp(-1, 1)
    images = ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    scale = max(1, round(_CELL / max(images.shape[1:3])))
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    stride = np.array([height + _MARGIN, width + _MARGIN])
    picture = np.full((*(stride * [rows, columns] + _MARGIN), channels), 96, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = stride * divmod(index, columns) + _MARGIN
        picture[top : top + height, left : left + width] = image
    return picture


def write_png(path: Path | str, picture: UInt8[np.ndarray, "rows columns colours"]) -> None:
    """Write a picture of 1 or 3 colours as PNG, atomically.

    Raises:
        UserError: If the disk is full or the folder cannot be written.
    """
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    write_atomically(path, lambda file: image.save(file, format="PNG"))
