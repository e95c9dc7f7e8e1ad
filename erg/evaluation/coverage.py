r"""Does the model make every class, and are its pictures of any class at all?

With p(c | x) from a classifier and the mean class distribution :math:`\bar p`,

.. math:: \mathrm{KL}(\bar p \,\|\, \text{uniform}) = \sum_c \bar p_c \log (K \bar p_c) \in [0, \log K].

It is 0 when all K classes are equally frequent and log K when the model makes one class only. Noise
spread evenly over the classes also reaches 0, so it is read together with the mean confidence, the
mean of the largest class probability.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg.estimate import Estimate
from erg.evaluation.resampling import bootstrap_counts


def class_kl(probabilities: Float[Tensor, "batch classes"]) -> Estimate:
    """KL of the mean class distribution to the uniform one, in nats, with a bootstrap error.

    At n pictures of evenly frequent classes its mean is not 0 but about (K - 1) / (2 n).

    Raises:
        ValueError: If the rows are not at least two distributions.
    """
    probabilities = _distributions(probabilities)
    draws = [_kl_to_uniform(w @ probabilities / len(w)) for (w,) in bootstrap_counts(len(probabilities))]
    return Estimate(_kl_to_uniform(probabilities.mean(0)).item(), torch.stack(draws).std().item())


def mean_confidence(probabilities: Float[Tensor, "batch classes"]) -> Estimate:
    """The mean of the largest class probability of each picture.

    Raises:
        ValueError: If the rows are not at least two distributions.
    """
    return Estimate.of_mean(_distributions(probabilities).amax(1))


def _kl_to_uniform(p: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
    return torch.special.xlogy(p, p * len(p)).sum()


def _distributions(probabilities: Tensor) -> Tensor:
    if probabilities.ndim != 2 or len(probabilities) < 2:
        raise ValueError(
            "Class probabilities are at least two rows of shape (batch, classes), "
            f"but got {tuple(probabilities.shape)}."
        )
    probabilities = probabilities.double()
    if not torch.allclose(probabilities.sum(1), torch.ones(len(probabilities), dtype=torch.float64), atol=1e-4):
        raise ValueError("Class probabilities sum to 1 in each row, but these do not; apply softmax to logits.")
    return probabilities
