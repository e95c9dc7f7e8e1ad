r"""Steps that stay right while the energy changes.

A step size that was tuned before training is soon the wrong one. The acceptance that the chains report anyway says
so, and for nothing: where it leaves a band around the target :math:`a^*`, the step size h is corrected,

.. math:: \log h \leftarrow \log h + \eta\,(a - a^*).
"""

import math
from collections.abc import Mapping
from functools import partial
from operator import mul
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.negatives.chains import Chains
from erg.negatives.ladders import accepting
from erg.roles import EnergyLike, Kernel, Negatives
from erg.samplers.schedules import setting, with_setting
from erg.samplers.tuning.tunable import tuning_of


class Tuned(Negatives):
    """Chains whose kernel is corrected between calls until it is accepted as often as its algorithm wants.

    No energy is evaluated for that. What the chains report gets ``chain/step_size`` (or whatever the setting is
    called) beside it. The kernel of the negatives stays as it is; a factor of its setting is kept here. Where
    somebody else makes that setting smaller, as the guard does after a divergence, the correction goes no higher
    from then on: it would undo the cut. Of replica exchange, the cold replica is what is accepted often enough.

    Args:
        negatives: Chains. Wrappers go around: ``Every(Tuned(...), updates=2)``.
        band: How far the acceptance of a call may be from the target.
        rate: eta.

    Raises:
        TypeError: If the negatives are no chains, or their kernel has nothing that its acceptance tunes.
        ValueError: If `band` or `rate` is not positive.

    References:
        Andrieu & Thoms (2008), A tutorial on adaptive MCMC, doi:10.1007/s11222-008-9110-y

    Example:
        >>> from erg.negatives import Persistent
        >>> from erg.samplers import mala
        >>> negatives = Tuned(Persistent(mala(1e-3), steps=10, size=256))
        >>> rng = torch.Generator().manual_seed(0)
        >>> for _ in range(40):
        ...     x = negatives(lambda x: x.square().sum(1) / 2, torch.zeros(64, 2), rng)
        >>> bool((negatives.monitor["chain/acceptance"] - 0.574).abs() < 0.15)
        True
    """

    def __init__(self, negatives: Negatives, *, band: float = 0.1, rate: float = 1.0) -> None:
        if not isinstance(negatives, Chains):
            raise TypeError(
                f"Tuned corrects the kernel of chains, as Persistent, but got {type(negatives).__name__}; "
                "put Tuned inside of it."
            )
        if not (0 < band < 1 and 0 < rate < math.inf):
            raise ValueError(
                f"Tuned needs a band between 0 and 1 and a positive rate, but got band={band} and rate={rate}."
            )
        tuning = tuning_of(accepting(negatives.kernel))
        if tuning is None:
            raise TypeError(
                f"{type(negatives.kernel).__name__} has no setting that its acceptance tunes; "
                "use mala() or another Metropolis kernel, or leave Tuned out."
            )
        self.negatives = negatives
        self.band = band
        self.rate = rate
        self.tuning = tuning
        self.log_factor = 0.0
        self._ceiling = math.inf
        self._size: float | None = None
        self._monitor: Mapping[str, Tensor] = {}

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """What the chains noticed, and the setting that they ran with, on average over chains."""
        return self._monitor

    @property
    def factor(self) -> float:
        """What the setting of the given kernel is multiplied by."""
        return math.exp(self.log_factor)

    @property
    def corrected(self) -> Kernel:
        """The kernel that the next call uses."""
        given = self.negatives.kernel
        return with_setting(given, self.tuning.setting, partial(mul, self.factor)) if self.log_factor != 0 else given

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """Negatives of the corrected kernel."""
        chains, name = self.negatives, self.tuning.setting
        given = chains.kernel
        size = float(torch.as_tensor(setting(given, name)).double().mean())
        if self._size is not None and size < self._size:
            self._ceiling = min(self._ceiling, self.log_factor)
        self._size = size
        # Only for this call: who looks after the kernel, the guard for example, finds the one that was given.
        chains.kernel = self.corrected
        try:
            found = chains(energy, x, rng)
        finally:
            chains.kernel = given
        used = torch.tensor(size * self.factor)
        self._monitor = {**chains.monitor, f"chain/{name}": used}
        self._correct(float(chains.monitor["chain/acceptance"]))
        return found

    def _correct(self, acceptance: float) -> None:
        miss = acceptance - self.tuning.acceptance
        if abs(miss) > self.band:
            self.log_factor = min(self.log_factor + self.rate * miss, self._ceiling)

    def state_dict(self) -> dict[str, Any]:
        """The correction, how far it may go, and for which setting of the kernel."""
        return {"log_factor": self.log_factor, "ceiling": self._ceiling, "size": self._size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with a saved correction."""
        self.log_factor, self._ceiling, self._size = state["log_factor"], state["ceiling"], state["size"]
