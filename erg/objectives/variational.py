r"""Learning of machines whose posterior is out of reach: its mean field stands in for it.

The gradient of the bound :math:`\log p(v) \ge -F(v, m) + H(m) - \log Z` at the means m of the hidden layers given v
is that of the two-layer machine at data which these means have completed, since m is where the bound is flat. So
every objective for a machine of two layers is one for a deep machine: the positive phase is by mean field, the
negative phase by chains over all layers.
"""

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.deep import DBM
from erg.roles import EnergyLike, Loss, Objective


class VariationalLikelihood(Objective):
    """Raises the variational bound on the likelihood of a deep Boltzmann machine.

    Args:
        objective: Compares states of all even layers, on `DBM.machine`: `MaximumLikelihood` with chains of all
            layers, or `Centred` around it.

    Raises:
        TypeError: When called with another energy than a `DBM`.

    References:
        Salakhutdinov & Hinton (2009), Deep Boltzmann machines

    Example:
        >>> import torch
        >>> from erg.negatives import Persistent
        >>> from erg.objectives import MaximumLikelihood
        >>> from erg.samplers import BlockGibbs
        >>> chains = Persistent(BlockGibbs(), steps=1, size=8, fresh=0.0)
        >>> objective = VariationalLikelihood(MaximumLikelihood(chains))
        >>> loss = objective(DBM(6, [4, 3]), torch.ones(8, 6))
        >>> chains.positions.shape
        torch.Size([8, 9])
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """Complete the batch, then compare."""
        if not isinstance(energy, DBM):
            raise TypeError(
                f"VariationalLikelihood completes data by the mean field of a DBM, but got {type(energy).__name__}; "
                "use its objective alone."
            )
        return self.objective(energy.machine, energy.filled(batch).detach(), rng)
