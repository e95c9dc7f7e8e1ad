"""Nine modes behind barriers of more than 20 nats, with replicas and without: python -m benchmarks.replica_exchange.

All chains start in the middle mode. Visits are counted over the second half of the steps; the error is the largest
relative one of the nine weights.
"""

import itertools
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import row
from erg.energies import GaussianMixture
from erg.roles import Kernel
from erg.samplers import ReplicaExchange, chain, ladder, mala, replica_exchange

CHAINS, STEPS, WARMUP = 1_000, 2_000, 200
DISTANCE = 13.5


def target() -> GaussianMixture:
    """A 3 x 3 grid of unit Gaussians in the plane, with weights from 1/45 to 9/45."""
    centres = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=2))) * DISTANCE
    return GaussianMixture.isotropic(centres, weights=torch.arange(1.0, 10.0))


def barrier(energy: GaussianMixture) -> float:
    """The energy half way between neighbours over that of the higher of the two, in nats; the least of all pairs."""
    found = []
    for a, b in itertools.combinations(range(len(energy.means)), 2):
        pair = energy.means[[a, b]]
        if torch.dist(pair[0], pair[1]) < 1.1 * DISTANCE:
            found.append(float(energy(pair.mean(0, keepdim=True)) - energy(pair).max()))
    return min(found)


def visits(kernel: Kernel, energy: GaussianMixture, steps: int) -> Tensor:
    """How often each mode is the nearest one, over the second half of the steps."""
    rng, counts = torch.Generator().manual_seed(0), torch.zeros(len(energy.means))
    start = energy.means[4].expand(CHAINS, 2)
    for step, (state, _) in enumerate(itertools.islice(chain(kernel, energy, start, rng), steps)):
        if step >= steps // 2:
            counts += torch.cdist(state.x, energy.means).argmin(1).bincount(minlength=len(counts))
    return counts / counts.sum()


def tuned(kernel: ReplicaExchange, energy: GaussianMixture) -> tuple[ReplicaExchange, list[float]]:
    """The kernel on its adapted ladder, and the rejection rates of swaps that suggested the last change of it."""
    start = energy.means[4].expand(CHAINS, 2)
    rejection: list[float] = []
    for seed in range(2):
        steps = chain(kernel, energy, start, torch.Generator().manual_seed(seed + 1))
        state, _ = next(itertools.islice(steps, WARMUP - 1, None))
        kernel, rejection = kernel.adapted(state), state.rejection.tolist()
    return kernel, rejection


def measure() -> dict[str, Any]:
    """Errors and times of replica exchange and of single chains with the same kernel and number of gradients."""
    energy = target()
    kernel, rejection = tuned(replica_exchange(mala(0.5), ladder(60.0, 8)), energy)
    rungs = len(kernel.temperatures)
    results: dict[str, Any] = {}
    ways = {"replica exchange": (kernel, STEPS), "single chains": (mala(0.5), STEPS * rungs)}
    for name, (way, steps) in ways.items():
        begin = time.process_time()
        found = visits(way, energy, steps)
        results[name] = {
            "steps": steps,
            "processor seconds": round(time.process_time() - begin, 1),
            "weights": [round(weight, 5) for weight in found.tolist()],
            "largest relative error": round(float((found / energy.weights - 1).abs().max()), 4),
        }
    return {
        "title": "Weights of nine modes, all chains started in one",
        "seed": 0,
        "chains": CHAINS,
        "barrier in nats": round(barrier(energy), 1),
        "temperatures": [round(temperature, 3) for temperature in kernel.temperatures],
        "scales": [round(scale, 3) for scale in kernel.scales or ()],
        "swap rejection": [round(rate, 3) for rate in rejection],
        "weights": [round(weight, 5) for weight in energy.weights.tolist()],
        "results": results,
        "ratios": {
            "largest relative error of a weight": {
                "value": results["replica exchange"]["largest relative error"],
                "most": 0.05,
            }
        },
    }


if __name__ == "__main__":
    row("replica_exchange", measure)
