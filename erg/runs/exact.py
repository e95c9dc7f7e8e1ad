"""Exact kernels in the place of a run's own: which of them move on its energy, what they cost, and their tuning."""

import time
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from erg.data import Dataset
from erg.energies import Counted, Energy
from erg.energies.energy import evaluate
from erg.errors import UserError
from erg.roles import Kernel
from erg.runs.diagnosis import Plan
from erg.runs.model import Model
from erg.samplers import NUTS, hmc, mala, mams, nuts, warmup
from erg.samplers.chain import sampling

EXACT: dict[str, Kernel] = {"hmc": hmc(0.1, 8), "mala": mala(0.01), "mams": mams(), "nuts": nuts(0.1)}
TUNING = 500
# Enough to see how deep trees grow, and few enough to know it before anybody waits.
FEW, TRIED, ROUGHLY, SHALLOW = 16, 2, 30, 3


def check_kernel(model: Model, name: str) -> None:
    """Refuse a kernel that does not move where the rows of a run are, before its data are loaded.

    Args:
        model: Whose energy.
        name: One of `EXACT`.

    Raises:
        UserError: With those that do.
    """
    support, shape = model.energy.support, model.domain.shape
    x = support.initial((2, *shape), torch.Generator().manual_seed(0))
    others = [other for other in EXACT if _moves(EXACT[other], model.energy, x)]
    if name not in others:
        advice = f"choose one of {', '.join(others)}, or leave it out" if others else "leave it out"
        raise UserError(
            f"--kernel {name} does not move on {support} in shape {shape}, as the rows of this run are; {advice} for "
            "the run's own."
        )


def with_kernel(model: Model, data: Dataset, name: str, plan: Plan, *, seed: int, device: torch.device) -> Model:
    """The model with another kernel, tuned to its energy by chains from held-out rows.

    Args:
        model: Whose energy; it is moved to `device`.
        data: Its own.
        name: One of `EXACT`.
        plan: How many chains tune it.
        seed: Of these chains.
        device: Where they run.

    Raises:
        UserError: If it does not move on this energy.
    """
    x, rng = data.held_out.x[: plan.chains].to(device), torch.Generator(device).manual_seed(seed)
    return replace(model, kernel=_tuned(EXACT[name], name, model.energy.to(device), x, rng))


def expected_seconds(model: Model, data: Dataset, name: str, plan: Plan, *, device: torch.device) -> float:
    """About how long it takes to tune a kernel and to run its chains: by a few steps of some rows, and the time of a
    gradient of all of them.

    A tree of NUTS has as many leaves as its step size asks for, so that is found first, roughly, by small trees.

    Args:
        model: Whose energy; it is moved to `device`.
        data: Its own.
        name: One of `EXACT`.
        plan: How many chains, and how long.
        device: Where they run.

    Raises:
        UserError: If the kernel does not move on this energy.
    """
    kernel, energy, rng = EXACT[name], model.energy.to(device), torch.Generator(device).manual_seed(0)
    x = data.held_out.x[: plan.chains].to(device)
    if isinstance(kernel, NUTS):
        rough = _tuned(replace(kernel, max_depth=SHALLOW), name, energy, x[:FEW], rng, roughly=True)
        kernel = replace(rough, max_depth=kernel.max_depth) if isinstance(rough, NUTS) else rough
    counted = Counted(energy)
    with sampling(counted):
        state = kernel.init(counted, x[:FEW])
        before = counted.gradients
        kernel.run(counted, state, TRIED, rng)
    gradients = (counted.gradients - before) / TRIED
    return gradients * (TUNING * _seconds(energy, x) + plan.steps * _seconds(energy, torch.cat([x, x])))


def _tuned(
    kernel: Kernel,
    name: str,
    energy: Energy,
    x: Float[Tensor, "rows *event"],
    rng: torch.Generator,
    *,
    roughly: bool = False,
) -> Kernel:
    try:
        return warmup(kernel, energy, x, ROUGHLY if roughly else TUNING, rng, mass=not roughly)
    except (TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"--kernel {name} cannot be tuned to this energy: {reason}. Choose another --kernel, or leave it out for "
            "the run's own."
        ) from error


def _moves(kernel: Kernel, energy: Energy, x: Float[Tensor, "rows *event"]) -> bool:
    try:
        with sampling(energy):
            kernel.init(energy, x)
    except (TypeError, ValueError):
        return False
    return True


def _seconds(energy: Energy, x: Float[Tensor, "rows *event"]) -> float:
    """Of one gradient; the first one is slower than those that follow."""
    for _ in range(2):
        start = time.perf_counter()
        with sampling(energy):
            evaluate(energy, x).energy.sum().item()  # a GPU answers when it is asked
    return time.perf_counter() - start
