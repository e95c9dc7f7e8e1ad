"""Fill in what is missing: occluded pixels, the empty cells of a table. The rest is held, and the model draws."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.deep import DBM
from erg.energies.energy import as_energy
from erg.roles import EnergyLike, Kernel
from erg.samplers.chain import chain
from erg.samplers.discrete.gibbs import BlockGibbs
from erg.samplers.discrete.layers import AllLayers


class Posterior(NamedTuple):
    """What a model believes about each row, given what was observed of it.

    Attributes:
        sample: One draw a row, where the chains ended.
        mean: The expected row: the mean over the chain. Of bits, the probabilities of a 1.
    """

    sample: Float[Tensor, "batch *event"]
    mean: Float[Tensor, "batch *event"]


def fill(
    energy: EnergyLike,
    x: Float[Tensor, "batch *event"],
    *,
    missing: Bool[Tensor, "*event"] | Bool[Tensor, "batch *event"],
    kernel: Kernel = BlockGibbs(),
    steps: int = 200,
    discard: int = 50,
    rng: Rng = None,
) -> Posterior:
    """The missing entries given the others.

    Args:
        energy: Of whole rows. Of a `DBM` moved by block Gibbs, the law is that of all its layers.
        x: Rows; whatever is at their missing entries, NaN as well, is not read.
        missing: Where entries are missing: one mask for all rows, or one a row, as ``x.isnan()``.
        kernel: What moves the missing entries, from noise; the others are held.
        steps: Over which the mean is taken.
        discard: Steps before that.
        rng: The only source of randomness when given.

    Raises:
        ValueError: If the mask is of another shape, observed entries are off the energy's support, or `steps` is not
            positive.
        TypeError: If the mask is not boolean, or the kernel does not move on this energy.

    Example:
        >>> from erg.energies import RBM
        >>> rbm = RBM(3, 2)
        >>> x = torch.tensor([[1.0, float("nan"), 0.0]])
        >>> fill(rbm, x, missing=x.isnan(), steps=5).sample[:, [0, 2]]
        tensor([[1., 0.]])
    """
    energy = as_energy(energy)
    if missing.dtype != torch.bool:
        raise TypeError(f"missing is a boolean mask, but got {missing.dtype}; pass missing.bool().")
    if missing.shape not in (x.shape, x.shape[1:]):
        raise ValueError(
            f"missing is a mask of the rows, shape {tuple(x.shape)}, or of one event, but got {tuple(missing.shape)}."
        )
    start = torch.where(missing, energy.support.initial(tuple(x.shape), rng, like=x), x)
    elsewhere = int((~energy.support.contains(start)).sum())
    if elsewhere:
        raise ValueError(
            f"Observed entries lie on {energy.support}, but those of {elsewhere} of {len(x)} rows do not; scale or "
            "round them as for training, and mark all categories of a site as missing, or none."
        )
    if isinstance(energy, DBM) and isinstance(kernel, AllLayers | BlockGibbs):
        return _fill_layers(energy, start, missing.expand_as(x), kernel, steps, discard, rng)
    held = ~missing
    return posterior(energy.clamp(held, torch.where(held, x, 0.0)), start, kernel, steps, discard, rng)


def _fill_layers(
    energy: DBM,
    start: Float[Tensor, "batch *event"],
    missing: Bool[Tensor, "batch *event"],
    kernel: AllLayers | BlockGibbs,
    steps: int,
    discard: int,
    rng: Rng,
) -> Posterior:
    """By the machine between even and odd layers, in which all but the visible layer is missing."""
    even = energy.filled(start)
    unseen = torch.ones_like(even, dtype=torch.bool)
    unseen[:, : energy.sizes[0]] = rows.flat(missing)
    inner = kernel.kernel if isinstance(kernel, AllLayers) else kernel
    found = fill(energy.machine, even, missing=unseen, kernel=inner, steps=steps, discard=discard, rng=rng)
    return Posterior(energy.visible(found.sample), energy.visible(found.mean))


def posterior(
    energy: EnergyLike, start: Float[Tensor, "batch *event"], kernel: Kernel, steps: int, discard: int, rng: Rng
) -> Posterior:
    """The last states of a chain for each row, and the means over its last `steps` states."""
    rows.whole("steps", steps, of="posterior()")
    rows.whole("discard", discard, of="posterior()", least=0)
    mean, x = torch.zeros_like(start), start
    states = chain(kernel, energy, start, rng)
    for step in range(discard + steps):
        x = as_energy(energy).complete(next(states)[0].x)
        if step >= discard:
            mean += x
    return Posterior(x, mean / steps)
