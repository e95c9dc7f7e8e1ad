"""Batches as a pure function of the seed and the step.

Batch t needs nothing but (seed, t): an epoch's order comes from (seed, epoch), the noise from (seed, t), each
through a hash that keeps the streams apart. So a resumed run goes on with the batches it would have
had, and neither workers nor devices change them: every draw is made on the CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import overload

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg.errors import UserError
from erg.support import Box, Real, Support

_ORDER, _DEQUANTISE, _NOISE = range(3)


@overload
def batches(
    x: Tensor,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    noise: float = 0.0,
    dequantise: bool = False,
    support: Support = ...,
    labels: None = None,
) -> Iterator[Tensor]: ...


@overload
def batches(
    x: Tensor,
    batch_size: int,
    *,
    seed: int,
    labels: Tensor,
    start: int = 0,
    noise: float = 0.0,
    dequantise: bool = False,
    support: Support = ...,
) -> Iterator[tuple[Tensor, Tensor]]: ...


def batches(
    x: Float[Tensor, "n *event"],
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    noise: float = 0.0,
    dequantise: bool = False,
    support: Support = Box(-1.0, 1.0),
    labels: Int[Tensor, " labels"] | None = None,
) -> Iterator[Tensor] | Iterator[tuple[Tensor, Tensor]]:
    """Batches of rows without end, each epoch in an order of its own; (x, y) pairs when labels are given.

    An epoch has n // batch_size batches and leaves the last n % batch_size rows of its order out, so no
    batch straddles two epochs and no row comes twice in one.

    Args:
        x: The rows, on any device.
        batch_size: Rows per batch.
        seed: Names the sequence of batches.
        start: The number of the first batch, counted from 0: the step to resume from.
        noise: Standard deviation of Gaussian noise added to the rows, then cut off at the faces of a `Box`.
        dequantise: Spread each of the 256 grey levels of a `Box` evenly over its share of it, level k over
            [k, k + 1) / 256 of its width: bytes become a density with no atoms, and stay inside.
        support: Where the rows live. Noise needs `Box` or `Real`, dequantisation `Box`.
        labels: One per row.

    Raises:
        UserError: If there are fewer rows than `batch_size`.
        ValueError: If `batch_size` is not positive, `start`, `seed` or `noise` is negative, labels are not one a
            row, or noise is asked for that the support cannot take.
    """
    _check(x, batch_size, seed=seed, start=start, labels=labels)
    blur = _Blur(seed, noise, dequantise, support)
    blur.check(x)
    numbered = _rows(len(x), batch_size, seed=seed, start=start)
    if labels is None:
        return (blur(x[rows.to(x.device)], t) for t, rows in numbered)
    return ((blur(x[rows.to(x.device)], t), labels[rows.to(labels.device)]) for t, rows in numbered)


def _rows(n: int, batch_size: int, *, seed: int, start: int) -> Iterator[tuple[int, Int[Tensor, " batch"]]]:
    """The number of each batch from `start` on, with the rows that are in it."""
    per_epoch = n // batch_size
    current, order = -1, torch.empty(0, dtype=torch.long)
    for t in count(start):
        epoch, place = divmod(t, per_epoch)
        if epoch != current:
            current, order = epoch, torch.randperm(n, generator=_generator(seed, _ORDER, epoch))
        yield t, order[place * batch_size : (place + 1) * batch_size]


@dataclass(frozen=True)
class _Blur:
    """Adds the noise of batch t."""

    seed: int
    noise: float
    dequantise: bool
    support: Support

    def __call__(self, x: Float[Tensor, "batch *event"], t: int) -> Float[Tensor, "batch *event"]:
        box = self.support if isinstance(self.support, Box) else None
        if self.dequantise and box:
            level = (x - box.low) * (255 / (box.high - box.low))
            share = torch.rand(x.shape, generator=_generator(self.seed, _DEQUANTISE, t)).to(x)
            x = box.low + (level + share) * ((box.high - box.low) / 256)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=_generator(self.seed, _NOISE, t)).to(x)
        return x.clamp(box.low, box.high) if box and (self.noise or self.dequantise) else x

    def check(self, x: Float[Tensor, "n *event"]) -> None:
        """Refuse noise that the support of the rows cannot take."""
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"Data noise is a standard deviation, zero or positive, but got {self.noise}.")
        if self.dequantise and not isinstance(self.support, Box):
            raise ValueError(f"Dequantisation needs grey levels on a Box, but got {self.support}; leave it off.")
        if self.noise and not isinstance(self.support, Box | Real):
            raise ValueError(f"Gaussian noise needs rows on Box or Real, but got {self.support}; set noise=0.")
        if (self.noise or self.dequantise) and not bool(self.support.contains(x).all()):
            raise ValueError(f"These rows should lie in {self.support}, but some do not; name their own support.")


def _generator(seed: int, stream: int, t: int) -> torch.Generator:
    """A generator for draw t of a stream. The hash of (seed, stream, t) is NumPy's, stable over its versions."""
    word = np.random.SeedSequence(seed, spawn_key=(stream, t)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word))


def _check(x: Tensor, batch_size: int, *, seed: int, start: int, labels: Tensor | None) -> None:
    if batch_size < 1 or start < 0 or seed < 0:
        raise ValueError(
            f"batches() needs batch_size >= 1, start >= 0 and seed >= 0, but got {batch_size}, {start} and {seed}."
        )
    if len(x) < batch_size:
        raise UserError(
            f"A batch of {batch_size} rows needs as many rows of data, but there are {len(x)}; "
            f"set the batch size to {max(len(x), 1)} or less."
        )
    if labels is not None and labels.shape != x.shape[:1]:
        raise ValueError(f"batches() needs one label per row, shape ({len(x)},), but got {tuple(labels.shape)}.")
