r"""Finds the step size at which a wanted share of proposals is accepted, one step at a time.

A noisy equation :math:`a(\theta) = a^*` for the log :math:`\theta` of the step size. `Crossing` comes near from
any distance: it gallops until the acceptance crosses the target and then halves the gap. `DualAveraging` goes on
from there. After the acceptances :math:`a_1, \dots, a_t`

.. math:: \theta_{t+1} = \theta_1 - \frac{\sqrt t}{\gamma (t + t_0)} \sum_{i=1}^t (a^* - a_i), \qquad
   \bar\theta_{t+1} = t^{-\kappa}\,\theta_{t+1} + (1 - t^{-\kappa})\,\bar\theta_t.

References:
    Nesterov (2009), Primal-dual subgradient methods for convex problems, doi:10.1007/s10107-007-0149-x
    Hoffman & Gelman (2014), The No-U-Turn sampler: adaptively setting path lengths in Hamiltonian Monte Carlo,
    arXiv:1111.4246
"""

import math

GAMMA, DELAY, KAPPA = 0.05, 10.0, 0.75
LIMIT = 60 * math.log(2)
"""How far from its start the log of a setting may go."""


class DualAveraging:
    """Steps towards the wanted acceptance, ever smaller ones.

    Args:
        start: theta_1. The published algorithm starts ten times higher, because its first guess is rougher.
        target: The wanted acceptance, a*.

    Attributes:
        value: theta, to be tried next.
        average: The average of the values, later ones weighing more: the result.
    """

    def __init__(self, start: float, target: float) -> None:
        self.start, self.target = start, target
        self.value = self.average = start
        self._missed = 0.0
        self._count = 0

    def update(self, acceptance: float) -> None:
        """Take in what the acceptance was at `value`."""
        self._count += 1
        self._missed += self.target - acceptance
        self.value = self.start - math.sqrt(self._count) / (GAMMA * (self._count + DELAY)) * self._missed
        self.value = min(max(self.value, self.start - LIMIT), self.start + LIMIT)
        weight = self._count**-KAPPA
        self.average = weight * self.value + (1 - weight) * self.average


class Crossing:
    """Two values within log 2 of each other, the lower accepted more than is wanted and the upper less.

    Args:
        start: The value to be tried first.
        target: The wanted acceptance.

    Attributes:
        value: To be tried next.
    """

    def __init__(self, start: float, target: float) -> None:
        self.start, self.target = start, target
        self.value = start
        self._low, self._high = -math.inf, math.inf
        self._jump = math.log(2)

    @property
    def found(self) -> bool:
        """Whether `value` is near the one that is looked for."""
        return self._high - self._low <= 1.001 * math.log(2)

    @property
    def hopeless(self) -> bool:
        """Whether the acceptance stays on one side of the target however far one goes."""
        return not -LIMIT <= self.value - self.start <= LIMIT

    def update(self, acceptance: float) -> None:
        """Take in what the acceptance was at `value`."""
        if acceptance > self.target:
            self._low = self.value
        else:
            self._high = self.value
        if self._low == -math.inf:
            self.value = self._high - self._jump
        elif self._high == math.inf:
            self.value = self._low + self._jump
        else:
            self.value = (self._low + self._high) / 2
        self._jump *= 2
