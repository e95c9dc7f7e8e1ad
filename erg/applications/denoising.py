r"""Undo flips of bits: :math:`p(x \mid y) \propto p(y \mid x)\, e^{-E(x)}` for bits y of which some were flipped.

Bits that flip independently with probability p are evidence of log odds :math:`\pm\log\frac{1 - p}{p}` for each
entry: the posterior is the energy in a field, `InField`, and everything that moves on one moves on the other.
"""

import math

from jaxtyping import Float
from torch import Tensor

from erg.applications.completion import Posterior, posterior
from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.energies.field import InField
from erg.roles import EnergyLike, Kernel
from erg.samplers.discrete.gibbs import BlockGibbs
from erg.support import Binary, Spin


def denoise(
    energy: EnergyLike,
    x: Float[Tensor, "batch *event"],
    *,
    flips: float,
    kernel: Kernel = BlockGibbs(),
    steps: int = 200,
    discard: int = 50,
    rng: Rng = None,
) -> Posterior:
    """The rows before each of their bits was flipped with some probability.

    The mean above 1/2 (of spins, above 0) is the guess with the fewest wrong bits.

    Args:
        energy: Of clean rows, on `Binary` or `Spin`.
        x: Noisy rows.
        flips: The probability of a flip, below 1/2.
        kernel: What moves the rows, from the noisy ones.
        steps: Over which the mean is taken.
        discard: Steps before that.
        rng: The only source of randomness when given.

    Raises:
        ValueError: If rows are off the energy's support, `flips` is not in (0, 1/2), or `steps` is not positive.
        TypeError: If the energy is on another support.
    """
    energy = as_energy(energy)
    support = energy.support
    if not isinstance(support, Binary | Spin):
        raise TypeError(f"denoise() undoes flips of bits or spins, but this energy lives on {support}.")
    if not 0 < flips < 0.5:
        raise ValueError(f"Flips have a probability between 0 and 1/2, but got flips={flips}.")
    if not bool(support.contains(x).all()):
        raise ValueError(f"Noisy rows are of flipped entries, on {support}, but some are not; binarise them first.")
    low, high = support.values
    odds = math.log((1 - flips) / flips)
    # Between the two values the log likelihood differs by the odds, whatever the values are.
    signs = (2 * x - low - high) / (high - low)
    return posterior(InField(energy, signs * odds / (high - low)), x, kernel, steps, discard, rng)
