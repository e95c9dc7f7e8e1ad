"""Chains are independent: parts of the batch can run on a thread each.

Two threads inside every small operation wait for each other at its end, some dozens of times a step. Parts
of the batch on one thread each wait once a run. The noise is that of the whole batch, drawn in order by
whichever thread comes first, so that the chains are those of the undivided kernel up to rounding.
"""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erg import draws, rows
from erg.draws import Draw, Record, Replay, Rng
from erg.roles import EnergyLike, Kernel
from erg.samplers.compilation.fingerprint import Fingerprint
from erg.samplers.composition import check_kernel

# How many steps a part may be ahead of the others.
_LEAD = 4


class Parts(NamedTuple):
    """The states of the parts, and what a step of the whole batch draws; None when it is undivided."""

    states: tuple[Any, ...]
    noise: list[Draw] | None = None

    @property
    def x(self) -> Float[Tensor, "batch *event"]:
        """The position of the whole batch."""
        return torch.cat([state.x for state in self.states])


@dataclass(frozen=True)
class Parallel(Kernel):
    """Runs equal parts of the batch on a thread each, on a processor.

    Pays for networks that are large enough for threads and too small to keep them busy together, in
    `sample` and in training; compile the kernel inside, because Python itself runs one thread at a time.
    A batch that does not divide by `threads`, and an energy or kernel with one number per chain, run
    undivided.

    Args:
        kernel: What moves.
        threads: How many parts.

    Raises:
        ValueError: If `threads` is not positive.

    Example:
        >>> from erg.samplers import Compiled, sgld
        >>> kernel = Parallel(Compiled(sgld(10.0, 0.005)), threads=2)
    """

    kernel: Kernel
    threads: int

    def __post_init__(self) -> None:
        check_kernel(self.kernel, of="Parallel")
        rows.whole("threads", self.threads, of="Parallel")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Parts:
        """Start at `x`, divided if that is possible."""
        noise = _draws(self.kernel, energy, x) if self._divides(energy, x) else None
        parts = x.chunk(self.threads) if noise is not None else (x,)
        return Parts(tuple(self.kernel.init(energy, part) for part in parts), noise)

    def step(self, energy: EnergyLike, state: Parts, rng: Rng) -> tuple[Parts, Float[Tensor, " batch"]]:
        """One step of every part."""
        return self.run(energy, state, 1, rng)

    def run(self, energy: EnergyLike, state: Parts, steps: int, rng: Rng) -> tuple[Parts, Float[Tensor, " batch"]]:
        """Several steps, for which the parts do not wait for each other."""
        if state.noise is None:
            inner, accepted = self.kernel.run(energy, state.states[0], steps, rng)
            return Parts((inner,), None), accepted
        feed = _Feed(state.noise, rng, steps, len(state.states))

        def run_part(index: int) -> tuple[Any, Tensor]:
            part = state.states[index]
            accepted = torch.zeros(len(part.x), device=part.x.device)
            try:
                for step in range(steps):
                    part, acceptance = self.kernel.step(energy, part, feed.take(step, index))
                    accepted += acceptance
            finally:
                feed.leave(index)
            return part, accepted

        with _one_thread_each(self.threads - 1) as pool:
            others = [pool.submit(run_part, index) for index in range(1, self.threads)]
            results = [run_part(0), *(other.result() for other in others)]
        accepted = torch.cat([accepted for _, accepted in results])
        return Parts(tuple(part for part, _ in results), state.noise), accepted

    def _divides(self, energy: EnergyLike, x: Tensor) -> bool:
        if (
            self.threads == 1
            or len(x) < 2
            or len(x) % self.threads
            or x.device.type != "cpu"
            or torch.is_autocast_enabled("cpu")
        ):
            return False
        read = Fingerprint(energy, self.kernel).tensors
        return all(isinstance(tensor, nn.Parameter) or tensor.shape[:1] != x.shape[:1] for tensor in read)


class _Feed:
    """Draws the noise of step after step, in order, whoever asks first, and hands out each part's rows."""

    def __init__(self, noise: list[Draw], rng: Rng, steps: int, parts: int) -> None:
        self._noise, self._rng, self._steps = noise, rng, steps
        self._made = 0
        self._ready: dict[int, list[tuple[Tensor, ...]]] = {}
        self._at = [0.0] * parts
        self._moved = threading.Condition()
        self._drawing = threading.Lock()

    def take(self, step: int, part: int) -> Replay:
        """The noise of `part` at `step`. Waits for parts that are far behind, so that little is kept."""
        with self._moved:
            self._at[part] = step
            self._moved.notify_all()
            self._moved.wait_for(lambda: step - min(self._at) <= _LEAD)
            for done in list(self._ready):
                if done < min(self._at):
                    del self._ready[done]
        if step not in self._ready:
            with self._drawing:
                self._draw_up_to(step)
        replay = Replay([parts[part] for parts in self._ready[step]])
        # Draw for the next step while the other parts compute: they would all wait for it otherwise.
        if self._drawing.acquire(blocking=False):
            try:
                self._draw_up_to(min(step + 1, self._steps - 1))
            finally:
                self._drawing.release()
        return replay

    def leave(self, part: int) -> None:
        """`part` asks no more: nobody waits for it."""
        with self._moved:
            self._at[part] = math.inf
            self._moved.notify_all()

    def _draw_up_to(self, step: int) -> None:
        while self._made <= step:
            drawn = draws.repeat(self._noise, self._rng)
            self._ready[self._made] = [tensor.chunk(len(self._at)) for tensor in drawn]
            self._made += 1


def _draws(kernel: Kernel, energy: EnergyLike, x: Tensor) -> list[Draw] | None:
    """What a step of the whole batch draws, found on two rows; None if a draw is not one per row, or varies."""
    record = Record(torch.Generator().manual_seed(0))
    kernel.step(energy, kernel.init(energy, x[:2]), record)
    if record.varies or any(draw.shape[:1] != (2,) for draw in record.draws):
        return None
    return [draw._replace(shape=torch.Size((len(x), *draw.shape[1:]))) for draw in record.draws]


@contextmanager
def _one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that do not start threads of their own; the caller is another one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
