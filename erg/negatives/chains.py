"""Negatives that are the ends of Markov chains."""

from collections.abc import Mapping

from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.roles import EnergyLike, Kernel, Negatives
from erg.samplers.chain import advance
from erg.samplers.rules import support_of
from erg.support import Box, Support


class Chains(Negatives):
    """Runs a kernel and notes what was noticed on the way. Subclasses say where chains start.

    Args:
        kernel: What moves the chains.
        steps: Transitions per call.

    Raises:
        ValueError: If `steps` is not positive.
    """

    def __init__(self, kernel: Kernel, steps: int) -> None:
        rows.whole("steps", steps, of=type(self).__name__)
        self.kernel = kernel
        self.steps = steps
        self._monitor: dict[str, Tensor] = {}

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """Acceptance, finite share, distance moved and, on a box, the shares of chains and data at its faces."""
        return self._monitor

    def _run(self, energy: EnergyLike, start: Tensor, x: Tensor, rng: Rng) -> Tensor:
        end, acceptance = advance(self.kernel, energy, start, self.steps, rng)
        self._notice(support_of(energy), start, end, x, acceptance, rows.finite(end))
        return end

    def _notice(
        self, support: Support, start: Tensor, end: Tensor, x: Tensor, acceptance: Tensor, finite: Tensor
    ) -> None:
        self._monitor = {
            "chain/acceptance": acceptance.mean(),
            "chain/finite": finite.float().mean(),
            "chain/moved": (end - start.detach()).abs().mean(),
        }
        if isinstance(support, Box):
            self._monitor["chain/saturated"] = _at_faces(end, support)
            self._monitor["data/saturated"] = _at_faces(x, support)


def _at_faces(x: Tensor, box: Box) -> Tensor:
    return ((x <= box.low) | (x >= box.high)).float().mean()
