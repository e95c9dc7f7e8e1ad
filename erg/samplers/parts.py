"""Steps that decide by values what comes next, and whose parts do not.

No graph can be made of a trajectory that ends where it turns, but one of each leaf can. A kernel with such
a step writes it as a `walk` over parts, which are plain functions of tensors, and lets somebody else call them:
`Compiled` calls graphs of them instead.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from erg.draws import Rng
from erg.roles import EnergyLike

Caller = Callable[..., Any]
"""``(part, fixed, *tensors, **static)`` -> ``part(*fixed, *tensors, **static)``, in whatever way.

`fixed` holds kernel and energy where a part needs them; tensors may be nested in tuples; static arguments are what
Python branches on.
"""


@runtime_checkable
class Branching(Protocol):
    """A kernel whose step is a walk over parts."""

    def walk(self, energy: EnergyLike, state: Any, rng: Rng, call: Caller) -> Any:
        """The next state and the acceptance, as `Kernel.step` has it."""
        ...


def plain(part: Callable[..., Any], fixed: tuple[Any, ...], *tensors: Any, **static: Any) -> Any:
    """Calls a part as it is."""
    return part(*fixed, *tensors, **static)


def branches(kernel: Any) -> bool:
    """Whether a kernel, and all it is made of, walks over parts."""
    return isinstance(kernel, Branching) and (not hasattr(kernel, "kernel") or branches(kernel.kernel))
