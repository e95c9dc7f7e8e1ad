"""Compiled sampling: the same law and the same random numbers, faster.

Noise is drawn outside the compiled step, in the order in which the step itself would draw it, so a compiled
chain follows the eager one up to rounding. Compilation takes some seconds at the first step, and again
for a new shape of the batch; weights and step sizes may change freely. Without a C++ compiler the traced
graph runs operation by operation. Where tracing is impossible (an energy that branches on its values, for
example) the kernel runs eagerly. Neither is an error; `compiler_status` and `Running.bound` tell.
"""

import contextlib
import copy
import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws
from erg.draws import Draw, Record, Replay, Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.compilation.fingerprint import Fingerprint
from erg.samplers.compilation.graphs import (
    Program,
    as_inputs,
    build,
    compiler_status,
    flatten,
    restore,
    settings,
    with_settings,
)
from erg.samplers.compilation.pieces import Piece, Pieces
from erg.samplers.composition import check_kernel
from erg.samplers.parts import branches

__all__ = ["Bound", "Compiled", "Eager", "Running", "compiler_status"]

_PROGRAMS = 64
_VARIANTS = 8
_TOLERANCE = 0.05
_OUTLIERS = 0.02
# Runs of at least `_LONG` steps take `_BURST` at a time, if a step has at most `_SMALL` operations on `_FEW` numbers.
_LONG = 100
_BURST = 8
_SMALL = 100
_FEW = 10_000


class Eager(NamedTuple):
    """Says that a step runs eagerly, and why."""

    reason: str


