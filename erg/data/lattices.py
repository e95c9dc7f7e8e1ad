r"""Spins on a torus at equilibrium: data whose couplings are known.

Neighbours on a torus of 10 x 10 spins are coupled by 0.2, in the disordered phase (the critical coupling is 0.44).
Each row is the end of a Gibbs chain of its own, of 100 sweeps from fair coins; a dozen would do.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from erg.data.dataset import Dataset, Split
from erg.energies.graphs import Lattice
from erg.energies.ising import Ising
from erg.support import Spin

SHAPE = (10, 10)
COUPLING = 0.2
_TRAIN, _HELD_OUT, _SWEEPS = 2000, 1000, 100


def ising(seed: int) -> Dataset:
    """2,000 rows of 100 spins, and 1,000 held out, drawn anew for each seed."""
    x = equilibrium(Ising(Lattice(SHAPE), coupling=COUPLING), _TRAIN + _HELD_OUT, sweeps=_SWEEPS, seed=seed)
    return Dataset("ising", Split(x[:_TRAIN]), Split(x[_TRAIN:]), tuple(x.shape[1:]), Spin())


def equilibrium(energy: Ising, rows: int, *, sweeps: int, seed: int) -> Float[Tensor, "rows spins"]:
    """The ends of Gibbs chains, by sweeps over the colours of the lattice."""
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(energy.sites.shape.numel(), rows, generator=rng) < 0.5) * 2.0 - 1
    for _ in range(sweeps):
        for group in energy.groups:
            up = (2 * energy.local_field(x, group.sites)).sigmoid()
            x[group.sites] = (torch.rand(up.shape, generator=rng) < up) * 2.0 - 1
    return x.t().contiguous()
