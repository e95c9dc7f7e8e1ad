"""A training that goes wrong half-way, with the guard and without it.

    python examples/divergence.py

At update 150 somebody multiplies the learning rate by 1,000. The guard notices, goes back to a snapshot, and
lowers the rate until training is stable again.
"""

from collections.abc import Iterable

import torch
from torch import nn

from erg import Magnitude, MaximumLikelihood, Persistent, train, ula
from erg.roles import Loss
from erg.training.guard import Guard


def parts() -> tuple[nn.Module, MaximumLikelihood, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1), nn.Flatten(0)
    )
    chains = Persistent(ula(0.05), steps=10, size=512)
    objective = MaximumLikelihood(chains, penalties={"magnitude": (0.1, Magnitude())})
    return network, objective, torch.optim.Adam(network.parameters(), lr=1e-3)


def last_energies(losses: Iterable[Loss], optimizer: torch.optim.Optimizer) -> str:
    for update, loss in enumerate(losses, start=1):  # noqa: B007
        if update == 150:
            optimizer.param_groups[0]["lr"] *= 1000
    data, model = (float(loss.terms[f"energy/{phase}"]) for phase in ("data", "model"))
    return f"mean energy of data {data:.3g}, of model {model:.3g}"


rng = torch.Generator().manual_seed(0)
data = [torch.randn(64, 2, generator=rng) for _ in range(300)]

network, objective, optimizer = parts()
print("without a guard:", last_energies(train(network, objective, data, optimizer, rng), optimizer))

network, objective, optimizer = parts()
guard = Guard(energy=network, optimizer=optimizer, objective=objective, rng=rng)
print("with the guard: ", last_energies(guard.watch(train(network, objective, data, optimizer, rng)), optimizer))
for event in guard.events:
    print(f"  update {event.step}: {event.kind}, {event.signal}: {event.detail}; {event.action}")