class Running(NamedTuple):
    """The inner kernel's state, and the compiled step once there is one.

    Attributes:
        inner: What the inner kernel needs.
        bound: The compiled step with the weights it was prepared for, or why there is none.
    """

    inner: Any
    bound: "Bound | Pieces | Eager | None" = None

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position."""
        return self.inner.x


@dataclass(frozen=True)
class Compiled(Kernel):
    """Runs a kernel's step as one compiled graph, gradient included.

    Args:
        kernel: What moves. Schedules go around: ``Scheduled(Compiled(kernel), schedules)``.

    Example:
        >>> from erg.samplers import sgld
        >>> from erg.samplers.precision import LowPrecision
        >>> kernel = Compiled(LowPrecision(sgld(10.0, 0.005, clip=0.03, box=(-1.0, 1.0))))
    """

    kernel: Kernel

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="Compiled")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Running:
        """Start at `x`. The weights must stay as they are until the next `init`."""
        return Running(self.kernel.init(energy, x))

    def step(self, energy: EnergyLike, state: Running, rng: Rng) -> tuple[Running, Float[Tensor, " batch"]]:
        """One step of the kernel."""
        if isinstance(rng, Record):  # asks what the kernel draws, not for speed
            inner, acceptance = self.kernel.step(energy, state.inner, rng)
            return Running(inner, state.bound), acceptance
        bound = state.bound
        if bound is None or (isinstance(bound, Bound | Pieces) and bound.kernel is not self.kernel):
            bound = _bind(self.kernel, energy, state.inner, bound)
        if isinstance(bound, Bound):
            inner, acceptance = bound.run(state.inner, 1, rng)
        elif isinstance(bound, Pieces):
            inner, acceptance = bound.kernel.walk(energy, state.inner, rng, bound)
        else:
            inner, acceptance = self.kernel.step(energy, state.inner, rng)
        return Running(inner, bound), acceptance

    def run(
        self, energy: EnergyLike, state: Running, steps: int, rng: Rng
    ) -> tuple[Running, Float[Tensor, " batch"]]:
        """Several steps, and the sum of their acceptances."""
        if steps < 2 or isinstance(rng, Record):
            return super().run(energy, state, steps, rng)
        state, first = self.step(energy, state, rng)
        if not isinstance(state.bound, Bound):
            state, others = super().run(energy, state, steps - 1, rng)
        else:
            inner, others = state.bound.run(state.inner, steps - 1, rng, energy=energy)
            state = Running(inner, state.bound)
        return state, first + others


class Bound:
    """A compiled step with the weights and settings it runs on."""

    def __init__(
        self, step: "_Step", kernel: Kernel, key: Hashable, weights: list[Tensor], device: torch.device
    ) -> None:
        self.kernel, self.key = kernel, key
        self._step, self._weights = step, weights
        self._values = as_inputs(settings(kernel), device)
        with torch.no_grad():
            self._prepared = step.program.prepare(*weights)

    def with_kernel(self, kernel: Kernel, device: torch.device) -> "Bound":
        """The same step on other settings."""
        other = copy.copy(self)
        other.kernel, other._values = kernel, as_inputs(settings(kernel), device)
        return other

    def run(
        self, inner: Any, steps: int, rng: Rng, *, energy: EnergyLike | None = None
    ) -> tuple[Any, Float[Tensor, " batch"]]:
        """The state after `steps` steps, and the sum of their acceptances.

        Given the energy, long runs of small steps go several steps at a time. Whether they do depends on the
        arguments alone: a run that is resumed has the same bits.
        """
        tensors, noise = flatten(inner), self._step.draws
        values = self._values
        accepted: Any = None
        with torch.no_grad():
            if energy is not None and steps >= _LONG:
                burst = self._step.burst(self.kernel, energy, inner, self._weights)
                if burst is not None:
                    prepared = burst.prepare(*self._weights)
                    for _ in range(steps // _BURST):
                        drawn = draws.repeat(noise * _BURST, rng)
                        *tensors, acceptance = burst.body(*prepared, *tensors, *values, *drawn)
                        accepted = acceptance if accepted is None else accepted + acceptance
                    steps %= _BURST
            for _ in range(steps):
                drawn = draws.repeat(noise, rng)
                *tensors, acceptance = self._step.program.body(*self._prepared, *tensors, *values, *drawn)
                accepted = acceptance if accepted is None else accepted + acceptance
        return restore(inner, iter(tensors)), accepted


class _Step:
    """What is kept between chains: the graph of a step, what it draws, and a graph of several small steps."""

    def __init__(self, program: Program, noise: list[Draw]) -> None:
        self.program = program
        self.draws = noise
        self._burst: Program | None = None
        self._tried = False

    def burst(self, kernel: Kernel, energy: EnergyLike, inner: Any, weights: list[Tensor]) -> Program | None:
        """`_BURST` steps in one graph, if a step is so small that calling it costs as much as running it."""
        with _lock:
            small = self.program.size <= _SMALL and sum(x.numel() for x in flatten(inner)) <= _FEW
            if not self._tried and small:
                drawn = draws.repeat(self.draws * _BURST, torch.Generator(flatten(inner)[0].device).manual_seed(0))
                with contextlib.suppress(Exception):  # single steps will do
                    self._burst = build(kernel, energy, inner, weights, drawn, steps=_BURST)
            self._tried = True
        return self._burst


_steps: OrderedDict[Hashable, _Step | dict[Hashable, Piece] | Eager] = OrderedDict()
_variants: Counter[Hashable] = Counter()
_lock = threading.Lock()


def _bind(kernel: Kernel, energy: EnergyLike, inner: Any, former: Any) -> Bound | Pieces | Eager:
    """The compiled step for this kernel, energy and shape of the state; compiled now if it is new."""
    signs = with_settings(kernel, ["+" if value > 0 else "-" for value in settings(kernel)])
    if isinstance(former, Bound | Pieces) and Fingerprint(signs).exact == former.key:
        return former.with_kernel(kernel, inner.x.device)
    try:
        tensors = flatten(inner)
    except TypeError as error:
        return Eager(str(error))
    shapes = [(tuple(x.shape), x.stride(), x.dtype, x.device) for x in tensors]
    reads = Fingerprint(energy, signs, shapes, _surroundings(tensors[0].device))
    with _lock:
        step = _steps.pop(reads.exact, None)
        if step is None:
            step = (_compile_parts if branches(kernel) else _compile)(kernel, energy, inner, reads)
        _steps[reads.exact] = step
        while len(_steps) > _PROGRAMS:
            _steps.popitem(last=False)
    if isinstance(step, Eager):
        return step
    key, device = Fingerprint(signs).exact, tensors[0].device
    if isinstance(step, dict):
        return Pieces(step, kernel, key, reads.tensors, device)
    return Bound(step, kernel, key, reads.tensors, device)


def _compile_parts(kernel: Any, energy: EnergyLike, inner: Any, reads: Fingerprint) -> dict[Hashable, Piece] | Eager:
    if _variants[reads.coarse] >= _VARIANTS:
        return _too_many()
    device = inner.x.device
    expected, _ = kernel.step(energy, inner, torch.Generator(device).manual_seed(0))
    _variants[reads.coarse] += 1
    made: dict[Hashable, Piece] = {}
    try:
        pieces = Pieces(made, kernel, (), reads.tensors, device)
        found, _ = kernel.walk(energy, inner, torch.Generator(device).manual_seed(0), pieces)
    except Exception as error:
        return Eager(_reason(error))
    return made if _agree(inner.x, expected.x, found.x) else _disagreement()


def _compile(kernel: Kernel, energy: EnergyLike, inner: Any, reads: Fingerprint) -> _Step | Eager:
    if _variants[reads.coarse] >= _VARIANTS:
        return _too_many()
    tensors = flatten(inner)
    # A mistake in the energy shows here, as it would without compilation.
    rng = torch.Generator(tensors[0].device).manual_seed(0)
    record = Record(rng)
    kernel.step(energy, inner, record)
    if record.varies:
        return Eager("a step draws as often as it takes, a proposal by rejection for example")
    noise = draws.repeat(record.draws, rng)
    expected, _ = kernel.step(energy, inner, Replay(noise))
    _variants[reads.coarse] += 1
    try:
        program = build(kernel, energy, inner, reads.tensors, noise)
        step = _Step(program, record.draws)
        found, _ = Bound(step, kernel, (), reads.tensors, inner.x.device).run(inner, 1, Replay(noise))
    except Exception as error:
        return Eager(_reason(error))
    return step if _agree(inner.x, expected.x, found.x) else _disagreement()


def _too_many() -> Eager:
    return Eager(f"already compiled for {_VARIANTS} other shapes or numbers in the energy")


def _disagreement() -> Eager:
    return Eager("the compiled step did not agree with the eager one")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    if "_local_scalar_dense" in lines[0]:  # what torch says where Python asks for a number
        return "what is computed depends on values: an `if` in the energy, or trajectories of different lengths"
    return f"{type(error).__name__}: {lines[0]}"


def _agree(start: Tensor, expected: Tensor, found: Tensor) -> bool:
    """Whether two steps went to the same place, but for rounding and a few decisions it turned."""
    scale = (expected - start).abs().nan_to_num(0.0, 0.0, 0.0).amax().clamp(min=torch.finfo(start.dtype).tiny)
    same = (expected - found).abs() <= _TOLERANCE * scale
    same |= (expected == found) | (expected.isnan() & found.isnan())
    return bool(same.float().mean() >= 1 - _OUTLIERS)


def _surroundings(device: torch.device) -> tuple[Any, ...]:
    """What else a graph depends on: threads, and the caller's automatic casts."""
    casts = torch.is_autocast_enabled(device.type)
    return torch.get_num_threads(), torch.get_default_dtype(), casts and torch.get_autocast_dtype(device.type)
