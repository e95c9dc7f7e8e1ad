"""Kernels on Binary, Spin and OneHot."""

import torch

from erg.samplers import (
    AutomaticCycles,
    BlockGibbs,
    Compiled,
    CyclicalLangevin,
    DiscreteLangevin,
    Gibbs,
    GibbsWithGradients,
    Metropolis,
    Unadjusted,
    acs,
    dmala,
    dula,
    gibbs,
    gwg,
)

KERNELS: dict[str, object] = {}
EXACT: set[str] = set()
DETERMINISTIC: set[str] = set()
DISCRETE = {
    "AutomaticCycles": AutomaticCycles(period=3, cycles=1),
    "Compiled-dmala": Compiled(dmala(0.4)),
    "CyclicalLangevin": CyclicalLangevin(torch.tensor([2.0, 1.0, 0.3]), torch.tensor([0.9, 0.7, 0.5])),
    "Gibbs": Gibbs(block=1),
    "acs": acs(),
    "dmala": dmala(0.4),
    "dula": dula(0.2),
    "gibbs": gibbs(),
    "gwg": gwg(),
    "Metropolis-DiscreteLangevin": Metropolis(DiscreteLangevin(2.0, balance=0.8)),
    "Metropolis-GibbsWithGradients": Metropolis(GibbsWithGradients()),
    "Unadjusted-DiscreteLangevin": Unadjusted(DiscreteLangevin(0.3)),
}
APART = {"BlockGibbs": BlockGibbs()}
