r"""Pseudo-likelihood: every site predicted from all others.

.. math:: \mathcal L(\theta) = -\mathbb E_{data} \sum_i \log p_\theta(x_i \mid x_{\setminus i})

No partition function and no chain. With enough data of the model the minimum is at the truth; couplings that are
weak or sparse are found almost as well as by the likelihood.
"""

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.objectives.sites import check_sites, count_of, site_log_probabilities
from erg.roles import EnergyLike, Loss, Objective


class PseudoLikelihood(Objective):
    """Raise the probability of every site given the others, for energies on Binary, Spin or OneHot.

    Logs ``pseudolikelihood``, the mean log probability of a row's sites in nats, and ``energy/data``.

    Args:
        sites: Look at so many sites of each row, drawn anew at every call, and scale up: for energies without local
            fields, whose cost is one evaluation a site. None looks at all.

    Raises:
        ValueError: If `sites` is less than 1.

    References:
        Besag (1975), Statistical analysis of non-lattice data, doi:10.2307/2987782

    Example:
        >>> import torch
        >>> from erg.energies import BoltzmannMachine
        >>> machine = BoltzmannMachine((3,), scale=0.0)
        >>> loss = PseudoLikelihood()(machine, torch.tensor([[0.0, 1.0, 1.0]]))
        >>> round(loss.value.item() / 3, 4)
        0.6931
    """

    def __init__(self, sites: int | None = None) -> None:
        if sites is not None and sites < 1:
            raise ValueError(f"PseudoLikelihood looks at one site of each row at least, but got sites={sites}.")
        self.sites = sites

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """The loss of one batch.

        Raises:
            TypeError: If the energy has no discrete sites, or holds some.
            ValueError: If rows do not lie where the energy lives.
        """
        check_sites(energy, batch, of=PseudoLikelihood)
        energy = as_energy(energy)
        found = site_log_probabilities(energy, batch, sites=self.sites, rng=rng)
        scale = 1 if self.sites is None else count_of(batch, energy.support) / self.sites
        value = -scale * found.sum(1).mean()
        return Loss(value, {"pseudolikelihood": -value.detach(), "energy/data": energy(batch).detach().mean()})
