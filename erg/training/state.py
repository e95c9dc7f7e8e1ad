"""Find what holds state, however deep it sits, and random states, as plain data.

Persistent chains inside a weighted objective inside a precision wrapper must be saved like the
weights. Whoever holds state offers `state_dict` and `load_state_dict`; `stateful` walks attributes,
mappings, sequences and dataclasses and names each by its path, such as
``objective.objectives.likelihood.1.negatives``.
"""

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from erg.errors import UserError


@runtime_checkable
class Stateful(Protocol):
    """Something that can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Go on where the saved one stopped."""
        ...


class Stream:
    """A `torch.Generator` as something stateful."""

    def __init__(self, rng: torch.Generator) -> None:
        self.rng = rng

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, bit for bit."""
        return {"state": self.rng.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the stream where the saved one stood."""
        self.rng.set_state(state["state"].cpu())


_LEAVES = (
    *(str, bytes, bytearray, int, float, complex, type(None), type, Tensor, np.ndarray),
    *(FunctionType, BuiltinFunctionType, MethodType, ModuleType),
)

_OWN_OF_MODULES = ("_modules", "_parameters", "_buffers")


def stateful(root: Any) -> dict[str, Stateful]:
    """Everything in `root` that holds state, by the path where it was found first.

    Modules, optimisers and generators are found too. Whoever holds state answers for the modules
    and the private attributes inside it. What is hidden in a closure is not found.

    Args:
        root: Anything; usually a mapping of names to energy, optimiser, objective, ...

    Raises:
        ValueError: If two things get the same name.

    Example:
        >>> energy = nn.Linear(2, 1)
        >>> list(stateful({"energy": energy, "pair": [energy, {"rng": torch.Generator()}]}))
        ['energy', 'pair.1.rng']
    """
    found: dict[str, Stateful] = {}
    for name, value in reachable(root):
        holder = Stream(value) if isinstance(value, torch.Generator) else value
        if isinstance(holder, Stateful):
            if name in found:
                raise ValueError(f"Two things that hold state are both called {name!r}; rename one of them.")
            found[name] = holder
    return found


def reachable(root: Any) -> Iterator[tuple[str, Any]]:
    """Everything in `root`, once, with the path where it was found first; the modules inside a module excepted."""
    seen: dict[int, Any] = {}  # keeps what was seen alive, so that an id stays taken
    # Breadth first: what is reachable by two paths gets the shorter name.
    queue = deque([("", root)])
    while queue:
        name, value = queue.popleft()
        if isinstance(value, _LEAVES) or id(value) in seen:
            continue
        seen[id(value)] = value
        yield name, value
        queue.extend((f"{name}.{key}" if name else str(key), child) for key, child in _children(value))


def states(root: Any) -> dict[str, dict[str, Any]]:
    """The state of everything in `root`, by name."""
    return {name: holder.state_dict() for name, holder in stateful(root).items()}


def restore(root: Any, saved: Mapping[str, Mapping[str, Any]]) -> None:
    """Give everything in `root` the state that `states` saved.

    Raises:
        UserError: If the names differ: the recipe that made the state was another one.
    """
    holders = stateful(root)
    if holders.keys() != saved.keys():
        missing, unknown = sorted(holders.keys() - saved.keys()), sorted(saved.keys() - holders.keys())
        raise UserError(
            f"The checkpoint does not fit this recipe: it has no state for {missing or 'nothing'} and holds "
            f"{unknown or 'nothing'} in addition; resume with the recipe that made it."
        )
    for name, holder in holders.items():
        holder.load_state_dict(saved[name])


def rng_states(generators: Mapping[str, torch.Generator] | None = None) -> dict[str, Any]:
    """Where every random stream stands: torch's global ones, NumPy's, Python's, and the given ones."""
    numpy_state: Any = np.random.get_state(legacy=True)
    kind, words, position, has_gauss, gauss = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), torch.from_numpy(words.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": random.getstate(),
        "generators": {name: rng.get_state() for name, rng in (generators or {}).items()},
    }


def set_rng_states(saved: Mapping[str, Any], generators: Mapping[str, torch.Generator] | None = None) -> None:
    """Put every random stream where it stood.

    Raises:
        UserError: If other generators were saved than are given.
    """
    generators = generators or {}
    if generators.keys() != saved["generators"].keys():
        raise UserError(
            f"The checkpoint holds the random streams {sorted(saved['generators'])}, but this run has "
            f"{sorted(generators)}; resume with the recipe that made it."
        )
    torch.set_rng_state(saved["torch"].cpu())
    if saved["cuda"] and torch.cuda.device_count() == len(saved["cuda"]):
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    kind, words, *rest = saved["numpy"]
    np.random.set_state((kind, words.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(saved["python"])
    for name, rng in generators.items():
        rng.set_state(saved["generators"][name].cpu())


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """What `value` holds and does not answer for itself, by name."""
    if isinstance(value, nn.Module):
        for path, module in value.named_modules():
            prefix = f"{path}." if path else ""
            yield from ((prefix + name, child) for name, child in _held(module) if not isinstance(child, nn.Module))
    elif isinstance(value, Stateful):
        others = ((name, child) for name, child in _held(value) if not isinstance(child, nn.Module))
        yield from ((name, child) for name, child in others if not name.startswith("_"))
    else:
        yield from _held(value)


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.optim.Optimizer):
        return
    if isinstance(value, Mapping):
        yield from ((str(key), child) for key, child in value.items())
    elif isinstance(value, Sequence):
        yield from ((str(index), child) for index, child in enumerate(value))
    attributes = getattr(value, "__dict__", {})
    yield from ((name, child) for name, child in attributes.items() if name not in _OWN_OF_MODULES)
    slots = (slot for kind in type(value).__mro__ for slot in _slots(kind))
    yield from ((slot, getattr(value, slot)) for slot in slots if slot not in attributes and hasattr(value, slot))


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
