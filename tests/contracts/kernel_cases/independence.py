"""Metropolis-Hastings with proposals that do not look at the state. A law has one event shape: see `APART`."""

import torch

from erg.energies import Gaussian
from erg.samplers import Independence, Metropolis, independence

KERNELS: dict[str, object] = {}
EXACT: set[str] = set()
DETERMINISTIC: set[str] = set()
APART = {
    "independence": independence(Gaussian.isotropic(torch.zeros(3), variance=4.0)),
    "Metropolis-Independence": Metropolis(Independence(Gaussian.standard((1, 4, 4)))),
}
