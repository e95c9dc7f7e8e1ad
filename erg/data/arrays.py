"""Arrays read as images or as rows of a table.

The rule, for arrays from any source:

- two axes are a table, (rows, columns), of any real or integer type;
- three axes are grey images, (images, height, width); four are (images, channels, height, width);
- integer pixels run from 0 to 255 and become ``k / 127.5 - 1``;
- floating pixels that all lie in [0, 1] become ``2 x - 1``; otherwise they must all lie in [-1, 1] and
  are taken as they are. The rule looks at a whole file at once.

Nothing else is guessed: other ranges, types and layouts are refused with a sentence.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg.errors import UserError

Array = np.ndarray


def read_arrays(path: Path) -> tuple[Array, Array | None]:
    """The array of an `.npy` file, or `x` (and `y` when there) of an `.npz` file. Pickles are never opened.

    An `.npz` file with one array needs no name for it; `X` counts as `x`.

    Raises:
        UserError: If the file is missing or damaged, holds Python objects, or has several arrays and no `x`.
    """
    try:
        # Opened here: NumPy leaves a file that it cannot read open.
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, Array):
                return content, None
            name = _name_of_x(content.files, path)
            return content[name], content["y"] if "y" in content.files and name != "y" else None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}; check the path.") from error
    except Exception as error:
        # NumPy, zipfile and zlib each have their own exceptions for damaged files.
        objects = "Object arrays" in str(error)
        reason = "it holds Python objects" if objects else "it is damaged or not in NumPy's format"
        raise UserError(
            f"{path} cannot be read as plain numbers: {reason}; save it again with numpy.save or numpy.savez."
        ) from error


def _name_of_x(names: list[str], path: Path) -> str:
    for name in ("x", "X"):
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names) or "none"
    raise UserError(f"{path} should hold one array, or one named x, but holds {listed}; name the data x.")


def pixels(array: Array, source: Path | str) -> Float[Tensor, "..."]:
    """Pixels as float32 in [-1, 1], by the rule of this module; the shape stays.

    Raises:
        UserError: If the type is not numeric, a value is not finite, or the range fits neither convention.
    """
    numbers(array, source)
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind in "ui":
        if low < 0 or high > 255 or high == 1:
            raise UserError(
                f"{source} has integer pixels from {low:g} to {high:g}, expected 0 to 255; "
                "save 0 and 1 as floating point numbers, and scale anything else to [0, 1]."
            )
        return grey_levels(array)
    if low < -1 or high > 1:
        raise UserError(
            f"{source} has pixels from {low:.9g} to {high:.9g}, expected all in [0, 1] or all in [-1, 1]; scale them."
        )
    x = torch.from_numpy(array.astype(np.float32))
    return x.mul_(2.0).sub_(1.0) if low >= 0 else x


def grey_levels(array: Array) -> Float[Tensor, "..."]:
    """Integers k from 0 to 255 as k / 127.5 - 1, rounded to float32 once."""
    return torch.from_numpy(array.astype(np.float32)).mul_(2.0).sub_(255.0).div_(255.0)


def numbers(array: Array, source: Path | str) -> None:
    """Refuse an array that is empty, not made of integers or real numbers, or not finite everywhere.

    Raises:
        UserError: If so; the first bad row is named.
    """
    if array.dtype.kind not in "uif":
        raise UserError(
            f"{source} should hold integers or real numbers, but holds {array.dtype}; convert it before saving."
        )
    if array.size == 0:
        raise UserError(f"{source} should hold at least one row, but has shape {array.shape}; give data.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) if array.ndim else 0
        raise UserError(f"{source} should hold finite numbers only, but row {row} has NaN or infinity; remove it.")


def with_channels(array: Array, source: Path | str) -> Array:
    """Image arrays as (images, channels, height, width).

    Raises:
        UserError: If the array has neither three nor four axes, or its channels look to be last.
    """
    if array.ndim == 3:
        return array[:, None]
    if array.ndim != 4:
        raise UserError(
            f"{source} should have shape (rows, columns), (images, height, width) or "
            f"(images, channels, height, width), but has {array.shape}; reshape it."
        )
    if array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        raise UserError(
            f"{source} should have shape (images, channels, height, width), but {array.shape} has its channels last; "
            "save x.transpose(0, 3, 1, 2)."
        )
    return array


def labels(array: Array | None, rows: int, source: Path | str) -> Int[Tensor, " n"] | None:
    """Labels as int64, one per row; None stays None.

    Raises:
        UserError: If they are not whole numbers, or not one per row.
    """
    if array is None:
        return None
    if array.shape != (rows,):
        raise UserError(
            f"{source} should have one label per row, shape ({rows},), but y has shape {array.shape}; fix y."
        )
    numbers(array, f"y of {source}")
    if not (array == np.floor(array)).all():
        raise UserError(f"{source} should have whole numbers as labels, but y has fractions; number the classes.")
    return torch.from_numpy(array.astype(np.int64))
