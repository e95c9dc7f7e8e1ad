"""How well are the couplings of a 10 x 10 Ising lattice found again from 2,000 states?

    python -m benchmarks.boltzmann.recovery [--force]     docs/results/boltzmann/recovery.json

A full Boltzmann machine with an L1 penalty is trained by pseudo-likelihood, and by persistent contrastive divergence
with each of three kernels at equal gradients. The figure is the log of the root mean square error of the couplings
over all pairs. The penalty's weight is half for the likelihood: pseudo-likelihood sees every pair from both ends.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import RESULTS, row
from erg.data import load
from erg.data.lattices import COUPLING, SHAPE
from erg.energies import BoltzmannMachine, Counted, Lattice
from erg.negatives import Persistent
from erg.objectives import PseudoLikelihood
from erg.objectives.structure import log_rmse
from erg.roles import EnergyLike, Kernel
from erg.samplers import acs, chromatic, dmala, gwg
from erg.samplers.chain import chain
from erg.support import Spin

NAME = "boltzmann/recovery"
SEEDS = (0, 1, 2)
PENALTY = 0.05
RATE = 0.02
PSEUDO_UPDATES = 300
UPDATES, STEPS, CHAINS = 1000, 20, 200
SWEEPS = 2
ALLOWED = 0.05
Maker = Callable[[EnergyLike, torch.Tensor, torch.Generator], Kernel]


def measure() -> dict[str, Any]:
    """Every way for every seed: another draw of the data and of the chains."""
    torch.set_num_threads(1)
    ways: dict[str, list[dict[str, float]]] = {name: [] for name in ("pseudo-likelihood", "none", *KERNELS)}
    for seed in SEEDS:
        x = load("ising", seed=seed).train.x
        began = time.process_time()
        ways["pseudo-likelihood"].append(_found(_by_pseudo_likelihood(x, PENALTY), began))
        ways["none"].append(_found(_by_pseudo_likelihood(x, 0.0), began))
        for name, kernel in KERNELS.items():
            began = time.process_time()
            machine, gradients = _by_chains(x, kernel, seed, steps=SWEEPS if "chromatic" in name else STEPS)
            ways[name].append({**_found(machine, began), "gradients": gradients})
    return {
        "seeds": list(SEEDS),
        "settings": {"penalty": PENALTY, "updates": UPDATES, "steps": STEPS, "sweeps": SWEEPS, "chains": CHAINS},
        "ways": ways,
    }


def _found(machine: BoltzmannMachine, began: float) -> dict[str, float]:
    truth = Lattice(SHAPE).matrix(COUPLING)
    return {"log_rmse": log_rmse(machine, truth).item(), "seconds": time.process_time() - began}


def _by_pseudo_likelihood(x: torch.Tensor, penalty: float) -> BoltzmannMachine:
    objective = PseudoLikelihood()
    machine = BoltzmannMachine(tuple(x.shape[1:]), support=Spin(), scale=0.0)
    optimizer = torch.optim.Adam(machine.parameters(), lr=RATE)
    for update in range(PSEUDO_UPDATES):
        _set_rate(optimizer, RATE * (1 - update / PSEUDO_UPDATES))
        optimizer.zero_grad()
        (objective(machine, x).value + penalty * machine.weights.abs().sum()).backward()
        optimizer.step()
    return machine


def _tuned_cycles(machine: EnergyLike, x: torch.Tensor, rng: torch.Generator) -> Kernel:
    """A cycle that is tuned on the machine as it is."""
    kernel = acs(period=STEPS)
    states = chain(kernel, machine, x, rng)
    for _ in range(kernel.tuning_steps):
        state = next(states)[0]
    return kernel.adapted(state)


def _fixed(kernel: Kernel) -> Maker:
    return lambda machine, x, rng: kernel


KERNELS: dict[str, Maker] = {
    "PCD, gwg": _fixed(gwg()),
    "PCD, dmala": _fixed(dmala(1.2)),
    "PCD, acs": _tuned_cycles,
    "PCD, chromatic": _fixed(chromatic()),
}


def _by_chains(x: torch.Tensor, make: Maker, seed: int, *, steps: int) -> tuple[BoltzmannMachine, float]:
    """The mean of the couplings over the second half of the updates, and how many gradients in x the chains took."""
    rng = torch.Generator().manual_seed(seed)
    machine = BoltzmannMachine(tuple(x.shape[1:]), support=Spin(), scale=0.0)
    optimizer = torch.optim.Adam(machine.parameters(), lr=RATE / 2)
    counted = Counted(machine)
    negatives = Persistent(make(counted, x[:CHAINS], rng), steps, size=CHAINS, fresh=0.0)
    average, count = torch.zeros_like(machine.weights), 0
    for update in range(UPDATES):
        if update == UPDATES // 10:  # by now the couplings are about as large as they will be
            negatives = Persistent(make(counted, x[:CHAINS], rng), steps, size=CHAINS, fresh=0.0)
        _set_rate(optimizer, RATE / 2 * (1 - update / UPDATES))
        model = negatives(counted, x[:CHAINS], rng)
        optimizer.zero_grad()
        penalty = PENALTY / 2 * machine.weights.abs().sum()
        (machine(x).mean() - machine(model).mean() + penalty).backward()
        optimizer.step()
        if update >= UPDATES // 2:
            average, count = average + machine.weights.detach(), count + 1
    with torch.no_grad():
        machine.weights.copy_(average / count)
    return machine, counted.gradients


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def section() -> str:
    """The part of docs/results/boltzmann.md that is about structure."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    settings, ways = result["settings"], result["ways"]
    reference = statistics.mean(run["log_rmse"] for run in ways["pseudo-likelihood"])
    lines = [
        "## Couplings of an Ising lattice",
        "",
        f"A full Boltzmann machine of 100 spins from 2,000 states of a torus of coupling {COUPLING}, L1 penalty "
        f"{settings['penalty']} a pair (half with chains). Chains: {settings['updates']} updates of "
        f"{settings['steps']} steps of {settings['chains']} chains, one gradient a step for gwg, dmala "
        f"and acs, whose tuning is counted too; chromatic makes {settings['sweeps']} sweeps and takes none. "
        f"The goal is to lie within {ALLOWED:.0%} "
        "of pseudo-likelihood or lower.",
        "",
        "| way | log-RMSE (spread over data) | against pseudo-likelihood | within the goal | gradients | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in ways.items():
        values = [run["log_rmse"] for run in runs]
        value = statistics.mean(values)
        excess = (value - reference) / abs(reference)
        label = "pseudo-likelihood, no penalty" if name == "none" else name
        gradients = f"{statistics.mean(run['gradients'] for run in runs):,.0f}" if "gradients" in runs[0] else "none"
        lines.append(
            f"| {label} | {value:.3f} ± {statistics.stdev(values):.3f} | {excess:+.1%} "
            f"| {'yes' if excess <= ALLOWED else 'no'} | {gradients} "
            f"| {statistics.mean(run['seconds'] for run in runs):.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    row(NAME, measure)
