"""What long chains leave behind: a few numbers a step in place of their states.

A thousand steps of a hundred chains of pictures do not fit into memory, and no diagnostic asks for them. `Summaries`
makes a handful of numbers of every state, `trace` yields them while the chains run, and `collect` keeps them: memory
is that of the states of one step and chains x kept steps x summaries x 4 bytes, whatever the event shape.

No few directions can show that two laws are equal. Where they differ, the energy, the directions in which the data
vary most and some random ones usually do, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.energy import Energy, evaluate_energy
from erg.roles import EnergyLike, Kernel
from erg.samplers.chain import prepare, sampling
from erg.samplers.free import on_free_entries

FITTED = 1_000
"""Rows that directions are fitted to, at most."""


@dataclass(frozen=True)
class Summaries:
    """The energy of a state, and its place along some directions, in standard deviations of the data.

    Args:
        names: Of the numbers, the energy first.
        centre: The mean of the data.
        directions: A unit vector a column, divided by the data's standard deviation along it.
    """

    names: tuple[str, ...]
    centre: Float[Tensor, " entries"] = field(repr=False)
    directions: Float[Tensor, "entries directions"] = field(repr=False)

    @staticmethod
    def of(
        data: Float[Tensor, "rows *event"],
        *,
        components: int = 4,
        random: int = 4,
        rng: torch.Generator | None = None,
    ) -> "Summaries":
        """Energy, principal components and random directions.

        Events of few entries have their principal components only, and fewer where the data do not vary.

        Args:
            data: Two rows or more.
            components: How many principal components.
            random: How many random directions.
            rng: On the CPU; for the random directions, and the choice of rows when there are many.

        Raises:
            ValueError: If there are fewer than two rows.
        """
        if len(data) < 2:
            raise ValueError(f"Directions are fitted to two rows or more, but got {len(data)}.")
        some = data[torch.randperm(len(data), generator=rng)[:FITTED].to(data.device)]
        rows = some.detach().cpu().double().reshape(len(some), -1)
        centred = rows - rows.mean(0)
        entries = centred.shape[1]
        axes = [_principal(centred, components), _random(entries, random if entries > components else 0, rng)]
        names = [f"{kind} {n + 1}" for kind, found in zip(("component", "direction"), axes, strict=True)
                 for n in range(found.shape[1])]  # fmt: skip
        directions = torch.cat(axes, 1)
        width = (centred @ directions).std(0)
        width = width.where(width > 0, 1.0)
        return Summaries(("energy", *names), rows.mean(0).float(), (directions / width).float())

    def __call__(
        self, x: Float[Tensor, "batch *event"], energy: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch summaries"]:
        """A row's numbers, in float32 on the device of `x`."""
        places = (x.reshape(len(x), -1).float() - self.centre.to(x.device)) @ self.directions.to(x.device)
        return torch.cat([energy.float()[:, None], places], 1)


Summarise = Callable[[Tensor, Tensor], Tensor]


def trace(
    kernel: Kernel,
    energy: EnergyLike,
    x: Float[Tensor, "batch *event"],
    summarise: Summarise,
    *,
    every: int = 1,
    rng: Rng = None,
) -> Iterator[Float[Tensor, "batch summaries"]]:
    """Yield summaries of the start, and then of the chains after every `every` steps, for ever.

    Each costs one more evaluation of the energy, without its gradient. The chains are those of `sample`.

    Args:
        kernel: What moves.
        energy: Energy, module or closure ``(batch, *event) -> (batch,)``.
        x: Where the chains start. Not modified.
        summarise: From states and their energies to numbers (batch, summaries), such as `Summaries`.
        every: Steps between two summaries.
        rng: The only source of randomness when given.

    Raises:
        ValueError: If `every` is not positive.
        TypeError: If x is not floating, or the kernel does not move where this energy lives.
    """
    rows.whole("every", every, of="trace()")
    energy, x = prepare(energy, x)
    kernel = on_free_entries(kernel, energy, x)
    with sampling(energy):
        state = kernel.init(energy, x)
        here = _summary(energy, state.x, summarise)
    while True:
        yield here
        with sampling(energy):
            state, _ = kernel.run(energy, state, every, rng)
            here = _summary(energy, state.x, summarise)


def collect(
    kernel: Kernel,
    energy: EnergyLike,
    x: Float[Tensor, "batch *event"],
    summarise: Summarise,
    *,
    steps: int,
    every: int = 1,
    rng: Rng = None,
) -> Float[Tensor, "batch kept summaries"]:
    """Summaries of the start and of every `every`-th state up to `steps`, float32 on the CPU; no state is kept.

    Raises:
        ValueError: If `steps` is negative or `every` not positive.
        TypeError: If x is not floating, or the kernel does not move where this energy lives.

    Example:
        >>> from erg.energies import Gaussian
        >>> from erg.samplers import mala
        >>> def first_two(x, energy):
        ...     return x[:, :2]
        >>> collect(mala(0.5), Gaussian.standard(100), torch.zeros(8, 100), first_two, steps=50, every=10).shape
        torch.Size([8, 6, 2])
    """
    rows.whole("steps", steps, of="collect()", least=0)
    rows.whole("every", every, of="collect()")
    found = islice(trace(kernel, energy, x, summarise, every=every, rng=rng), steps // every + 1)
    return torch.stack([summary.float().cpu() for summary in found], 1)


def _summary(energy: Energy, x: Tensor, summarise: Summarise) -> Tensor:
    x = energy.complete(x)
    return summarise(x, evaluate_energy(energy, x).energy).detach()


def _principal(centred: Float[Tensor, "rows entries"], count: int) -> Float[Tensor, "entries found"]:
    """The directions in which the data vary most; those without any variance are left out."""
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    vary = sizes > 1e-6 * sizes[0].clamp(min=1e-100)
    return directions[vary][:count].T


def _random(entries: int, count: int, rng: torch.Generator | None) -> Float[Tensor, "entries count"]:
    directions = torch.randn(entries, count, generator=rng, dtype=torch.float64)
    return directions / directions.norm(dim=0)
