"""Does the model copy its training data? How near each sample comes to the nearest training row.

Held-out rows give the scale: samples nearer to the training rows than those are copies, samples much
farther are not like the data. Distances are Euclidean, over all entries.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg.estimate import Estimate

ENTRIES = 2**23
"""How many distances are held at a time, 64 MB."""


def nearest_distances(
    samples: Float[Tensor, "samples *event"], train: Float[Tensor, "train *_event"]
) -> Float[Tensor, " samples"]:
    """The distance of each sample to its nearest training row.

    The nearest row is found by matrix products; its distance is then computed from the difference, so
    that an exact copy has distance 0 and not the rounding error of a product.

    Raises:
        ValueError: If the event shapes differ, or there is no training row.
    """
    if samples.shape[1:] != train.shape[1:] or not len(train):
        raise ValueError(
            "Nearest rows need samples and training rows of one event shape, "
            f"but got {tuple(samples.shape)} and {tuple(train.shape)}."
        )
    flat = samples.detach().reshape(len(samples), -1).to("cpu", torch.float32)
    rows = train.detach().reshape(len(train), -1).to("cpu", torch.float32)
    lengths = rows.square().sum(1)
    chunks = flat.split(max(1, ENTRIES // len(rows)))
    nearest = [rows[torch.addmm(lengths, chunk, rows.T, alpha=-2).argmin(1)] for chunk in chunks]
    return torch.cat([(chunk - row).double().norm(dim=1) for chunk, row in zip(chunks, nearest, strict=True)])


def nearest_distance(samples: Float[Tensor, "samples *event"], train: Float[Tensor, "train *_event"]) -> Estimate:
    """The mean distance of a sample to its nearest training row.

    Raises:
        ValueError: If the event shapes differ, there is no training row, or there are fewer than two samples.
    """
    return Estimate.of_mean(nearest_distances(samples, train))
