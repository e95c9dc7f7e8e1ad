"""Picture files, one or a folder of them.

A picture is grey or RGB with 8 bits per channel. An alpha channel that is opaque everywhere is dropped, a palette is
looked up, the camera's orientation tag is obeyed. A picture stored in colour whose three channels are equal
everywhere can be read as grey; beyond that nothing is converted, resized or cropped, but refused.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from erg.data.arrays import grey_levels
from erg.data.dataset import Split
from erg.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
Picture = UInt8[np.ndarray, "_ height width"]


def read_image(path: Path) -> Picture:
    """One picture: one channel if it is stored as grey, three if it is stored in colour or with a palette.

    Raises:
        UserError: If the file is missing, damaged, not a picture, animated, transparent, or not 8-bit grey or RGB.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            _refuse_animation(image, path)
            image.load()
            flat = _without_alpha(ImageOps.exif_transpose(image), path)
    except UserError:
        raise
    except Exception as error:
        # A damaged file makes Pillow raise anything from OSError and SyntaxError to IndexError.
        reason = getattr(error, "strerror", None) or "it is damaged or not a picture"
        raise UserError(f"Cannot read the picture {path}: {reason}; check or replace the file.") from error
    if flat.mode not in ("1", "L", "RGB"):
        raise UserError(f"{path} should be 8-bit grey or RGB, but its mode is {flat.mode}; convert it.")
    values = np.asarray(flat.convert("L") if flat.mode == "1" else flat)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def as_grey(picture: Picture) -> UInt8[np.ndarray, "1 height width"] | None:
    """The picture with one channel, or None if its channels differ."""
    return picture[:1] if (picture == picture[:1]).all() else None


def read_folder(folder: Path) -> Split:
    """All pictures in a folder, or in its subfolders, whose sorted names then are the labels 0, 1, ...

    The set is grey if every picture can be read as grey, and in colour otherwise.

    Raises:
        UserError: If there are no pictures, or one cannot be read or differs from the first in size or channels.
    """
    files = list_images(folder)
    found = [read_image(files[0])]
    for file in files[1:]:
        found.append(read_image(file))
        if found[-1].shape[1:] != found[0].shape[1:]:
            raise UserError(
                f"All pictures should have one size, but {file} is {_size(found[-1])} and {files[0]} is "
                f"{_size(found[0])}; resize or remove it."
            )
    return Split(grey_levels(_stacked(found, files)), _labels(folder, files))


def list_images(folder: Path) -> list[Path]:
    """The pictures in a folder and its subfolders, sorted; hidden files and folders are passed over.

    Raises:
        UserError: If there are none.
    """
    files = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not _hidden(file, folder)
    )
    if not files:
        raise UserError(f"{folder} should hold pictures ({', '.join(SUFFIXES)}), but holds none; check the path.")
    return files


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _refuse_animation(image: Any, path: Path) -> None:
    frames = getattr(image, "n_frames", 1)
    if image.format in ("GIF", "PNG") and frames > 1:
        raise UserError(f"{path} should be one picture, but is an animation of {frames}; save its frames apart.")


def _without_alpha(image: Any, path: Path) -> Any:
    grey = image.mode in ("1", "L", "LA")
    if "transparency" in image.info or image.mode == "PA":
        image = image.convert("LA" if grey else "RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getchannel("A").getextrema() != (255, 255):
        raise UserError(f"{path} should be opaque, but parts of it are transparent; put it on a background.")
    return image.convert("L" if grey else "RGB")


def _stacked(pictures: list[Picture], files: list[Path]) -> UInt8[np.ndarray, "n depth height width"]:
    grey = [as_grey(picture) for picture in pictures]
    coloured = next((file for file, picture in zip(files, grey, strict=True) if picture is None), None)
    if coloured is None:
        return np.stack([picture[:1] for picture in pictures])
    for file, picture in zip(files, pictures, strict=True):
        if len(picture) == 1:
            raise UserError(f"{file} is grey but {coloured} is in colour; convert one of them, or keep them apart.")
    return np.stack(pictures)


def _labels(folder: Path, files: list[Path]) -> torch.Tensor | None:
    depths = [len(file.relative_to(folder).parts) for file in files]
    if max(depths) == 1:
        return None
    for file, depth in zip(files, depths, strict=True):
        if depth != 2:
            raise UserError(
                f"Pictures should lie all in {folder} or all one folder below it, one folder per label, "
                f"but {file} does not; move it."
            )
    names = sorted({file.parent.name for file in files})
    return torch.tensor([names.index(file.parent.name) for file in files])


def _size(picture: Picture) -> str:
    return f"{picture.shape[2]}x{picture.shape[1]}"
