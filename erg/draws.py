r"""The random draws of every kernel, in one place.

Kernels ask here for noise instead of calling torch, for two reasons. A `torch.Generator` given by
the caller is the only source of randomness, so the caller's global state is left alone. And a
compiled step cannot hold a generator: `Record` lists what a step draws, `repeat` draws the same again
outside of the step, and `Replay` hands those tensors to it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Replay:
    """Hands out tensors that were drawn before, in order. Stands in for a `torch.Generator`."""

    def __init__(self, tensors: list[Tensor] | tuple[Tensor, ...]) -> None:
        self._tensors = iter(tensors)

    def take(self) -> Tensor:
        """The next tensor."""
        return next(self._tensors)


class Draw(NamedTuple):
    """One draw of a step: which law, and the shape, dtype and device of the result."""

    law: str
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class Record:
    """Draws from `rng` and lists what was drawn. Stands in for a `torch.Generator`.

    Attributes:
        draws: In order.
        varies: Whether another time there may be more of them, or fewer.
    """

    def __init__(self, rng: torch.Generator | None) -> None:
        self.rng = rng
        self.draws: list[Draw] = []
        self.varies = False


class Grouped:
    """Draws for `size` rows of each chain at once. Stands in for a `torch.Generator`.

    What is drawn for (chains * size, *event) comes from `rng` as (chains, size, *event), so that its first axis
    is the chain, as for every other kernel.
    """

    def __init__(self, rng: "Rng", size: int) -> None:
        self.rng = rng
        self.size = size

    def split(self, shape: torch.Size) -> torch.Size:
        """The shape that is asked of `rng` for rows of `shape`."""
        return torch.Size((shape[0] // self.size, self.size, *shape[1:]))


Rng = torch.Generator | Replay | Record | Grouped | None


def normal(like: Float[Tensor, "*shape"], rng: Rng = None) -> Float[Tensor, "*shape"]:
    """Independent standard normal entries with the shape, dtype and device of `like`."""
    return _draw("normal", like, rng)


def uniform(like: Float[Tensor, "*shape"], rng: Rng = None) -> Float[Tensor, "*shape"]:
    """Independent entries uniform in [0, 1) with the shape, dtype and device of `like`."""
    return _draw("uniform", like, rng)


def varies(rng: Rng) -> None:
    """Say that what follows is drawn as often as it takes: a recording of it cannot be repeated."""
    if isinstance(rng, Grouped):
        varies(rng.rng)
    elif isinstance(rng, Record):
        rng.varies = True


def permutation(n: int, device: torch.device, rng: Rng = None) -> Tensor:
    """A random order of 0 ... n-1. Not for use inside a step: it cannot be replayed.

    Raises:
        TypeError: If `rng` is a recording.
    """
    if not (rng is None or isinstance(rng, torch.Generator)):
        raise TypeError(f"A permutation needs a torch.Generator, but got {type(rng).__name__}.")
    return torch.randperm(n, generator=rng, device=device)


def repeat(draws: list[Draw], rng: Rng) -> list[Tensor]:
    """Fresh draws of the laws and shapes that a `Record` listed."""
    if isinstance(rng, Grouped):
        split = [draw._replace(shape=rng.split(draw.shape)) for draw in draws]
        return [drawn.flatten(0, 1) for drawn in repeat(split, rng.rng)]
    if isinstance(rng, Replay):
        return [rng.take().contiguous() for _ in draws]  # as if drawn now: a compiled step relies on it
    if isinstance(rng, Record):
        rng.draws += draws
        rng = rng.rng
    return [
        (torch.randn if law == "normal" else torch.rand)(shape, dtype=dtype, device=device, generator=rng)
        for law, shape, dtype, device in draws
    ]


def _draw(law: str, like: Tensor, rng: Rng) -> Tensor:
    if isinstance(rng, Grouped):
        return _draw(law, like.reshape(rng.split(like.shape)), rng.rng).flatten(0, 1)
    if isinstance(rng, Replay):
        return rng.take()
    if isinstance(rng, Record):
        rng.draws.append(Draw(law, like.shape, like.dtype, like.device))
        rng = rng.rng
    # Contiguous whatever the layout of `like`: the same seed then gives the same values in every layout.
    return _fill(law, torch.empty_like(like, memory_format=torch.contiguous_format), rng)


def _fill(law: str, out: Tensor, rng: torch.Generator | None) -> Tensor:
    return out.normal_(generator=rng) if law == "normal" else out.uniform_(generator=rng)
