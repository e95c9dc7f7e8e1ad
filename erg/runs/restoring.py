"""Complete rows with a run's energy: what is observed is held, the model draws the rest."""

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg.applications.completion import Posterior, fill
from erg.data import read_inputs
from erg.errors import UserError
from erg.runs.model import Model

HALVES = ("upper", "lower", "left", "right")


def mask_of(name: str, shape: tuple[int, ...]) -> Bool[Tensor, "..."]:
    """What is missing: one of `HALVES` of an image, or a file of one event or of as many as there are rows.

    Args:
        name: The half, or a path: missing is what is brighter than half grey in a picture, or positive in an array or
            table of zeros and ones.
        shape: The event shape of the run.

    Raises:
        UserError: If the half is asked of rows that are no images, or the file cannot be used.
    """
    if name in HALVES:
        return _half(name, shape)
    if not Path(name).exists():
        raise UserError(
            f"--mask is {', '.join(HALVES[:-1])} or {HALVES[-1]}, or a file, but there is no file {name}; check the "
            "name."
        )
    x, _ = read_inputs([Path(name)], shape)
    mask = x > 0 if len(shape) == 3 else x > 0.5
    if not bool(mask.any()):
        raise UserError(f"{name} marks nothing as missing; make what shall be restored white, or 1 in an array.")
    return mask[0] if len(mask) == 1 else mask


def restore(
    model: Model,
    x: Float[Tensor, "rows *event"],
    missing: Bool[Tensor, "..."],
    *,
    steps: int,
    rng: torch.Generator,
) -> Posterior:
    """One draw of what is missing for each row, and its mean over the chain.

    Args:
        model: Whose energy and kernel.
        x: Rows; what is at their missing entries is not read.
        missing: One mask for all rows, or one a row.
        steps: Over which the mean is taken, after a quarter as many.
        rng: The only source of randomness.

    Raises:
        UserError: If the mask fits neither one row nor all of them, or the energy cannot be sampled with it.
    """
    if missing.shape not in (x.shape, x.shape[1:]):
        raise UserError(
            f"A mask is one for all rows, or one for each of the {len(x)}, but this file holds {len(missing)}; give "
            "as many."
        )
    try:
        return fill(model.energy, x, missing=missing, kernel=model.kernel, steps=steps, discard=steps // 4, rng=rng)
    except (ValueError, TypeError) as error:
        raise UserError(f"These rows cannot be restored: {error}") from error


def _half(name: str, shape: tuple[int, ...]) -> Tensor:
    if len(shape) != 3:
        raise UserError(f"--mask {name} is half of an image, but rows of this run have shape {shape}; give a file.")
    mask = torch.zeros(shape, dtype=torch.bool)
    height, width = shape[1] // 2, shape[2] // 2
    rows, columns = {
        "upper": (slice(None, height), slice(None)),
        "lower": (slice(height, None), slice(None)),
        "left": (slice(None), slice(None, width)),
        "right": (slice(None), slice(width, None)),
    }[name]
    mask[:, rows, columns] = True
    return mask
