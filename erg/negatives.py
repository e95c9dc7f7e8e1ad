r"""Negatives: what the model believes in now, the states whose energy training pushes up.

The same objective becomes contrastive divergence, its persistent form or short-run learning by the
choice made here: start at the data, at chains kept from the last update, or at noise. Wrappers change
how many negatives there are and how often they are refreshed.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.algebra import Given
from erg.energies.energy import Energy, as_energy
from erg.roles import EnergyLike, Kernel, Negatives
from erg.samplers.chain import advance
from erg.samplers.rules import support_of
from erg.support import Box


class _Chains(Negatives):
    """Runs a kernel and notes what was noticed on the way."""

    def __init__(self, kernel: Kernel, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"{type(self).__name__} needs at least one step, but got {steps}.")
        self.kernel = kernel
        self.steps = steps
        self._monitor: dict[str, Tensor] = {}

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """Acceptance, finite share, distance moved and, on a box, the shares of chains and data at its faces."""
        return self._monitor

    def _run(self, energy: EnergyLike, start: Tensor, x: Tensor, rng: Rng) -> Tensor:
        end, acceptance = advance(self.kernel, energy, start, self.steps, rng)
        self._monitor = {
            "chain/acceptance": acceptance.mean(),
            "chain/finite": rows.finite(end).float().mean(),
            "chain/moved": (end - start.detach()).abs().mean(),
        }
        support = support_of(energy)
        if isinstance(support, Box):
            self._monitor["chain/saturated"] = _at_faces(end, support)
            self._monitor["data/saturated"] = _at_faces(x, support)
        return end


def _at_faces(x: Tensor, box: Box) -> Tensor:
    return ((x <= box.low) | (x >= box.high)).float().mean()


class FromData(_Chains):
    """Chains that start at the data: contrastive divergence, CD-k.

    Args:
        kernel: What moves the chains.
        steps: k.

    References:
        Hinton (2002), Training products of experts by minimizing contrastive divergence
    """

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """One negative per data row."""
        return self._run(energy, x, x, rng)


class FromNoise(_Chains):
    """Chains that start at noise each time: short-run learning.

    Args:
        kernel: What moves the chains.
        steps: How far from noise to negative.

    References:
        Nijkamp et al. (2019), Learning non-convergent non-persistent short-run MCMC, arXiv:1904.09770
    """

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """One negative per data row."""
        return self._run(energy, support_of(energy).initial(tuple(x.shape), rng, like=x), x, rng)


class Persistent(_Chains):
    """Chains that go on from one update to the next: persistent contrastive divergence.

    A buffer holds one position per slot. Each call draws distinct slots, restarts a fraction of them at
    noise, moves them, and writes every chain back **to its own slot**; first-in-first-out writing
    would let a few hundred chains replace all others. A chain that is no longer finite is returned, so
    that it is seen, but its slot restarts at noise. Positions are kept, never energies: those are
    stale after an update.

    Args:
        kernel: What moves the chains.
        steps: Transitions per call.
        size: Slots in the buffer; at least the number of negatives per call.
        fresh: The chance that a drawn chain restarts at noise.
        dtype: How positions are stored. float16 halves the memory and keeps pixels in [-1, 1] to 0.0005.
        classes: With a number, every slot belongs to a class, and for ``energy.given(y)`` each row's
            chain comes from a slot of its class.

    Raises:
        ValueError: If `fresh` is not in [0, 1], or a size is not positive.

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
        if size < 1 or not 0 <= fresh <= 1 or (classes is not None and not 1 <= classes <= size):
            raise ValueError(
                "Persistent needs size >= 1, fresh in [0, 1] and no more classes than slots, but got "
                f"size={size}, fresh={fresh}, classes={classes}."
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
        support = support_of(energy)
        if self.positions is None:
            shape = (self.size, *x.shape[1:])
            self.positions = support.initial(shape, rng, like=x).to(self.dtype)
            self._lives_on = repr(support)
        self._check(x, repr(support))
        self.positions = self.positions.to(x.device)
        slots = self._slots(energy, x, rng)
        noise = support.initial(tuple(x.shape), rng, like=x)
        restart = draws.uniform(torch.empty(len(x), device=x.device), rng) < self.fresh
        start = rows.where(restart, noise, self.positions[slots].to(x.dtype))
        end = self._run(energy, start, x, rng)
        # Judged as stored: a state that is finite in float32 may overflow a smaller dtype.
        stored = end.to(self.dtype)
        self.positions[slots] = rows.where(rows.finite(stored), stored, noise.to(self.dtype))
        return end

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

    def _check(self, x: Tensor, support: str) -> None:
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
        if self.positions.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"This buffer holds states of shape {tuple(self.positions.shape[1:])}, but the batch has "
                f"{tuple(x.shape[1:])}; use one buffer for each kind of data."
            )

    def _slots(self, energy: EnergyLike, x: Tensor, rng: Rng) -> Tensor:
        """Distinct slots, one per row; of the row's class when slots have classes."""
        order = draws.permutation(self.size, x.device, rng)
        if self.classes is None:
            return order[: len(x)]
        given = _conditions(energy)
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


