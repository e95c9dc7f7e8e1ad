"""A replay buffer: chains that go on from one update to the next."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.negatives.chains import Chains
from erg.negatives.conditions import conditions
from erg.negatives.ladders import ladder_of
from erg.roles import EnergyLike, Kernel
from erg.samplers.chain import prepare, sampling
from erg.samplers.free import on_free_entries
from erg.samplers.rules import support_of
from erg.support import Support


class Persistent(Chains):
    """Chains that go on from one update to the next: persistent contrastive divergence.

    A buffer holds one position per slot. Each call draws distinct slots, restarts a fraction of them at
    noise, moves them, and writes every chain back **to its own slot**; first-in-first-out writing
    would let a few hundred chains replace all others. A chain that is no longer finite is returned, so
    that it is seen, but its slot restarts at noise. Positions are kept, never energies: those are
    stale after an update.

    Of a kernel with replicas, as replica exchange, a slot holds the whole ladder, and the cold replica is the
    negative: hot replicas go on from where they were, instead of from the cold one. A ladder restarts as a whole.

    Args:
        kernel: What moves the chains.
        steps: Transitions per call.
        size: Slots in the buffer; at least the number of negatives per call.
        fresh: The chance that a drawn chain restarts at noise.
        dtype: How positions are stored. float16 halves the memory and keeps pixels in [-1, 1] to 0.0005.
        classes: With a number, every slot belongs to a class, and for ``energy.given(y)`` each row's
            chain comes from a slot of its class.

    Raises:
        ValueError: If `fresh` is not in [0, 1], a size is not positive, or one step a call leaves replicas without
            swaps.

    References:
        Tieleman (2008), Training restricted Boltzmann machines using approximations to the likelihood gradient
        Du & Mordatch (2019), Implicit generation and generalization in energy-based models, arXiv:1903.08689
    """

    def __init__(
        self,
        kernel: Kernel,
        steps: int,
        *,
        size: int = 8192,
        fresh: float = 0.05,
        dtype: torch.dtype = torch.float32,
        classes: int | None = None,
    ) -> None:
        super().__init__(kernel, steps)
        rows.numbers({"fresh": fresh}, of="Persistent")
        rows.whole("size", size, of="Persistent")
        if classes is not None:
            rows.whole("classes", classes, of="Persistent")
        if not 0 <= fresh <= 1 or (classes is not None and classes > size):
            raise ValueError(
                "Persistent needs fresh in [0, 1] and no more classes than slots, but got "
                f"size={size}, fresh={fresh}, classes={classes}."
            )
        ladder = ladder_of(kernel)
        if ladder is not None and ladder.replicas > 2 and steps < 2:
            raise ValueError(
                "Persistent offers swaps to even pairs of replicas at the first step of a call and to odd pairs at "
                f"the second, but got steps=1 and {ladder.replicas} replicas; make two steps or more."
            )
        self.size = size
        self.fresh = fresh
        self.dtype = dtype
        self.classes = classes
        self.positions: Tensor | None = None
        self._lives_on = ""

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """One negative per data row.

        Raises:
            ValueError: If there are more rows than slots, or the energy is one of other events or of another
                support than the buffer was filled for.
        """
        support, ladder = support_of(energy), ladder_of(self.kernel)
        kept = tuple(x.shape[1:]) if ladder is None else (ladder.replicas, *x.shape[1:])
        if self.positions is None:
            self.positions = self._first(support, kept, x, rng).to(self.dtype)
            self._lives_on = repr(support)
        self._check(x, kept, repr(support))
        self.positions = self.positions.to(x.device)
        slots = self._slots(energy, x, rng)
        start, noise = self.positions[slots].to(x.dtype), None
        if self.fresh:
            noise = support.initial((len(x), *kept), rng, like=x)
            restart = draws.uniform(torch.empty(len(x), device=x.device), rng) < self.fresh
            start = rows.where(restart, noise, start)
        if ladder is None:
            found = end = self._run(energy, start, x, rng)
        else:
            found, end = self._climb(ladder.kernel, energy, start, x, rng)
        # Judged as stored: a state that is finite in float32 may overflow a smaller dtype.
        stored = end.to(self.dtype)
        finite = rows.finite(stored)
        # Noise that is hardly ever needed would be a tenth of the time of a Boltzmann machine's update.
        if noise is None and not bool(finite.all()):
            noise = support.initial((len(x), *kept), rng, like=x)
        self.positions[slots] = stored if noise is None else rows.where(finite, stored, noise.to(self.dtype))
        return found

    def state_dict(self) -> dict[str, Any]:
        """The positions, empty before the first call."""
        return {} if self.positions is None else {"positions": self.positions, "support": self._lives_on}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved positions.

        Raises:
            ValueError: If they do not fill this buffer's slots.
        """
        positions = state.get("positions")
        if positions is not None and len(positions) != self.size:
            raise ValueError(
                f"This buffer has {self.size} slots, but the saved one has {len(positions)}; "
                f"build it with size={len(positions)}."
            )
        self.positions = None if positions is None else positions.to(self.dtype).clone()
        self._lives_on = state.get("support", "")

    def _first(self, support: Support, kept: tuple[int, ...], x: Tensor, rng: Rng) -> Tensor:
        """Where the slots begin."""
        return support.initial((self.size, *kept), rng, like=x)

    def _climb(self, kernel: Kernel, energy: EnergyLike, start: Tensor, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Where the cold replicas and where all replicas are after the steps."""
        energy, start = prepare(energy, start)
        kernel = on_free_entries(kernel, energy, start)
        with sampling(energy):
            state, accepted = kernel.run(energy, kernel.init(energy, start), self.steps, rng)
            # Held entries may differ from row to row, and have no axis for replicas.
            cold = energy.complete(state.x[:, 0].contiguous())
        self._notice(support_of(energy), start[:, 0], cold, x, accepted / self.steps, rows.finite(state.x))
        return cold, state.x

    def _check(self, x: Tensor, kept: tuple[int, ...], support: str) -> None:
        assert self.positions is not None
        if len(x) > self.size:
            raise ValueError(
                f"A buffer of {self.size} slots cannot supply {len(x)} distinct chains; "
                "raise size or use smaller batches."
            )
        if self._lives_on != support:
            raise ValueError(
                f"This buffer holds states of an energy on {self._lives_on}, but this energy lives on {support}; "
                "use a new buffer."
            )
        if self.positions.shape[1:] != kept:
            replicas = "" if kept == x.shape[1:] else f", of which the kernel has {kept[0]} replicas"
            raise ValueError(
                f"This buffer holds states of shape {tuple(self.positions.shape[1:])}, but the batch has "
                f"{tuple(x.shape[1:])}{replicas}; use one buffer for each kind of data and of kernel."
            )

    def _slots(self, energy: EnergyLike, x: Tensor, rng: Rng) -> Tensor:
        """Distinct slots, one per row; of the row's class when slots have classes."""
        order = draws.permutation(self.size, x.device, rng)
        if self.classes is None:
            return order[: len(x)]
        given = conditions(energy)
        if not given:
            raise TypeError(
                f"A buffer with classes needs energy.given(y), one class per row, but got {type(energy).__name__} "
                "without a condition; condition the energy, or leave classes out."
            )
        y = torch.as_tensor(given[0], device=x.device).expand(len(x))
        slots = torch.empty(len(x), dtype=torch.long, device=x.device)
        for label in y.unique():
            own = order[order % self.classes == label]
            wanted = int((y == label).sum())
            if wanted > len(own):
                raise ValueError(
                    f"Class {int(label)} has {len(own)} slots, but the batch asks for {wanted}; "
                    f"labels are 0 to {self.classes - 1}, and size bounds the slots of each."
                )
            slots[y == label] = own[:wanted]
        return slots
