r"""What a discrete energy says about one site given all others: :math:`\log p(x_i \mid x_{\setminus i})`.

The partition function drops out: a site has few values, and the energies of all of them are there to be summed. An
energy with local fields (see `erg.roles.LocalFields`) gives them for all sites at the price of one evaluation; any
other is evaluated once for every other value of every site.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from erg import draws, rows
from erg.draws import Rng
from erg.energies.algebra import Clamped
from erg.energies.energy import Energy, as_energy, check_energies
from erg.energies.repeated import repeated
from erg.roles import EnergyLike
from erg.samplers.discrete.fields import columns, fields_of
from erg.samplers.discrete.sites import Discrete, indicator, other
from erg.support import DISCRETE, OneHot


def site_log_probabilities(
    energy: EnergyLike, x: Float[Tensor, "batch *event"], *, sites: int | None = None, rng: Rng = None
) -> Float[Tensor, "batch sites"]:
    """The log probability of the value that each site has, given the others.

    Args:
        energy: On `Binary`, `Spin` or `OneHot`.
        x: States there.
        sites: Look at so many sites of each row, drawn with replacement; None looks at all.
        rng: Draws them.
    """
    energy = as_energy(energy)
    support = cast(Discrete, energy.support)
    places = _places(x, energy, sites, rng)
    field = _fields(energy, x)
    if field is None:
        return _by_changes(energy, x, places, support)
    values = _of_fields(field, columns(x, energy), support).t()
    return values if places is None else values.gather(1, places)


def check_sites(energy: EnergyLike, x: Tensor, *, of: type, supports: tuple[type, ...] = DISCRETE) -> None:
    """Refuse energies without sites, with held ones, and data that are elsewhere.

    Raises:
        TypeError: If the energy lives on another support, or holds entries.
        ValueError: If rows do not lie on it.
    """
    energy = as_energy(energy)
    if not isinstance(energy.support, supports):
        places = " or ".join(support.__name__ for support in supports)
        raise TypeError(
            f"{of.__name__} compares the values of sites on {places}, but this energy lives on {energy.support}; use "
            "MaximumLikelihood, or say where a function lives by Neural(function, support=...)."
        )
    if any(isinstance(part, Clamped) for part in energy.modules()):
        raise TypeError(
            f"{of.__name__} changes every site, but this energy holds some entries; use MaximumLikelihood, whose "
            "chains leave them alone."
        )
    outside = int((~energy.support.contains(x)).sum())
    if outside:
        raise ValueError(
            f"{of.__name__} takes rows on {energy.support}, but {outside} of {len(x)} have other values; binarise "
            "the data, as by data.binarise."
        )


def _fields(energy: Energy, x: Tensor) -> Tensor | None:
    try:
        fields = fields_of(energy)
    except TypeError:
        return None
    state = columns(x, energy)
    return fields.at(state, torch.arange(len(state), device=x.device))


def _of_fields(field: Tensor, x: Tensor, support: Discrete) -> Float[Tensor, "sites batch"]:
    if isinstance(support, OneHot):
        return (field * x).sum(1) - field.logsumexp(1)
    gap = support.values[1] - support.values[0]
    sign = (x - support.values[0]) * (2 / gap) - 1
    return logsigmoid(gap * sign * field)


def _by_changes(
    energy: Energy, x: Tensor, places: Int[Tensor, "batch sites"] | None, support: Discrete
) -> Float[Tensor, "batch sites"]:
    """From the energies of all states that differ from a row at one of the places."""
    here = check_energies(energy(x), x)
    count = count_of(x, support)
    if places is None:
        places = torch.arange(count, device=x.device).expand(len(x), count)
    chosen = indicator(places, count)  # (batch, places, sites)
    if isinstance(support, OneHot):
        change = torch.stack([_turned(x, chosen, shift) for shift in range(1, x.shape[-1])], 2)
    else:
        flat = rows.flat(x)[:, None]
        change = torch.where(chosen, other(flat, support), flat)[:, :, None]
    several = change.reshape(-1, *x.shape[1:])
    each = change.shape[1] * change.shape[2]
    there = check_energies(repeated(energy, each, event=x.ndim - 1)(several), several)
    differences = (here[:, None] - there.reshape(len(x), each)).reshape(len(x), *change.shape[1:3])
    # log p = -log(1 + sum_v e^{E(x) - E(x with v)})
    return -torch.cat([torch.zeros_like(differences[..., :1]), differences], -1).logsumexp(-1)


def _turned(x: Tensor, chosen: Tensor, shift: int) -> Tensor:
    """Rows with the category of one site moved on by `shift`, (batch, places, sites, categories)."""
    flat = x.reshape(len(x), 1, -1, x.shape[-1])
    return torch.where(chosen[..., None], flat.roll(shift, -1), flat).flatten(2)


def _places(x: Tensor, energy: Energy, sites: int | None, rng: Rng) -> Int[Tensor, "batch sites"] | None:
    if sites is None:
        return None
    count = count_of(x, energy.support)
    uniform = draws.uniform(x.detach().float().new_empty(len(x), sites), rng)
    return (uniform * count).long().clamp(max=count - 1)


def count_of(x: Tensor, support: object) -> int:
    """How many sites a row has."""
    entries = x.shape[1:].numel()
    return entries // x.shape[-1] if isinstance(support, OneHot) else entries
