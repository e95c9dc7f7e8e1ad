"""Persistent chains that begin at the data."""

from torch import Tensor

from erg.draws import Rng
from erg.negatives.persistent import Persistent
from erg.support import Binary, Support


class PersistentFromData(Persistent):
    """A replay buffer whose slots begin at the first batch instead of at noise.

    For a model that knows something before its first update, as one that was pretrained: chains that begin at noise
    are far from its law for some hundred updates, which unlearn what it knew. Restarts are at noise, as ever. Bits in
    between, as the means of hidden layers are, begin at the nearer value.

    Example:
        >>> import torch
        >>> from erg.samplers import mala
        >>> negatives = PersistentFromData(mala(1e-6), steps=1, size=5, fresh=0.0)
        >>> found = negatives(lambda x: x.square().sum(1), torch.full((5, 2), 50.0))
        >>> bool((found > 49).all())
        True
    """

    def _first(self, support: Support, kept: tuple[int, ...], x: Tensor, rng: Rng) -> Tensor:
        x = x.detach().round() if isinstance(support, Binary) else x.detach()
        replicas = x if kept == x.shape[1:] else x[:, None].expand(len(x), *kept)
        times = -(-self.size // len(x))
        return replicas.repeat(times, *[1] * len(kept))[: self.size]
