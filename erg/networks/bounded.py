"""A smooth bound on the energy."""

from jaxtyping import Float
from torch import Tensor, nn


class Bounded(nn.Module):
    r"""Squashes an energy into [-b, b]: :math:`b \tanh(E / b)`.

    Close to the identity where |E| is small against b. The slope vanishes far outside, so chains that
    start there do not move: choose b well above the energies that matter.

    Args:
        bound: b, in nats.

    Raises:
        ValueError: If `bound` is not positive and finite.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        if not 0 < bound < float("inf"):
            raise ValueError(f"Bounded needs a positive, finite bound, but got {bound}.")
        self.bound = bound

    def forward(self, energy: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The squashed energies."""
        return self.bound * (energy / self.bound).tanh()

    def extra_repr(self) -> str:
        """The bound, for `print(network)`."""
        return f"{self.bound}"


def squash(bound: float | None) -> nn.Module:
    """`Bounded`, or nothing when there is no bound."""
    return nn.Identity() if bound is None else Bounded(bound)
