"""Trains a small model in as many processes as asked for; the engine starts this script again for each.

Usage: two_processes.py FOLDER PROCESSES. Every process writes what it ended with to FOLDER/rank_R.pt.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from erg.negatives import FromData, Persistent
from erg.objectives import Conditional, Gradient, Magnitude, MaximumLikelihood
from erg.samplers import descent, ula
from erg.training import train
from erg.training.engine import Engine
from erg.training.hooks import average_gradients, clip_gradients

PENALTIES = {"magnitude": (0.1, Magnitude()), "gradient": (0.3, Gradient())}


class Labelled(nn.Module):
    """E(x, y): a small network for each of two labels, and a weight that nothing uses."""

    def __init__(self):
        super().__init__()
        self.bodies = nn.ModuleList(nn.Sequential(nn.Linear(2, 6), nn.SiLU(), nn.Linear(6, 1)) for _ in range(2))
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x, y):
        energies = torch.zeros_like(x[:, 0])
        for label, body in enumerate(self.bodies):
            if bool((y == label).any()):
                energies = energies + body(x).squeeze(1) * (y == label)
        return energies


def conditional(engine):
    """Chains without noise, labels, second derivatives: the same for any number of processes."""
    torch.manual_seed(engine.rank)  # process 0 decides the weights
    energy = engine.energy(Labelled().double())
    objective = Conditional(MaximumLikelihood(FromData(descent(0.1), 3), PENALTIES))
    x = torch.randn(5, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    # With two processes, label 1 is seen by process 1 only: half of the weights get no gradient elsewhere.
    y = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    return fit(engine, energy, engine.objective(objective), [(rows, y) for rows in x])


def persistent(engine):
    """Chains of their own in every process."""
    torch.manual_seed(0)
    energy = engine.energy(nn.Sequential(nn.Linear(2, 6), nn.SiLU(), nn.Linear(6, 1), nn.Flatten(0)))
    chains = Persistent(ula(0.1), 3, size=32)
    result = fit(engine, energy, engine.objective(MaximumLikelihood(chains, PENALTIES)), [torch.ones(8, 2)] * 5)
    return {**result, "positions": chains.positions}


def fit(engine, energy, objective, batches):
    optimizer = torch.optim.Adam(energy.parameters(), 0.05)
    average_gradients(optimizer, engine.fabric)
    clipping = clip_gradients(optimizer, 0.5)
    first = None
    for _ in train(energy, objective, engine.batches(batches), optimizer, engine.rng(0)):
        gradients = [None if p.grad is None else p.grad.clone() for p in energy.parameters()]
        first = first or {"gradients": gradients, "norm": clipping.norm}
    return {"weights": [p.detach() for p in energy.parameters()], **(first or {})}


def main(folder, processes):
    engine = Engine("cpu", devices=processes)
    torch.set_num_threads(1)
    result = {"conditional": conditional(engine), "persistent": persistent(engine)}
    result["ranks"] = engine.gather(engine.rank)
    result["decided"] = [engine.decide(engine.rank == rank) for rank in range(2)]
    result["mean"] = engine.mean(torch.tensor([float(engine.rank), 1.0]))
    try:
        next(engine.batches([torch.zeros(7, 2)]))
    except ValueError as error:
        result["uneven"] = str(error)
    torch.save(result, folder / f"rank_{engine.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
