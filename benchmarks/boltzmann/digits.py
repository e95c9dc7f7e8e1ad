"""Binary digits and machines trained on them, for the rows of this package."""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from erg.data import load
from erg.energies import RBM
from erg.roles import Objective
from erg.training.loop import train


def digits(*, flipped: bool = False) -> tuple[Tensor, Tensor]:
    """MNIST's 60,000 training and 10,000 test images of 0 and 1, binarised at 0.5."""
    data = load("mnist", binarise=0.5)
    both = data.train.x, data.held_out.x
    return (1 - both[0], 1 - both[1]) if flipped else both


def batches(x: Tensor, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Rows in random order, epoch after epoch, for ever; what is left over in an epoch is left out."""
    while True:
        order = torch.randperm(len(x), generator=rng)
        yield from (x[index] for index in order.split(size)[: len(x) // size])


def trained(
    rbm: RBM,
    objective: Objective,
    x: Tensor,
    *,
    epochs: int,
    rate: float | Callable[[float], float],
    seed: int,
    batch: int = 100,
    look: Callable[[int], None] = lambda step: None,
) -> RBM:
    """The machine after plain gradient descent.

    Args:
        rbm: Starts at the data already.
        objective: Of any kind.
        x: Training rows.
        epochs: How often all rows are seen.
        rate: Of learning; a number, or a function of the share of training done.
        seed: Of chains and order.
        batch: Rows an update.
        look: Called after every update with the number of updates.
    """
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(rbm.parameters(), lr=rate if isinstance(rate, float) else rate(0.0))
    steps = epochs * (len(x) // batch)
    losses = train(rbm, objective, islice(batches(x, batch, rng), steps), optimizer, rng)
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss.value.item()):
            raise RuntimeError(f"the loss is {loss.value.item()} after {step} updates")
        if callable(rate):
            optimizer.param_groups[0]["lr"] = rate(step / steps)
        look(step)
    return rbm
