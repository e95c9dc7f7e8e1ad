"""The parts of a branching kernel's steps as compiled functions of tensors, each made when it is first met."""

import copy
import threading
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from erg.roles import Kernel
from erg.samplers.compilation.graphs import Program, as_inputs, flatten, restore, settings, traced, with_settings

# Parts of a batch may run in threads, and tracing is for one at a time.
_making = threading.Lock()


class Piece(NamedTuple):
    """A compiled part.

    Attributes:
        program: From weights, tensors and settings to tensors.
        example: How those are nested in what the part returns.
    """

    program: Program
    example: Any


class Pieces:
    """Calls parts compiled, with the weights and settings of one chain.

    Args:
        made: The pieces there are; new ones are added.
        kernel: Its float settings are inputs of every piece.
        key: Tells kernels apart that need other pieces.
        weights: Tensors that may change between chains.
        device: Where all tensors are.
    """

    def __init__(
        self, made: dict[Hashable, Piece], kernel: Any, key: Hashable, weights: list[Tensor], device: torch.device
    ) -> None:
        self.kernel, self.key = kernel, key
        self._made, self._weights = made, weights
        self._values = as_inputs(settings(kernel), device)
        self._prepared: dict[Hashable, Any] = {}

    def with_kernel(self, kernel: Any, device: torch.device) -> "Pieces":
        """The same pieces on other settings."""
        other = copy.copy(self)
        other.kernel, other._values = kernel, as_inputs(settings(kernel), device)
        return other

    def __call__(self, part: Callable[..., Any], fixed: tuple[Any, ...], *trees: Any, **static: Any) -> Any:
        """What `part` returns. `fixed` and the weights' shapes must be the same as at the first call."""
        name = (part, *static.items())
        leaves = [x.contiguous() for x in flatten(trees)]
        with torch.no_grad():
            with _making:
                if name not in self._made:
                    self._made[name] = _piece(part, fixed, trees, static, (leaves, self._values), self._weights)
            program, example = self._made[name]
            if name not in self._prepared:
                self._prepared[name] = program.prepare(*self._weights)
            return restore(example, iter(program.body(*self._prepared[name], *leaves, *self._values)))


def _piece(
    part: Callable[..., Any],
    fixed: tuple[Any, ...],
    trees: tuple[Any, ...],
    static: dict[str, Any],
    inputs: tuple[list[Tensor], list[Tensor]],
    weights: list[Tensor],
) -> Piece:
    example = part(*fixed, *trees, **static)

    def run(leaves: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        moved = (with_settings(given, values) if isinstance(given, Kernel) else given for given in fixed)
        found = part(*moved, *restore(trees, iter(leaves)), **static)
        return [x.contiguous() for x in flatten(found)]

    return Piece(traced(run, inputs, weights), example)