class Repeated(Negatives):
    """Several negatives per data row.

    Args:
        negatives: Supplies one negative per row.
        times: How many per row.
    """

    def __init__(self, negatives: Negatives, times: int) -> None:
        if times < 1:
            raise ValueError(f"Repeated needs times >= 1, but got {times}.")
        self.negatives = negatives
        self.times = times

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """What the inner negatives noticed."""
        return self.negatives.monitor

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """`times` negatives per data row, shape (times * batch, *event)."""
        return self.negatives(several(energy, self.times), x.repeat_interleave(self.times, 0), rng)


def several(energy: EnergyLike, times: int) -> Energy:
    """The energy of `times` consecutive states for each row: conditions are repeated with their rows."""
    if isinstance(energy, Given) and _one_a_row(energy.y):
        return energy.energy.given(torch.as_tensor(energy.y).repeat_interleave(times, 0))
    return as_energy(energy)


def _conditions(energy: EnergyLike) -> list[Tensor | float]:
    """All conditions, outermost first; they may sit inside a sum, a temperature or a clamp."""
    return [part.y for part in as_energy(energy).modules() if isinstance(part, Given)]


def _one_a_row(y: Tensor | float) -> bool:
    return isinstance(y, Tensor) and y.ndim > 0


class Every(Negatives):
    """Negatives that are refreshed at every k-th update and reused in between.

    Args:
        negatives: Supplies the negatives.
        updates: k.

    Raises:
        ValueError: If `updates` is not positive.
    """

    def __init__(self, negatives: Negatives, updates: int) -> None:
        if updates < 1:
            raise ValueError(f"Every needs updates >= 1, but got {updates}.")
        self.negatives = negatives
        self.updates = updates
        self.calls = 0
        self.last: Tensor | None = None
        # A copy, saved with the negatives: a resumed run then logs what an undisturbed one would.
        self._monitor: Mapping[str, Tensor] = {}

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """What the inner negatives noticed when they were last asked."""
        return self._monitor

    def __call__(self, energy: EnergyLike, x: Float[Tensor, "batch *event"], rng: Rng = None) -> Tensor:
        """Fresh negatives at calls 0, k, 2k, ...; the former ones otherwise.

        Raises:
            TypeError: If the energy has one condition per row.
        """
        if any(map(_one_a_row, _conditions(energy))):
            raise TypeError(
                "Every reuses the negatives of another batch, but this energy has a condition for each row, "
                "which changes with the batch; use the negatives without Every."
            )
        if self.last is None or self.calls % self.updates == 0:
            self.last = self.negatives(energy, x, rng)
            self._monitor = dict(self.negatives.monitor)
        self.calls += 1
        return self.last

    def state_dict(self) -> dict[str, Any]:
        """The reused negatives, what was noticed of them, and the count of calls."""
        return {"calls": self.calls, "last": self.last, "monitor": dict(self._monitor)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the saved one stopped."""
        self.calls, self.last, self._monitor = state["calls"], state["last"], state["monitor"]
