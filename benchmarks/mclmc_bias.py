"""The bias of MCLMC at the step size that it finds, and at half of it: python -m benchmarks.mclmc_bias.

Chains start at exact samples of a standard normal law; the figure is the relative error of the mean of x^2, entries,
steps and chains together, with a standard error over chains.
"""

from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from benchmarks.measure import row
from erg.energies import Gaussian
from erg.estimate import Estimate
from erg.roles import Kernel
from erg.samplers import MCLMC, chain

DIMENSIONS, CHAINS, BURN, STEPS, SEARCHED = 10, 4_000, 200, 2_000, 256


def found(seed: int = 0) -> MCLMC:
    """The kernel with the settings of its search, the medians over rows."""
    energy, rng = Gaussian.standard(DIMENSIONS), torch.Generator().manual_seed(seed)
    kernel = MCLMC()
    start = kernel.init(energy, energy.exact_samples(SEARCHED, rng))
    return kernel.adapted(kernel.run(energy, start, kernel.search, rng)[0])


def bias(kernel: Kernel, *, chains: int = CHAINS, steps: int = STEPS, seed: int = 1) -> Estimate:
    """The relative error of the mean of x^2, after a burn-in."""
    energy, rng = Gaussian.standard(DIMENSIONS), torch.Generator().manual_seed(seed)
    seen = chain(kernel, energy, energy.exact_samples(chains, rng), rng)
    means = torch.zeros(chains, dtype=torch.float64)
    for state, _ in islice(seen, BURN, BURN + steps):
        means += state.x.double().square().mean(1) / steps
    return Estimate.of_mean(means - 1)


def measure() -> dict[str, Any]:
    """The settings, and the bias at both step sizes."""
    kernel = found()
    sizes = {"found": float(kernel.step_size), "half": float(kernel.step_size) / 2}
    rows = {}
    for name, size in sizes.items():
        error = bias(replace(kernel, step_size=size))
        rows[name] = {
            "step_size": round(size, 4),
            "relative_bias": float(f"{error.value:.3g}"),
            "standard_error": float(f"{error.standard_error:.1g}"),
        }
    return {
        "title": f"Bias of MCLMC on a standard normal law in {DIMENSIONS} dimensions",
        "seed": 0,
        "length": round(float(kernel.length), 4),
        "chains": CHAINS,
        "steps": STEPS,
        "mean of x^2": rows,
    }


def sentence(result: dict[str, Any]) -> str:
    """What docs/samplers.md says about it."""
    rows = (result["mean of x^2"][name] for name in ("found", "half"))
    found, half = (f"{100 * row['relative_bias']:.2f} ± {100 * row['standard_error']:.2f} %" for row in rows)
    return (
        f"On a standard normal law in {DIMENSIONS} dimensions the mean of x^2 is off by {found} at the step size "
        f"that `mclmc()` finds, and by {half} at half of it (`{result['command']}`)."
    )


if __name__ == "__main__":
    row("mclmc_bias", measure)
