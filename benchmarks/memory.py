"""Peak memory after 1,000 and after 10,000 steps of sampling and of training: python -m benchmarks.memory.

Each peak is that of a process of its own, so that one measurement cannot hide behind another.
"""

import subprocess
import sys
from typing import Any

import torch

from benchmarks.measure import peak, row

SHORT, LONG = 1_000, 10_000


def kernels() -> dict[str, Any]:
    """What is measured: sampling with each kind of kernel."""
    from erg.samplers import Compiled, LowPrecision, Parallel, sgld

    recipe = sgld(10.0, 0.005, 0.03, (-1.0, 1.0))
    return {
        "eager": recipe,
        "compiled": Compiled(recipe),
        "bfloat16, compiled": Compiled(LowPrecision(recipe)),
        "bfloat16, compiled, a part of the batch a thread": Parallel(Compiled(LowPrecision(recipe)), 2),
    }


def run(what: str, steps: int) -> int:
    """Make the steps in this process and return its peak, in bytes."""
    from erg.networks import ConvNet
    from erg.samplers import sample

    torch.manual_seed(0)
    network = ConvNet((1, 8, 8))
    x = torch.rand(32, 1, 8, 8) * 2 - 1
    if what == "training":
        _train(network, steps)
    else:
        sample(kernels()[what], network, x, steps, torch.Generator().manual_seed(0))
    return peak()


def measure() -> dict[str, Any]:
    """Peaks in megabytes and their ratio, for sampling and for training."""
    peaks: dict[str, dict[str, float]] = {}
    for what in [*kernels(), "training"]:
        bytes_ = {steps: _alone(what, steps) for steps in (SHORT, LONG)}
        peaks[what] = {
            f"after {SHORT}": round(bytes_[SHORT] / 2**20, 1),
            f"after {LONG}": round(bytes_[LONG] / 2**20, 1),
            "ratio": round(bytes_[LONG] / bytes_[SHORT], 4),
        }
    return {
        "title": f"Peak memory after {SHORT} and {LONG} steps, tutorial network on 8x8 images, batch 32",
        "seed": 0,
        "peak_megabytes": peaks,
        "ratios": {
            f"peak after {LONG} steps over {SHORT}": {"value": max(p["ratio"] for p in peaks.values()), "most": 1.02}
        },
    }


def _alone(what: str, steps: int) -> int:
    command = [sys.executable, "-c", f"from benchmarks.memory import run; print(run({what!r}, {steps}))"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _train(network: torch.nn.Module, steps: int) -> None:
    from erg.negatives import Persistent
    from erg.objectives import MaximumLikelihood
    from erg.samplers import sgld
    from erg.training import train

    rng = torch.Generator().manual_seed(0)
    batches = (torch.rand(32, 1, 8, 8, generator=rng) * 2 - 1 for _ in range(steps))
    objective = MaximumLikelihood(Persistent(sgld(1.0, 0.005, 0.03, (-1.0, 1.0)), steps=1, size=512))
    for _ in train(network, objective, batches, torch.optim.Adam(network.parameters(), 1e-4), rng):
        pass


if __name__ == "__main__":
    row("memory", measure)
