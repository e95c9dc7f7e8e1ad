"""Chains that start anew at every update: at the data, or at noise."""

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.negatives.chains import Chains
from erg.roles import EnergyLike
from erg.samplers.rules import support_of


class FromData(Chains):
    """Chains that start at the data: contrastive divergence, CD-k.

    Args:
        kernel: What moves the chains.
        steps: k.

    References:
        Hinton (2002), Training products of experts by minimizing contrastive divergence
    """

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """One negative per data row."""
        return self._run(energy, x, x, rng)


class FromNoise(Chains):
    """Chains that start at noise each time: short-run learning.

    Args:
        kernel: What moves the chains.
        steps: How far from noise to negative.

    References:
        Nijkamp et al. (2019), Learning non-convergent non-persistent short-run MCMC, arXiv:1904.09770
    """

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """One negative per data row."""
        return self._run(energy, support_of(energy).initial(tuple(x.shape), rng, like=x), x, rng)
