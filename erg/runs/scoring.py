"""Energies of new inputs, and their place among held-out ones."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erg.evaluation.assess import energies
from erg.runs.model import Model


def score(model: Model, x: Float[Tensor, "batch *event"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Energies in nats, and the percentage of held-out rows that are likelier.

    Args:
        model: Whose energy.
        x: Inputs of the model's event shape.
    """
    scores = energies(model.energy, x)
    held_out = _held_out(model).sort().values
    return scores, 100 * torch.searchsorted(held_out, scores).float() / len(held_out)


def _held_out(model: Model) -> Tensor:
    """From the last evaluation when there was one, else computed."""
    if model.folder.scores.exists():
        with np.load(model.folder.scores, allow_pickle=False) as scores:
            if "held_out" in scores:
                return torch.from_numpy(scores["held_out"]).float()
    return energies(model.energy, model.recipe.load().held_out.x)
