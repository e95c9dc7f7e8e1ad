"""Memory does not grow with the number of steps; benchmarks.memory measures it for all kernels and for training."""

import subprocess
import sys

# VmHWM where there is one: on Linux, ru_maxrss begins at what the parent process used, which would hide any growth.
PEAK = """
import re, resource, sys, torch
from pathlib import Path
from erg.networks import MLP
from erg.samplers import Compiled, Parallel, mala, sample
import erg.samplers.compilation.graphs
erg.samplers.compilation.graphs.has_compiler = lambda: False
torch.manual_seed(0)
torch.set_num_threads(1)
status = Path("/proc/self/status")

def peak():
    if status.exists():
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for kernel in (Parallel(mala(0.1), 2), Compiled(mala(0.1))):
    for steps in (20, 220):
        sample(kernel, MLP((64,), hidden=(64,)), torch.randn(1024, 64), steps)
        print(peak())
"""


def test_the_peak_does_not_grow_with_the_steps():
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    peaks = list(map(int, done.stdout.split()))
    # 200 states more of 256 KiB, without their gradients, would be 15 % of the peak.
    for kernel, few, many in zip(("parallel", "compiled"), peaks[::2], peaks[1::2], strict=True):
        assert many <= 1.05 * few, (kernel, peaks)
