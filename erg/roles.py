"""The roles. *An energy scores, a kernel moves, negatives supply, an objective compares, training repeats.*

Every wrapper takes a role and returns the same role, so wrappers compose. A plain `nn.Module` or
closure ``(batch, *event) -> (batch,)`` can be used wherever an energy is expected. The other roles are
abstract classes, so that a recipe can name any class that inherits from one. They say what a class must
offer; the only code here is `Kernel.run`, which repeats `Kernel.step`. Members of a protocol are those of the class
or plain attributes: from Python 3.12 on, `isinstance` does not see buffers and parts of a module.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg.draws import Rng

Batch = Float[Tensor, "batch *event"]
PerRow = Float[Tensor, " batch"]
EnergyLike = Callable[[Any], Any]
"""An `Energy`, any `nn.Module`, or a closure: ``(batch, *event) -> (batch,)``, in nats, lower is likelier."""


class Evaluated(NamedTuple):
    """A state with its energy and gradient, valid for one set of parameters; never kept across an update."""

    x: Batch
    energy: PerRow
    gradient: Batch | None


@runtime_checkable
class Move(Protocol):
    """Where one could go from here. Never sees an energy, only what was evaluated at the source."""

    moves_on: ClassVar[tuple[type, ...]]
    needs_gradient: ClassVar[bool]

    def propose(self, source: Evaluated, rng: Rng) -> Batch:
        """One candidate per row."""
        ...


@runtime_checkable
class Proposal(Move, Protocol):
    """A move with a density, so that a Metropolis test can correct it."""

    def log_prob(self, source: Evaluated, target: Evaluated) -> PerRow:
        """log q(target | source), up to a constant that does not depend on either."""
        ...


@runtime_checkable
class Placeable(Protocol):
    """A move that is written differently on each support, and is told which one when a chain starts."""

    def on(self, support: Any) -> Move:
        """The same move for states that live on `support`."""
        ...


@runtime_checkable
class State(Protocol):
    """What a kernel needs for its next step. Promises only the position."""

    @property
    def x(self) -> Batch:
        """Where each chain is."""
        ...


class Kernel(ABC):
    """Whether one goes. Pure: what changes is in the state.

    Attributes:
        invariant: Whether a step leaves exp(-E) exactly as it is. One that does not says so here; a wrapper is as
            good as the kernel inside.
        settles: Whether one that does not will do so as soon as it has found its settings, which then stay.
    """

    invariant: ClassVar[bool] = True
    settles: ClassVar[bool] = False

    @abstractmethod
    def init(self, energy: EnergyLike, x: Batch) -> State:
        """The state that starts at `x`."""

    @abstractmethod
    def step(self, energy: EnergyLike, state: Any, rng: Rng) -> tuple[State, PerRow]:
        """The next state, and the acceptance of each row in [0, 1]."""

    def run(self, energy: EnergyLike, state: Any, steps: int, rng: Rng) -> tuple[Any, PerRow]:
        """The state after `steps` steps, and the sum of their acceptances; the same as that many calls of `step`."""
        accepted = torch.zeros(len(state.x), device=state.x.device)
        for _ in range(steps):
            state, acceptance = self.step(energy, state, rng)
            accepted += acceptance
        return state, accepted


class Tuning(NamedTuple):
    """What warm-up changes, and until when.

    Attributes:
        setting: The name of the kernel's or move's setting: a larger value goes further and is accepted less.
        acceptance: The mean acceptance at which the algorithm mixes fastest.
    """

    setting: str
    acceptance: float


@runtime_checkable
class Tunable(Protocol):
    """A kernel or a move with one setting that its mean acceptance can tune."""

    tuning: ClassVar[Tuning]


@runtime_checkable
class Adaptive(Protocol):
    """A kernel whose state gathers what is needed to tune it."""

    def adapted(self, state: Any) -> Kernel:
        """The kernel that the chains in `state` suggest, with settings that stay as they are."""
        ...


@runtime_checkable
class Reference(Protocol):
    """An energy with a known partition function and exact samples."""

    @property
    def log_z(self) -> float | Tensor:
        """The log of the integral (or sum) of exp(-E), in nats."""
        ...

    def exact_samples(self, n: int, rng: Any = None) -> Batch:
        """Independent draws."""
        ...

    def __call__(self, x: Any) -> Any:
        """Energies, as for any `EnergyLike`."""
        ...


@runtime_checkable
class Conditionals(Protocol):
    r"""An energy :math:`E(x) = -\log \sum_h e^{-E(x, h)}` that can draw h given x, and x given h, exactly.

    Entries of x (sites, on `OneHot`) are independent given h: where some are held by `clamp`, the others keep their
    conditionals.
    """

    def sample_hidden(self, x: Any, rng: Any = None) -> Any:
        """One draw of the hidden variables for each row of `x`."""
        ...

    def sample_visible(self, h: Any, rng: Any = None) -> Any:
        """One draw of the visible variables for each row of `h`."""
        ...


@runtime_checkable
class TwoLayers(Conditionals, Protocol):
    """An energy of a visible layer, of which the hidden layer has an energy of the same Z in closed form, too."""

    shape: tuple[int, ...]

    def of_hidden(self) -> Any:
        """The energy of the hidden layer, with its own `support` and `shape`."""
        ...


@runtime_checkable
class Filtering(Protocol):
    """An energy whose hidden units have couplings that can be looked at."""

    def filters(self) -> Any:
        """Shape (hidden, *event)."""
        ...


@runtime_checkable
class StartsAtData(Protocol):
    """An energy, or a part of one, some of whose parameters can be read off the data before training."""

    def start_at(self, x: Any) -> None:
        """Set them.

        Raises:
            ValueError: If it cannot learn from such rows.
        """
        ...


@runtime_checkable
class Centring(Protocol):
    """A machine of two layers whose biases are those at offsets, see `erg.objectives.Centred`."""

    @property
    def offsets(self) -> tuple[Tensor, Tensor]:
        """Of the visible and of the hidden layer, each in one line."""
        ...

    def hidden_mean(self, x: Any) -> Any:
        """The expected hidden states of each row."""
        ...

    def recentre(self, visible: Any, hidden: Any) -> None:
        """Move the offsets, and no energy."""
        ...


@runtime_checkable
class ClassEnergies(Protocol):
    """A joint energy E(x, y) of a state and one of some labels."""

    def class_energies(self, x: Any) -> Any:
        """E(x, y) of all labels, shape (batch, classes)."""
        ...


@runtime_checkable
class Joint(Protocol):
    """A joint energy E(x, y) that is one of states made of both."""

    def pairs(self, x: Any, y: Any) -> Any:
        """The states made of both."""
        ...

    def of_pairs(self) -> Any:
        """The energy of such states."""
        ...


class Group(NamedTuple):
    """Sites that can be drawn from one look at all the others.

    Attributes:
        sites: Their places among the flattened sites.
        couplings: Between these sites, which are drawn one after the other; None where there are none, and all are
            drawn at once.
    """

    sites: Int[Tensor, " sites"]
    couplings: Float[Tensor, "sites sites"] | None


@runtime_checkable
class LocalFields(Protocol):
    r"""A discrete energy :math:`E(x) = -x_i f_i(x_{\setminus i}) + \dots`, linear in each site given the others.

    The site's law given the others follows from the local field f alone: the higher of two values gains its field
    times their difference, and categories have their fields as logits.
    """

    @property
    def groups(self) -> tuple[Group, ...]:
        """All sites, each in one group."""
        ...

    def local_field(self, x: Float[Tensor, "sites *values batch"], sites: Int[Tensor, " chosen"]) -> Tensor:
        """The fields of some sites, (chosen, *values, batch): chains are the last axis here, sites the first."""
        ...


class Negatives(ABC):
    """What the model believes in now: states that training pushes up."""

    @property
    @abstractmethod
    def monitor(self) -> Mapping[str, Tensor]:
        """Detached scalars that the last call noticed, under the names they are logged by."""

    @abstractmethod
    def __call__(self, energy: EnergyLike, x: Batch, rng: Rng = None) -> Batch:
        """States to hold against the batch `x`, usually one per row."""


class Loss(NamedTuple):
    """What an objective returns.

    Attributes:
        value: Differentiable scalar.
        terms: Detached scalars under the names they are logged by.
    """

    value: Float[Tensor, ""]
    terms: Mapping[str, Tensor]


class Objective(ABC):
    """What to change: compares a batch of data with the model."""

    @abstractmethod
    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss:
        """The differentiable loss of one batch, and what to log."""
