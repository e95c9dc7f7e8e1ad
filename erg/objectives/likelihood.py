r"""Maximum likelihood by contrast.

.. math:: \nabla_\theta\, \mathbb E_{data}[-\log p_\theta(x)]
          = \mathbb E_{data}[\nabla_\theta E_\theta(x)] - \mathbb E_{model}[\nabla_\theta E_\theta(x')]

The loss is the difference of the two mean energies with x' held fixed; its gradient is the one
above when the negatives follow the model. Where the negatives come from makes it contrastive
divergence, persistent contrastive divergence or short-run learning.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import Energy, as_energy, check_energies
from erg.energies.repeated import repeated
from erg.objectives.penalties import Penalties, penalise
from erg.roles import EnergyLike, Loss, Negatives, Objective


class Phases(NamedTuple):
    """Both sides of a comparison: data and model states with their differentiable energies."""

    data: Float[Tensor, "batch *event"]
    model: Float[Tensor, "negatives *event"]
    energy_data: Float[Tensor, " batch"]
    energy_model: Float[Tensor, " negatives"]


class MaximumLikelihood(Objective):
    """Lower the energy of data, raise the energy of negatives.

    Logs ``energy/data``, ``energy/model``, ``energy/gap`` (model minus data: positive when data are
    likelier), ``energy/spread`` (the standard deviation within a phase), what the negatives noticed
    under ``chain/``, and each penalty under ``penalty/``.

    Args:
        negatives: `FromData` (CD), `Persistent` (PCD), `FromNoise` (short run), or any other.
        penalties: Name to (weight, penalty). They use the energies at hand and cost no further pass.
    """

    def __init__(self, negatives: Negatives, penalties: Penalties | None = None) -> None:
        self.negatives = negatives
        self.penalties: Penalties = penalties or {}

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """Compare a batch of data with fresh negatives.

        Raises:
            TypeError: If the batch is not one floating tensor, as that of a loader of pairs.
        """
        energy = as_energy(energy)
        return self.compare(energy, batch, self.draw(energy, batch, rng))

    def draw(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Tensor:
        """The negatives that a batch is held against.

        Raises:
            TypeError: If the batch is not one floating tensor, as that of a loader of pairs.
        """
        if not isinstance(batch, Tensor) or not batch.is_floating_point():
            got = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
            raise TypeError(
                f"MaximumLikelihood compares floating rows (batch, *event), but got {got}; take x out of a loader's "
                "pairs, convert integers, or give (x, y) to Conditional."
            )
        return self.negatives(energy, batch, rng).detach()

    def compare(self, energy: Energy, batch: Float[Tensor, "batch *event"], model: Tensor) -> Loss:
        """The loss of a batch and the negatives that were drawn for it."""
        of_model = repeated(energy, len(model) // len(batch), event=batch.ndim - 1)
        phases = Phases(batch, model, check_energies(energy(batch), batch), check_energies(of_model(model), model))
        data_mean, model_mean = phases.energy_data.mean(), phases.energy_model.mean()
        penalty, penalty_terms = penalise(self.penalties, energy, phases)
        terms: Mapping[str, Any] = {
            "energy/data": data_mean.detach(),
            "energy/model": model_mean.detach(),
            "energy/gap": (model_mean - data_mean).detach(),
            "energy/spread": _spread(phases),
            **self.negatives.monitor,
            **penalty_terms,
        }
        return Loss(data_mean - model_mean + penalty, terms)


def _spread(phases: Phases) -> Tensor:
    """The root mean square of both phases' standard deviations; zero for single rows."""
    within = [energies.detach().var(correction=0) for energies in (phases.energy_data, phases.energy_model)]
    return ((within[0] + within[1]) / 2).sqrt()
