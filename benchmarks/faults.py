"""Divergences that are planted into the training of a small energy, and the training they are planted into.

The data are four Gaussians in the plane, the energy a two-layer perceptron on the box [-4, 4]^2, trained with
persistent Langevin chains. What it has learned is known without sampling: the
information it gained over the uniform density, in nats, by quadrature on a grid,

    gain = E_data[log p(x)] + log volume,

0 for the uniform density and 1.334 for the truth.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from erg.energies import Neural
from erg.negatives import Persistent
from erg.objectives import Magnitude, MaximumLikelihood
from erg.samplers import ula, with_setting
from erg.support import Box
from erg.training import train
from erg.training.averaging import Averaged
from erg.training.guard import DivergenceError, Guard
from erg.training.rates import Cosine, set_learning_rate

SIDE, STEP_SIZE, LEARNING_RATE = 4.0, 0.05, 3e-3
CENTRES = 2.0 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
DEVIATION = 0.5


class Bed:
    """One training run, whose parts a fault may reach.

    Args:
        seed: Of weights, data and chains.
    """

    def __init__(self, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        self.energy = Neural(_perceptron(self.rng), support=Box(-SIDE, SIDE))
        self.chains = Persistent(ula(STEP_SIZE), 10, size=512)
        self.objective = MaximumLikelihood(self.chains, {"magnitude": (0.001, Magnitude())})
        self.optimizer = torch.optim.Adam(self.energy.parameters(), LEARNING_RATE, betas=(0.5, 0.999))
        self.averaged = Averaged(self.energy, 0.98)

    @property
    def head(self) -> nn.Linear:
        """The last layer."""
        return self.energy.network[-2]

    def gain(self) -> float:
        """What the averaged energy has learned, in nats over the uniform density; NaN when it is not finite."""
        axis = (torch.arange(200) + 0.5) / 200 * 2 * SIDE - SIDE
        grid = torch.cartesian_prod(axis, axis)
        truth = -torch.cdist(grid, CENTRES).square().div(2 * DEVIATION**2)
        weights = truth.logsumexp(1).softmax(0)
        with torch.no_grad():
            log_density = (-self.averaged.energy(grid).double()).log_softmax(0)
        return float((weights * (log_density + math.log(len(grid)))).sum())


def _perceptron(rng: torch.Generator) -> nn.Sequential:
    layers = [nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)]
    for layer in layers[::2]:
        bound = layer.in_features**-0.5
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=rng)
    return nn.Sequential(*layers, nn.Flatten(0))


def batches(bed: Bed, steps: int, spoil: Callable[[Tensor, int], Tensor]) -> Iterator[Tensor]:
    """Fresh data for every update, counted from 1, after what a fault does to them."""
    for step in range(1, steps + 1):
        centre = CENTRES[torch.randint(4, (128,), generator=bed.rng)]
        yield spoil(centre + DEVIATION * torch.randn(128, 2, generator=bed.rng), step)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Args:
        name: In words.
        setup: What it does to a run before it starts.
        disturb: What it does after each update.
        spoil: What it does to each batch.
        rate: What it multiplies the learning rate with at each update.
    """

    name: str
    setup: Callable[[Bed], object] = lambda bed: None
    disturb: Callable[[Bed, int], None] = lambda bed, step: None
    spoil: Callable[[Tensor, int], Tensor] = lambda x, step: x
    rate: Callable[[int], float] = lambda step: 1.0


class Outcome(NamedTuple):
    """How a run ended: what it learned, what the guard did, and why it stopped, if it did."""

    gain: float
    recoveries: int = 0
    skips: int = 0
    signals: tuple[str, ...] = ()
    stopped: str = ""


def run(fault: Fault, *, seed: int = 0, steps: int = 1000, guarded: bool = True) -> Outcome:
    """Train with a fault, with or without the guard."""
    bed = Bed(seed)
    fault.setup(bed)
    losses = train(bed.energy, bed.objective, batches(bed, steps, fault.spoil), bed.optimizer, bed.rng)
    guard = None
    if guarded:
        parts = {"energy": bed.energy, "optimizer": bed.optimizer, "objective": bed.objective}
        guard = Guard(**parts, averaged=bed.averaged, rng=bed.rng)
        losses = guard.watch(losses)
    schedule, stopped = Cosine(steps, end=0.1), ""

    def set_rate(step: int) -> None:
        factor = 1.0 if guard is None else guard.learning_rate_factor
        set_learning_rate(bed.optimizer, LEARNING_RATE * fault.rate(step) * schedule(step), factor=factor)

    set_rate(1)
    try:
        for step, _ in enumerate(losses, start=1):
            bed.averaged.update()
            fault.disturb(bed, step)
            set_rate(step + 1)
    except DivergenceError as error:
        stopped = str(error)
    outcome = Outcome(bed.gain(), stopped=stopped)
    if guard is None:
        return outcome
    counts = {kind: sum(event.kind == kind for event in guard.events) for kind in ("recovery", "skip")}
    signals = tuple(dict.fromkeys(event.signal for event in guard.events))
    return outcome._replace(recoveries=counts["recovery"], skips=counts["skip"], signals=signals)


