"""Diagnose a run: long chains of its own kernel, from held-out rows and from noise, and whether they meet."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg.data import Dataset
from erg.energies import Counted, Energy, Watched
from erg.errors import UserError
from erg.estimate import Estimate
from erg.evaluation.convergence import Autocorrelation, autocorrelation, gradients_per_draw, mode_jumps
from erg.evaluation.meeting import LEAST_CHAINS, LEAST_STEPS, Meeting, Outcome, meeting
from erg.evaluation.regions import regions_of
from erg.evaluation.traces import Summaries, trace
from erg.roles import Kernel
from erg.runs.model import Model
from erg.samplers import Compiled, Parallel
from erg.samplers.chain import sampling
from erg.samplers.composition import without

CHAINS = 64
STEPS = 2_000
TIMES = 10
KEPT = 400
PROBED = 4


@dataclass(frozen=True)
class Plan:
    """How many chains, and how long.

    Args:
        chains: From data, and as many from noise.
        steps: Transitions of each, a multiple of `every`.
        every: Transitions between two states that are summarised.
    """

    chains: int
    steps: int
    every: int

    @staticmethod
    def of(model: Model, data: Dataset, *, chains: int = CHAINS, steps: int | None = None) -> "Plan":
        """As asked for, but no more chains than held-out rows.

        Args:
            model: Whose recipe says how long its chains usually are.
            data: Its own.
            chains: From each start.
            steps: Left out, ten times the recipe's, and at least 2,000.

        Raises:
            UserError: If that is too little to compare.
        """
        check_plan(chains, steps)
        steps = max(STEPS, TIMES * model.recipe.sampler.steps) if steps is None else steps
        every = -(-steps // KEPT)
        return Plan(min(chains, len(data.held_out.x)), steps // every * every, every)

    @property
    def kept(self) -> int:
        """How many states of each chain are summarised, the start among them."""
        return self.steps // self.every + 1


def check_plan(chains: int, steps: int | None) -> None:
    """Refuse what is too little to compare, before anything is loaded.

    Raises:
        UserError: If so.
    """
    if chains < LEAST_CHAINS or (steps is not None and steps < LEAST_STEPS):
        raise UserError(
            f"A diagnosis needs --chains of at least {LEAST_CHAINS} and --steps of at least {LEAST_STEPS}, but got "
            f"--chains {chains}" + ("." if steps is None else f" and --steps {steps}.")
        )


@dataclass(frozen=True)
class Diagnosis:
    """What long chains of a run showed.

    Attributes:
        plan: How many, and how long they were.
        names: Of the summaries.
        data: Of the chains from held-out rows, a summary a kept step.
        noise: The same of the chains from noise.
        meeting: Whether the two meet.
        correlation: Of all chains over the second half, at multiples of `every` steps; None when too many were lost.
        cost: Gradients per effective draw of the summary that mixes worst; None when too many chains were lost,
            or the kernel takes no gradient.
        regions: What the regions are between which jumps are counted.
        nonfinite: The share of states tried in the first steps that have no finite energy; they were rejected.
        jumps: Between regions, a chain in the second half, as far as they show every `every` steps.
    """

    plan: Plan
    names: tuple[str, ...]
    data: Float[Tensor, "chains kept summaries"]
    noise: Float[Tensor, "chains kept summaries"]
    meeting: Meeting
    correlation: Autocorrelation | None
    cost: Estimate | None
    regions: str
    jumps: Estimate
    nonfinite: float


def diagnose(
    model: Model,
    data: Dataset,
    plan: Plan,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    advanced: Callable[[int], Any] = lambda steps: None,
) -> Diagnosis:
    """Run all chains in one batch, and compare the two ends.

    Memory is that of one batch of states and 4 bytes a summary of every kept step.

    Args:
        model: Whose kernel and energy; the energy is moved to `device`.
        data: Its own.
        plan: How many chains, and how long.
        seed: Of starts, chains and summaries.
        device: Where the chains run; the CPU when left out.
        advanced: Told how many steps more have been made.
    """
    device = device or torch.device("cpu")
    choice, rng = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed)
    energy = model.energy.to(device)
    held_out = data.held_out.x[torch.randperm(len(data.held_out.x), generator=choice)[: plan.chains]].to(device)
    start = torch.cat([held_out, energy.support.initial(tuple(held_out.shape), rng, like=held_out)])
    summaries, regions = Summaries.of(data.train.x, rng=choice), regions_of(data.train.x, support=data.support)

    def summarise(x: Tensor, energies: Tensor) -> Tensor:
        return torch.cat([summaries(x, energies), regions.assign(x)[:, None].to(energies)], 1)

    found = torch.empty(len(start), plan.kept, len(summaries.names))
    labels = torch.empty(len(start), plan.kept, dtype=torch.int16)
    chains = trace(model.kernel, energy, start, summarise, every=plan.every, rng=rng)
    for kept, row in enumerate(islice(chains, plan.kept)):
        row = row.float().cpu()
        found[:, kept], labels[:, kept] = row[:, :-1], row[:, -1].to(torch.int16)
        advanced(plan.every if kept else 0)
    gradients, nonfinite = _probed(model.kernel, energy, start, torch.Generator(device).manual_seed(seed))
    half = plan.kept // 2
    jumps = mode_jumps(labels[:, half:].float(), lambda label: label)
    compared = meeting(*found.split(plan.chains))
    correlation, cost = _mixing(found, compared, gradients * plan.every)
    return Diagnosis(
        plan=plan,
        names=summaries.names,
        data=found[: plan.chains],
        noise=found[plan.chains :],
        meeting=compared,
        correlation=correlation,
        cost=cost,
        regions=regions.name,
        jumps=Estimate.of_mean(jumps.double()),
        nonfinite=nonfinite,
    )


def _mixing(
    found: Float[Tensor, "rows kept summaries"], compared: Meeting, gradients: float
) -> tuple[Autocorrelation | None, Estimate | None]:
    """Autocorrelation and gradients per effective draw over the second half, if enough chains are left."""
    if compared.outcome is Outcome.BROKEN:
        return None, None
    late = found[found.isfinite().flatten(1).all(1), found.shape[1] // 2 :]
    cost = gradients_per_draw(late, gradients * late.shape[0] * late.shape[1]) if gradients > 0 else None
    return autocorrelation(late), cost


def _probed(
    kernel: Kernel, energy: Energy, x: Float[Tensor, "rows *event"], rng: torch.Generator
) -> tuple[float, float]:
    """Gradients that a row costs a step, replicas counted, and the share of states without a finite energy.

    Without compilation.
    """
    watched = Watched(energy)
    # Calls inside a compiled graph are not counted.
    kernel, counted = without(kernel, Compiled, Parallel), Counted(watched)
    with sampling(counted):
        state = kernel.init(counted, x.detach())
        before = counted.gradients, counted.values, watched.states
        kernel.run(counted, state, PROBED, rng)
    now = counted.gradients, counted.values, watched.states
    gradients, values, states = (after - earlier for after, earlier in zip(now, before, strict=True))
    rows = states / max(gradients + values, 1) / len(x)
    return gradients * rows / PROBED, watched.nonfinite / max(watched.states, 1)
