"""Memory does not grow with the number of steps; benchmarks.memory measures it for all kernels and for training."""

import subprocess
import sys

import pytest

PEAK = """
import resource, sys, torch
from erg.networks import MLP
from erg.samplers import {kernel}, mala, sample
import erg.samplers.graphs
erg.samplers.graphs.has_compiler = lambda: False
torch.manual_seed(0)
torch.set_num_threads(1)
sample({made}, MLP((64,), hidden=(64,)), torch.randn(256, 64), int(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(program: str, steps: int) -> int:
    command = [sys.executable, "-c", program, str(steps)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    "program",
    [
        PEAK.format(kernel="Compiled", made="Compiled(mala(0.1))"),
        PEAK.format(kernel="Parallel", made="Parallel(mala(0.1), 2)"),
    ],
    ids=["compiled", "parallel"],
)
def test_the_peak_does_not_grow_with_the_steps(program):
    # 900 states more of 64 KiB, and their gradients, would be a fifth of the peak.
    assert peak(program, 1000) <= 1.02 * peak(program, 100)