def at(step: int, change: Callable[[Bed], object], *, until: int | None = None) -> Callable[[Bed, int], None]:
    """Disturb a run after one update, or after each of several."""

    @torch.no_grad()
    def disturb(bed: Bed, now: int) -> None:
        if step <= now <= (until or step):
            change(bed)

    return disturb


def during(first: int, last: int, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """Spoil the batches of some updates."""
    return lambda x, step: change(x) if first <= step <= last else x


def kernel_setting(name: str, factor: float) -> Callable[[Bed], object]:
    """Multiply a setting of the kernel."""

    def change(bed: Bed) -> None:
        bed.chains.kernel = with_setting(bed.chains.kernel, name, lambda value: value * factor)

    return change


def _weights(change: Callable[[nn.Parameter], object]) -> Callable[[Bed], object]:
    return lambda bed: [change(parameter) for parameter in bed.energy.parameters()]


def _chains(value: float, rows: int = 512) -> Callable[[Bed], object]:
    return lambda bed: bed.chains.positions[:rows].fill_(value)


def _moments(bed: Bed) -> None:
    for state in bed.optimizer.state.values():
        state["exp_avg"].mul_(1e6)
        state["exp_avg_sq"].zero_()


def _nan_moment(bed: Bed) -> None:
    next(iter(bed.optimizer.state.values()))["exp_avg"][0] = math.nan


def _spike(bed: Bed) -> None:
    def grow(optimizer: torch.optim.Optimizer, *_: object) -> None:
        grow.calls += 1
        for parameter in bed.energy.parameters() if grow.calls == 400 else ():
            parameter.grad.mul_(1e6)

    grow.calls = 0
    bed.optimizer.register_step_pre_hook(grow)


def _no_penalty(bed: Bed) -> None:
    bed.objective.penalties = {}


FAULTS = (
    Fault("step size x1000 from the start", setup=kernel_setting("step_size", 1000)),
    Fault("step size x50 from the start", setup=kernel_setting("step_size", 50)),
    Fault("step size x1000 from update 400", disturb=at(400, kernel_setting("step_size", 1000))),
    Fault("learning rate x100 from the start", rate=lambda step: 100.0),
    Fault("learning rate x1000 from update 300", rate=lambda step: 1000.0 if step > 300 else 1.0),
    Fault(
        "no penalty, learning rate x300 from update 200",
        setup=_no_penalty,
        rate=lambda step: 300.0 if step > 200 else 1.0,
    ),
    Fault("one batch of NaN", spoil=during(400, 400, lambda x: x * math.nan)),
    Fault("one batch of infinities", spoil=during(400, 400, lambda x: x * math.inf)),
    Fault("ten batches of NaN", spoil=during(400, 409, lambda x: x * math.nan)),
    Fault("thirty batches x100", spoil=during(400, 429, lambda x: x * 100)),
    Fault("NaN in 64 chains", disturb=at(400, _chains(math.nan, 64))),
    Fault("all chains at 1e6", disturb=at(400, _chains(1e6))),
    Fault("all chains in a corner", disturb=at(400, _chains(SIDE))),
    Fault("weights x1000", disturb=at(400, _weights(lambda weight: weight.mul_(1000)))),
    Fault("weights zero", disturb=at(400, _weights(lambda weight: weight.zero_()))),
    Fault("NaN in one weight", disturb=at(400, lambda bed: bed.head.weight[0, :1].fill_(math.nan))),
    Fault("sign of the head flipped", disturb=at(400, lambda bed: bed.head.weight.neg_())),
    Fault("NaN in the optimiser", disturb=at(400, _nan_moment)),
    Fault("momentum x1e6, second moment zero", disturb=at(400, _moments)),
    Fault("one gradient x1e6", setup=_spike),
    Fault("energies offset by 1e6", disturb=at(400, lambda bed: bed.head.bias.add_(1e6))),
    Fault("energies drift by 2 nats an update", disturb=at(400, lambda bed: bed.head.bias.add_(2.0), until=450)),
)
"""All must be survived."""

UNRECOVERABLE = (Fault("every batch is NaN", spoil=during(1, 10**9, lambda x: x * math.nan)),)
"""Training must stop cleanly."""

NONE = Fault("none")
