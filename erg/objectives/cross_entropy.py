r"""Learning p(y | x) of a joint energy E(x, y): the energies of the labels, with their sign flipped, are logits."""

from typing import Any

from torch.nn.functional import cross_entropy

from erg.draws import Rng
from erg.roles import ClassEnergies, EnergyLike, Joint, Loss, Objective


class CrossEntropy(Objective):
    r"""Minus the mean of :math:`\log p(y \mid x) = -E(x, y) - \log \sum_k e^{-E(x, k)}`, for pairs (x, y).

    Logs ``cross_entropy`` in nats and ``accuracy``. Draws nothing.

    Raises:
        TypeError: When called, if the energy does not score all labels at once, or the batch is no pair.

    Example:
        >>> import torch
        >>> from erg.energies import LabelledRBM
        >>> loss = CrossEntropy()(LabelledRBM(4, 3, classes=2, scale=0.0), (torch.ones(5, 4), torch.tensor([0] * 5)))
        >>> round(float(loss.terms["cross_entropy"]), 4)
        0.6931
    """

    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss:
        """Compare the labels of a batch with those that the energy prefers."""
        x, y = pair(batch, of="CrossEntropy")
        if not isinstance(energy, ClassEnergies):
            raise TypeError(
                "CrossEntropy needs an energy with class_energies(x), such as LabelledRBM, but "
                f"{type(energy).__name__} has none."
            )
        logits = -energy.class_energies(x)
        classes = logits.shape[1]
        if bool(((y < 0) | (y >= classes)).any()):
            raise ValueError(
                f"Labels are 0 to {classes - 1}, but the batch has {int(y.min())} to {int(y.max())}; number the "
                "classes from 0, or build the energy with more classes."
            )
        value = cross_entropy(logits, y)
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        return Loss(value, {"cross_entropy": value.detach(), "accuracy": accuracy})


class Paired(Objective):
    """An objective for pairs (x, y): the inner one sees both as one state, and the energy of such states.

    With a `LabelledRBM`, `MaximumLikelihood` inside makes it a model of p(x, y), by block Gibbs over both.

    Args:
        objective: Compares joint states with ``energy.of_pairs()``.

    Raises:
        TypeError: When called, if the energy has no energy over pairs, or the batch is no pair.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss:
        """Put x and y together, and compare."""
        x, y = pair(batch, of="Paired")
        if not isinstance(energy, Joint):
            raise TypeError(
                "Paired needs an energy with pairs(x, y) and of_pairs(), such as LabelledRBM, but "
                f"{type(energy).__name__} has none; Conditional learns x given y with any energy of both."
            )
        return self.objective(energy.of_pairs(), energy.pairs(x, y), rng)


def pair(batch: Any, *, of: str) -> Any:
    """The states and labels of a batch.

    Raises:
        TypeError: If it is no pair.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(f"{of} learns from pairs (x, y), but got {type(batch).__name__}; give batches(x, labels=y).")
    return batch
