"""A Monte Carlo number and its error: one type for every estimate that the toolkit prints."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Estimate(NamedTuple):
    """A value with its standard error, in the same unit.

    Example:
        >>> print(Estimate(1.234, 0.056))
        1.234 ± 0.056
    """

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.standard_error:.2g}"

    @classmethod
    def of_mean(cls, draws: Float[Tensor, " draws"]) -> "Estimate":
        """The mean of independent draws.

        Raises:
            ValueError: If there are fewer than two draws.
        """
        if draws.numel() < 2:
            raise ValueError(f"Estimate.of_mean needs at least two draws, but got {draws.numel()}.")
        draws = draws.double()
        return cls(draws.mean().item(), (draws.std() / torch.tensor(draws.numel()).sqrt()).item())
