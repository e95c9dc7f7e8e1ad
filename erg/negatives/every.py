"""Negatives that serve several updates."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.negatives.conditions import conditions, one_a_row
from erg.roles import EnergyLike, Negatives


class Every(Negatives):
    """Negatives that are refreshed at every k-th update and reused in between.

    Args:
        negatives: Supplies the negatives.
        updates: k.

    Raises:
        ValueError: If `updates` is not positive.
    """

    def __init__(self, negatives: Negatives, updates: int) -> None:
        rows.whole("updates", updates, of="Every")
        self.negatives = negatives
        self.updates = updates
        self.calls = 0
        self.last: Tensor | None = None
        # A copy, saved with the negatives: a resumed run then logs what an undisturbed one would.
        self._monitor: Mapping[str, Tensor] = {}

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """What the inner negatives noticed when they were last asked."""
        return self._monitor

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """Fresh negatives at calls 0, k, 2k, ...; the former ones otherwise.

        Raises:
            TypeError: If the energy has one condition per row.
        """
        if any(map(one_a_row, conditions(energy))):
            raise TypeError(
                "Every reuses the negatives of another batch, but this energy has a condition for each row, "
                "which changes with the batch; use the negatives without Every."
            )
        if self.last is None or self.calls % self.updates == 0:
            self.last = self.negatives(energy, x, rng)
            self._monitor = dict(self.negatives.monitor)
        self.calls += 1
        return self.last

    def state_dict(self) -> dict[str, Any]:
        """The reused negatives, what was noticed of them, and the count of calls."""
        return {"calls": self.calls, "last": self.last, "monitor": dict(self._monitor)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the saved one stopped."""
        self.calls, self.last, self._monitor = state["calls"], state["last"], state["monitor"]
