r"""Ratio matching: the ratios of probabilities between a state and its neighbours, matched in the square.

.. math:: \mathcal L(\theta) = \mathbb E_{data} \sum_i g^2\!\left(\frac{p(x)}{p(\bar x_i)}\right)
    = \mathbb E_{data} \sum_i \big(1 - p_\theta(x_i \mid x_{\setminus i})\big)^2, \qquad g(u) = \frac 1{1 + u}

with :math:`\bar x_i` the state with bit i flipped. It is the binary relative of score matching. A bit that the model
has badly wrong weighs 1 at most, where pseudo-likelihood has no bound.
"""

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.objectives.sites import check_sites, count_of, site_log_probabilities
from erg.roles import EnergyLike, Loss, Objective
from erg.support import Binary, Spin


class RatioMatching(Objective):
    """Make every bit likelier than its flip, in the square, for energies on Binary or Spin.

    Logs ``ratio_matching``, the loss a row, and ``energy/data``.

    Args:
        sites: Look at so many sites of each row, drawn anew at every call, and scale up. None looks at all.

    Raises:
        ValueError: If `sites` is less than 1.

    References:
        Hyvärinen (2007), Some extensions of score matching, doi:10.1016/j.csda.2006.09.003

    Example:
        >>> import torch
        >>> from erg.energies import BoltzmannMachine
        >>> RatioMatching()(BoltzmannMachine((4,), scale=0.0), torch.ones(2, 4)).value.item()
        1.0
    """

    def __init__(self, sites: int | None = None) -> None:
        if sites is not None and sites < 1:
            raise ValueError(f"RatioMatching looks at one site of each row at least, but got sites={sites}.")
        self.sites = sites

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """The loss of one batch.

        Raises:
            TypeError: If the energy does not live on Binary or Spin, or holds some sites.
            ValueError: If rows do not lie where the energy lives.
        """
        check_sites(energy, batch, of=RatioMatching, supports=(Binary, Spin))
        energy = as_energy(energy)
        found = site_log_probabilities(energy, batch, sites=self.sites, rng=rng)
        scale = 1 if self.sites is None else count_of(batch, energy.support) / self.sites
        value = scale * found.expm1().square().sum(1).mean()
        return Loss(value, {"ratio_matching": value.detach(), "energy/data": energy(batch).detach().mean()})
