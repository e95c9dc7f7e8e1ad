r"""Centring: learn a Boltzmann machine in coordinates whose origin is at the means of its layers.

The plain gradient depends on which value of a unit is called 1: learning 1 - x differs from learning x, and units
that are mostly 1 drag their weights along. With offsets at the means both are the same. The offsets follow slowly,

.. math:: \mu \leftarrow (1 - \nu)\,\mu + \nu\,\langle v \rangle, \qquad
          \lambda \leftarrow (1 - \nu)\,\lambda + \nu\,\langle h \rangle,

and the biases with them, so that no energy changes. The means are those of the data, or, in part, of the model: with
half of each it is the enhanced gradient.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.objectives.likelihood import MaximumLikelihood
from erg.roles import Centring, EnergyLike, Loss, Objective


class Centred(Objective):
    """An objective whose machine is centred before every comparison.

    Args:
        objective: Any; with a share of the model's means it is a `MaximumLikelihood`.
        rate: How far the offsets go towards the means of a batch.
        model: The share of the model's means in them: 0 is centring by data, 0.5 the enhanced gradient.

    Raises:
        ValueError: If `rate` is not in (0, 1] or `model` not in [0, 1].
        TypeError: If `model` is not 0 and the objective draws no negatives; when called, if the energy has no
            offsets.

    References:
        Cho, Raiko & Ilin (2011), Enhanced gradient and adaptive learning rate for training restricted Boltzmann
        machines
        Montavon & Müller (2012), Deep Boltzmann machines and the centering trick, doi:10.1007/978-3-642-35289-8_33
        Melchior, Fischer & Wiskott (2016), How to center deep Boltzmann machines, JMLR 17(99)

    Example:
        >>> from erg.energies import RBM
        >>> from erg.negatives import Persistent
        >>> from erg.samplers import BlockGibbs
        >>> objective = Centred(MaximumLikelihood(Persistent(BlockGibbs(), steps=1, size=8, fresh=0.0)))
        >>> rbm = RBM(6, hidden=4)
        >>> loss = objective(rbm, torch.ones(8, 6))
        >>> bool((rbm.visible_offset > 0).all())
        True
    """

    def __init__(self, objective: Objective, *, rate: float = 0.01, model: float = 0.0) -> None:
        if not 0 < rate <= 1 or not 0 <= model <= 1:
            raise ValueError(f"Centred needs rate in (0, 1] and model in [0, 1], but got rate={rate}, model={model}.")
        if model and not isinstance(objective, MaximumLikelihood):
            raise TypeError(
                "Centred takes means of the model from the negatives of MaximumLikelihood, but got "
                f"{type(objective).__name__}; leave model at 0."
            )
        self.objective = objective
        self.rate = rate
        self.model = model

    def __call__(self, energy: EnergyLike, batch: Float[Tensor, "batch *event"], rng: Rng = None) -> Loss:
        """Move the offsets, then compare."""
        energy = as_energy(energy)
        if not isinstance(energy, Centring):
            raise TypeError(
                f"Centred moves the offsets of a machine such as RBM, but {type(energy).__name__} has none; "
                "use its objective alone."
            )
        if not isinstance(self.objective, MaximumLikelihood):
            self._move(energy, batch, None)
            return self.objective(energy, batch, rng)
        negatives = self.objective.draw(energy, batch, rng)
        self._move(energy, batch, negatives if self.model else None)
        return self.objective.compare(energy, batch, negatives)

    @torch.no_grad()
    def _move(self, energy: Centring, data: Tensor, model: Tensor | None) -> None:
        means = _means(energy, data)
        if model is not None:
            means = [mean.lerp(other, self.model) for mean, other in zip(means, _means(energy, model), strict=True)]
        offsets = energy.offsets
        # A batch that is not finite moves nothing: the guard skips it, and weights stay whole.
        moved = [
            offset.lerp(mean.where(mean.isfinite(), offset), self.rate)
            for offset, mean in zip(offsets, means, strict=True)
        ]
        with torch.autocast(data.device.type, enabled=False):  # rounded, the biases would not follow
            energy.recentre(*moved)


def _means(energy: Centring, x: Tensor) -> list[Tensor]:
    """Of both layers, over the rows of all processes: they must agree on the offsets."""
    means = [x.flatten(1).mean(0), energy.hidden_mean(x).flatten(1).mean(0)]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for mean in means:
            torch.distributed.all_reduce(mean)
            mean /= torch.distributed.get_world_size()
    return means
