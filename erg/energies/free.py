"""An energy as a function of its free entries."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg.draws import Rng
from erg.roles import Conditionals, EnergyLike
from erg.support import Mixed, OneHot, Support


@dataclass(frozen=True)
class Entries:
    """Some entries of an event, in one line; on `OneHot` some sites, each with all of its categories.

    Attributes:
        event: The shape of the whole event.
        index: Where they are among the flattened entries or sites.
        categories: The categories of a site: one axis, or none.
    """

    event: torch.Size
    index: Tensor
    categories: torch.Size

    def take(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The entries of ``(*batch, *event)``, shape (*batch, entries) or (*batch, sites, categories)."""
        batch = x.ndim - len(self.event)
        return x.reshape(*x.shape[:batch], -1, *self.categories).index_select(batch, self.index)

    def put(self, z: Float[Tensor, "..."], into: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A copy of `into` with these entries replaced."""
        batch = into.ndim - len(self.event)
        flat = into.to(z.dtype).reshape(*into.shape[:batch], -1, *self.categories)
        return flat.index_copy(batch, self.index, z).reshape(into.shape)


def entries_of(mask: Bool[Tensor, "*event"], support: Support) -> Entries | None:
    """The entries where `mask` is true; None if it parts the categories of a site, which move together.

    Example:
        >>> from erg.support import Real
        >>> entries_of(torch.tensor([True, False, True]), Real()).take(torch.tensor([[5.0, 6.0, 7.0]]))
        tensor([[5., 7.]])
    """
    categories = mask.shape[-1:] if isinstance(support, OneHot) else torch.Size()
    sites = mask.all(-1) if categories else mask
    if categories and not torch.equal(sites, mask.any(-1)):
        return None
    if isinstance(support, Mixed) and not bool(support.whole(mask)):
        return None
    return Entries(mask.shape, sites.flatten().nonzero().squeeze(1), categories)


@dataclass(frozen=True)
class Reduced:
    """The energy as a function of its free entries alone; it fills in the held ones by itself."""

    energy: EnergyLike
    entries: Entries
    support: Support

    def __call__(self, z: Float[Tensor, "batch *free"]) -> Float[Tensor, " batch"]:
        return self.energy(self.whole(z))

    def whole(self, z: Float[Tensor, "batch *free"]) -> Float[Tensor, "batch *event"]:
        """The state with 0 at the held entries, which the energy fills in."""
        return self.entries.put(z, z.new_zeros(len(z), *self.entries.event))


@dataclass(frozen=True)
class ReducedLayers(Reduced):
    """The same for an energy with exact conditionals, which are those of its free entries."""

    def sample_hidden(self, z: Float[Tensor, "batch *free"], rng: Rng = None) -> Tensor:
        """One draw of the hidden variables for each row of free entries."""
        assert isinstance(self.energy, Conditionals)
        hidden: Tensor = self.energy.sample_hidden(self.whole(z), rng)
        return hidden

    def sample_visible(self, h: Tensor, rng: Rng = None) -> Float[Tensor, "batch *free"]:
        """One draw of the free entries for each row of `h`."""
        assert isinstance(self.energy, Conditionals)
        return self.entries.take(self.energy.sample_visible(h, rng))


def reduced(energy: EnergyLike, entries: Entries, support: Support) -> Reduced:
    """The energy as a function of these entries, with exact conditionals if and only if it has some."""
    kind = ReducedLayers if isinstance(energy, Conditionals) else Reduced
    return kind(energy, entries, support)
