r"""The likelihood itself, for models whose states can be counted.

.. math:: \mathcal L(\theta) = \mathbb E_{data}[E_\theta(x)] + \log \sum_x e^{-E_\theta(x)}

Every state is visited at every call, so the gradient has no error but that of the batch. It is what all other
objectives are compared with.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from erg.draws import Rng
from erg.energies.algebra import Clamped
from erg.energies.energy import Energy, as_energy, check_energies
from erg.roles import EnergyLike, Loss, Objective
from erg.support import Binary, OneHot, Spin

_CHUNK = 2**14


class ExactLikelihood(Objective):
    """Minus the mean log-likelihood of a batch, by enumeration, for energies on Binary, Spin or OneHot.

    Logs ``log_likelihood`` and ``log_z`` in nats, and ``energy/data``. Memory is that of one chunk of states.

    Example:
        >>> from erg.energies import BoltzmannMachine
        >>> loss = ExactLikelihood()(BoltzmannMachine((3,), scale=0.0), torch.ones(2, 3))
        >>> round(loss.terms["log_z"].item() / 3, 4)
        0.6931
    """

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """The loss of one batch. Draws nothing.

        Raises:
            TypeError: If the energy is not discrete, or holds some entries.
            ValueError: If it has more than 2^24 states.
        """
        energy = as_energy(energy)
        if not isinstance(energy.support, Binary | Spin | OneHot):
            raise TypeError(
                "ExactLikelihood visits every state on Binary, Spin or OneHot, but this energy lives on "
                f"{energy.support}; use MaximumLikelihood."
            )
        if any(isinstance(part, Clamped) for part in energy.modules()):
            raise TypeError(
                "ExactLikelihood visits every state, but this energy holds some entries, whose values would be "
                "counted over and over; write it as a function of the free entries."
            )
        data = check_energies(energy(batch), batch).mean()
        log_z = differentiable_log_z(energy, batch)
        value = data + log_z
        terms = {"log_likelihood": -value.detach(), "log_z": log_z.detach(), "energy/data": data.detach()}
        return Loss(value, terms)


def differentiable_log_z(energy: Energy, like: Float[Tensor, "batch *event"]) -> Float[Tensor, ""]:
    """Log Z of states of the shape, dtype and device of `like`, with its gradient in the energy's parameters."""
    support = energy.support
    assert isinstance(support, Binary | Spin | OneHot)  # enumerable: the caller has looked
    total = torch.full((), -torch.inf, dtype=like.dtype, device=like.device)
    for states in support.enumerate(tuple(like.shape[1:]), chunk=_CHUNK):
        # The energies of a chunk are computed again on the way back, so that their graphs are not kept.
        chunk = checkpoint(partial(_log_sum, energy), states.to(like), use_reentrant=False)
        total = torch.logaddexp(total, chunk)
    return total


def _log_sum(energy: Energy, states: Tensor) -> Tensor:
    return (-check_energies(energy(states), states)).logsumexp(0)
