"""Training repeats. What surrounds an update (clipping, averaging, schedules, guard, checkpoints) is built
around this iterator: optimiser hooks see every step, and the caller's `for` sees every loss."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from erg.draws import Rng
from erg.energies.energy import as_energy
from erg.roles import EnergyLike, Loss, Objective


def train(
    energy: EnergyLike,
    objective: Objective,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    rng: Rng = None,
) -> Iterator[Loss]:
    """Yield the loss of every update, after it was made.

    Everything is changed in place, so a caller may look at, save or restore the energy, the optimiser
    and the objective between two updates.

    Args:
        energy: What is trained, in training mode.
        objective: What to change.
        batches: Data; training ends with it.
        optimizer: Over the energy's parameters.
        rng: The only source of randomness when given.

    Example:
        >>> from erg.negatives import FromNoise
        >>> from erg.objectives import MaximumLikelihood
        >>> from erg.samplers import ula
        >>> layers = torch.nn.Linear(2, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1), torch.nn.Flatten(0)
        >>> energy = torch.nn.Sequential(*layers)
        >>> optimizer = torch.optim.Adam(energy.parameters())
        >>> objective = MaximumLikelihood(FromNoise(ula(0.1), steps=5))
        >>> losses = train(energy, objective, [torch.randn(16, 2)] * 3, optimizer)
        >>> ["energy/gap" in loss.terms for loss in losses]
        [True, True, True]
    """
    energy = as_energy(energy)
    for batch in batches:
        loss = objective(energy, batch, rng)
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        yield loss
