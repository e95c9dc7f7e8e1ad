"""The roles. *An energy scores, a kernel moves, negatives supply, an objective compares, training repeats.*

Every wrapper takes a role and returns the same role, so wrappers compose. A plain `nn.Module` or
closure ``(batch, *event) -> (batch,)`` may stand wherever an energy is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
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

    moves_on: tuple[type, ...]
    needs_gradient: bool

    def propose(self, source: Evaluated, rng: Rng) -> Batch:
        """One candidate a row."""
        ...


@runtime_checkable
class Proposal(Move, Protocol):
    """A move with a density, so that a Metropolis test can correct it."""

    def log_prob(self, source: Evaluated, target: Evaluated) -> PerRow:
        """log q(target | source), up to a constant that does not depend on either."""
        ...


class State(Protocol):
    """What a kernel needs for its next step. Promises only the position."""

    @property
    def x(self) -> Batch: ...


@runtime_checkable
class Kernel(Protocol):
    """Whether one goes. Pure: what changes is in the state."""

    def init(self, energy: EnergyLike, x: Batch) -> Any:
        """The state that starts at `x`."""
        ...

    def step(self, energy: EnergyLike, state: Any, rng: Rng) -> tuple[Any, PerRow]:
        """The next state, and the acceptance of each row in [0, 1]."""
        ...


@runtime_checkable
class Negatives(Protocol):
    """What the model believes in now: states that training pushes up."""

    @property
    def monitor(self) -> Mapping[str, Tensor]:
        """Detached scalars that the last call noticed, under the names they are logged by."""
        ...

    def __call__(self, energy: EnergyLike, x: Batch, rng: Rng = None) -> Batch: ...


class Loss(NamedTuple):
    """What an objective returns.

    Attributes:
        value: Differentiable scalar.
        terms: Detached scalars under the names they are logged by.
    """

    value: Float[Tensor, ""]
    terms: Mapping[str, Tensor]


@runtime_checkable
class Objective(Protocol):
    """What to change: compares a batch of data with the model."""

    def __call__(self, energy: EnergyLike, batch: Any, rng: Rng = None) -> Loss: ...
