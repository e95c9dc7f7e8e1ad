"""Kernels on Binary, Spin and OneHot."""

import torch

from erg.energies import RBM
from erg.samplers import (
    AllLayers,
    AutomaticCycles,
    BlockGibbs,
    Chromatic,
    CyclicalLangevin,
    Gibbs,
    acs,
    chromatic,
    dmala,
    dula,
    gibbs,
    gwg,
    machine_exchange,
    trajectory_exchange,
)

KERNELS: dict[str, object] = {}
EXACT: set[str] = set()
DETERMINISTIC: set[str] = set()
DISCRETE = {
    "AutomaticCycles": AutomaticCycles(period=3, cycles=1),
    "CyclicalLangevin": CyclicalLangevin(torch.tensor([2.0, 1.0, 0.3]), torch.tensor([0.9, 0.7, 0.5])),
    "Gibbs": Gibbs(block=1),
    "acs": acs(),
    "dmala": dmala(1.5),
    "dula": dula(1.0),
    "gibbs": gibbs(),
    "gwg": gwg(),
}
APART = {
    "AllLayers": AllLayers(),
    "BlockGibbs": BlockGibbs(),
    "Chromatic": Chromatic(),
    "MachineExchange": machine_exchange(BlockGibbs(), [0.5, 0.0]),
    "chromatic": chromatic(),
    "machine_exchange": machine_exchange(BlockGibbs(), [0.5, 0.0]),
    "trajectory_exchange": trajectory_exchange(BlockGibbs(), [RBM(2, 3)]),
}
