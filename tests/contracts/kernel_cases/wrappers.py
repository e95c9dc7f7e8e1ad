"""Other coordinates."""

import torch

from erg.samplers import Preconditioned, mala

KERNELS = {"Preconditioned": Preconditioned(mala(0.2), torch.tensor(1.5))}
EXACT = {"Preconditioned"}
DETERMINISTIC: set[str] = set()
REAL_ONLY = {"Preconditioned"}
