"""Peak memory of 20,000 chains in two dimensions after 100 and after 1,000 steps: python -m benchmarks.many_chains.

Each peak is that of a process of its own, and the least of three: the allocator's luck only adds to it.
"""

import subprocess
import sys
from typing import Any

import torch

from benchmarks.measure import peak, row

CHAINS, SHORT, LONG, REPEATS = 20_000, 100, 1_000, 3


def kernels() -> dict[str, Any]:
    """What is measured."""
    from erg.samplers import hmc, mala, mams, mclmc, nuts, replica_exchange, underdamped

    return {
        "mala": mala(0.3),
        "hmc": hmc(0.3, 5),
        "nuts": nuts(0.8),
        "underdamped": underdamped(0.3, 1.0),
        "mclmc": mclmc(0.5, 2.0),
        "mams": mams(0.5, 1.5),
        "replica exchange of mala": replica_exchange(mala(0.3), (1.0, 2.0, 4.0)),
    }


def run(what: str, steps: int) -> int:
    """Make the steps in this process and return its peak, in bytes."""
    from erg.energies import Gaussian
    from erg.samplers import sample

    torch.set_num_threads(1)
    energy = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    rng = torch.Generator().manual_seed(0)
    sample(kernels()[what], energy, torch.randn(CHAINS, 2, generator=rng), steps, rng)
    return peak()


def measure() -> dict[str, Any]:
    """Peaks in megabytes and their ratio."""
    peaks = {}
    for what in kernels():
        short, long = (min(_alone(what, steps) for _ in range(REPEATS)) for steps in (SHORT, LONG))
        peaks[what] = {
            f"after {SHORT}": round(short / 2**20, 1),
            f"after {LONG}": round(long / 2**20, 1),
            "ratio": round(long / short, 4),
        }
    return {
        "title": f"Peak memory of {CHAINS:,} chains in two dimensions",
        "seed": 0,
        "peak_megabytes": peaks,
        "ratios": {
            f"largest peak after {LONG} steps over {SHORT}": {
                "value": max(peak["ratio"] for peak in peaks.values()),
                "most": 1.02,
            }
        },
    }


def _alone(what: str, steps: int) -> int:
    command = [sys.executable, "-c", f"from benchmarks.many_chains import run; print(run({what!r}, {steps}))"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


if __name__ == "__main__":
    row("many_chains", measure)
