r"""The exponential moving average of an energy: what is sampled, scored and exported.

.. math:: \bar\theta_t = d_t\,\bar\theta_{t-1} + (1 - d_t)\,\theta_t,
          \qquad d_t = \min\left(d,\ \frac{1 + t}{10 + t}\right)

The decay grows with the number t of updates, so that the first weights, which are random, are
forgotten within a few updates instead of after 1 / (1 - d).

Parameters are averaged, buffers are copied. A buffer may be a mask of infinities or a count, and the singular
vectors of a spectral norm must keep unit length: an average of them would make the norm several times too large.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from erg.roles import Centring


class Averaged:
    """A copy of an energy whose parameters follow those of the original slowly.

    `energy` is in evaluation mode and its parameters need no gradient.

    Args:
        energy: The energy that is trained; on its device already.
        decay: d, in [0, 1). 0 keeps a plain copy.

    Raises:
        ValueError: If `decay` is not in [0, 1).

    Example:
        >>> energy = nn.Linear(2, 1)
        >>> average = Averaged(energy, 0.999)
        >>> average.update()
        >>> bool((average.energy.weight == energy.weight).all())
        True
    """

    def __init__(self, energy: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"Averaged needs a decay in [0, 1), but got {decay}.")
        self.decay = decay
        self.updates = 0
        self.energy = copy.deepcopy(energy).eval().requires_grad_(False)
        self._source = energy

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the energy as it is now; call it after each optimiser step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for own, source in zip(self.energy.modules(), self._source.modules(), strict=True):
            if isinstance(own, Centring) and isinstance(source, Centring):
                # Biases can be averaged at common offsets only.
                own.recentre(*source.offsets)
        parameters = [parameter.detach() for parameter in self.energy.parameters()]
        if parameters:
            torch._foreach_lerp_(parameters, [target.detach() for target in self._source.parameters()], 1 - decay)
        for average, target in zip(self.energy.buffers(), self._source.buffers(), strict=True):
            average.copy_(target)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of updates."""
        return {"updates": self.updates, "energy": self.energy.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the saved one stopped."""
        self.updates = state["updates"]
        self.energy.load_state_dict(state["energy"])
