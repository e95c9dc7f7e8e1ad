r"""How long a trajectory should be: as long as it pays.

A trajectory of L leapfrogs takes z, in units of the spread around the mean, to z'. It is worth the effective sample
size of such steps per gradient, by the correlation that is left after one of them:

.. math:: w(L) = \frac{1}{L} \min_f \frac{1 - \rho_f}{1 + \rho_f}, \qquad
   1 - \rho_f = \min\left(1, \frac{\mathbb E (f(z') - f(z))^2}{2\,\mathrm{Var} f}\right), \qquad
   f(z) = z \text{ or } |z|^2.

The state alone would praise a trajectory that ends on the other side of the mean, where every second moment is
the same again. Candidates grow until two in a row fall behind.

References:
    Hoffman, Radul & Sountsov (2021), An adaptive MCMC scheme for setting trajectory lengths in Hamiltonian Monte
    Carlo, PMLR 130:3907-3915 (jumps of the squared distance as the criterion)
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.samplers.tuning.spread import Spread

TRAJECTORY = "leapfrogs"
CANDIDATES = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)
BEHIND = 0.7
"""Share of the best worth below which a candidate is out of the race."""


class Trajectories:
    """A race of trajectory lengths, shortest first.

    Args:
        steps: How many there are for all candidates together.

    Attributes:
        repeats: Steps for each candidate.
    """

    def __init__(self, steps: int) -> None:
        self.repeats = max(1, steps // len(CANDIDATES))
        self._most = min(steps // self.repeats, len(CANDIDATES))
        self._worth: list[float] = []
        self._jumps: list[Tensor] = []

    @property
    def next(self) -> int:
        """The length to be tried."""
        return CANDIDATES[len(self._worth)]

    @property
    def best(self) -> int:
        """The length that paid most so far."""
        return CANDIDATES[max(range(len(self._worth)), key=self._worth.__getitem__)]

    @property
    def done(self) -> bool:
        """Whether all were tried, or the last two fell behind."""
        last = self._worth[-2:]
        behind = len(last) == 2 and max(last) < BEHIND * max(self._worth)
        return behind or len(self._worth) == self._most

    def add(
        self, spread: Spread, before: Float[Tensor, "batch *event"], after: Float[Tensor, "batch *event"]
    ) -> None:
        """Take in one step of the length that is being tried."""
        z, moved = (((x.to(spread.mean.dtype) - spread.mean) / spread.deviation).double() for x in (before, after))
        far, now = rows.total(z.square()), rows.total(moved.square())
        jump = rows.total((moved - z).square()) / (2 * z[0].numel())
        self._jumps.append(torch.stack([jump, (now - far).square(), far, far.square()], 1))
        if len(self._jumps) == self.repeats:
            # In order of size: the sums are the same to the last bit, whatever the order of the chains.
            jump, change, far, square = torch.cat(self._jumps).sort(0).values.mean(0).tolist()
            variance = max(square - far**2, 1e-12)
            forgotten = min(jump, change / (2 * variance), 1.0)
            self._worth.append(forgotten / (2 - forgotten) / self.next)
            self._jumps = []
