"""Langevin on the 2-D MLP energy with a peer, in the peers' environment: python benchmarks/peer.py NAME STEPS.

Each line on standard input runs the loop once; the milliseconds a step go to standard output. The same
energy, chains, step size and number of steps as `benchmarks.langevin_mlp`, one thread, no diagnostics.
"""

import sys
import time
import warnings

import torch
from torch import nn

CHAINS, STEP_SIZE = 256, 0.01


def network() -> nn.Module:
    """2-64-64-1 with SiLU, energies of shape (batch,)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1), nn.Flatten(0))


def torchebm(steps: int):
    """`LangevinDynamics` of torchebm."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x):
            return self.network(x)

    sampler = LangevinDynamics(Model(), step_size=STEP_SIZE)
    return lambda x: sampler.sample(x=x, n_steps=steps)


def ebmkit(steps: int):
    """`LangevinDynamics` of ebmkit."""
    from ebm import LangevinDynamics

    sampler, energy = LangevinDynamics(step_size=STEP_SIZE), network()
    return lambda x: sampler.sample(energy, x, steps=steps)


def main() -> None:
    """Answer every line with one measurement."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    name, steps = sys.argv[1], int(sys.argv[2])
    run = {"torchebm": torchebm, "ebmkit": ebmkit}[name](steps)
    x = torch.randn(CHAINS, 2)
    for _ in sys.stdin:
        start = time.perf_counter()
        end = run(x)
        print((time.perf_counter() - start) / steps * 1e3, flush=True)
        assert end.shape == x.shape and bool(end.isfinite().all())


if __name__ == "__main__":
    main()
