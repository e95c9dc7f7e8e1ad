"""When may a compiled step be used again? When the step and all it reads from Python are unchanged.

A traced step fixes every Python value it met: the weight in a sum, a closure's number, the layers of a
module. `Fingerprint` lists those values and, apart from them, the tensors, which are inputs of the
traced step and may change freely. Equal fingerprints mean the same graph.
"""

import functools
from collections.abc import Hashable, Mapping
from enum import Enum
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, str, bytes, torch.dtype, torch.device, torch.Size, torch.memory_format, Enum)


class Fingerprint:
    """What a step would fix if it were traced now.

    Attributes:
        exact: Equal for two values if and only if one graph serves both.
        coarse: The same without numbers and shapes: how often a step was compiled *again*.
        tensors: The tensors reached, each once, in an order that the fingerprint determines.
    """

    def __init__(self, *values: Any) -> None:
        self.tensors: list[Tensor] = []
        self._exact: list[Any] = []
        self._coarse: list[Any] = []
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []
        for value in values:
            self._add(value)
        self.exact: Hashable = tuple(self._exact)
        self.coarse: Hashable = tuple(self._coarse)

    def _add(self, value: Any) -> None:
        if isinstance(value, int | float | complex) and not isinstance(value, bool):
            self._exact += [type(value), repr(value)]
            self._coarse.append(type(value))
        elif isinstance(value, _PLAIN):
            self._note(type(value), value)
        elif isinstance(value, list | tuple):
            self._note(type(value), "of", len(value))
            for item in value:
                self._add(item)
        elif isinstance(value, Mapping):
            self._note(type(value), "of", len(value))
            for name, item in value.items():
                self._add(name)
                self._add(item)
        elif isinstance(value, set | frozenset) and all(isinstance(item, str) for item in value):
            self._note(type(value), *sorted(value))
        elif id(value) in self._seen:
            self._note("again", self._seen[id(value)])
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)  # an id is unique only while its object lives
            self._add_object(value)

    def _add_object(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self._exact += ["tensor", tuple(value.shape), value.stride(), value.dtype, value.device]
            self._coarse += ["tensor", value.dtype]
            self.tensors.append(value)
        elif isinstance(value, nn.Module):
            self._note("module", type(value))
            # The many empty tables of hooks say nothing.
            for name, item in vars(value).items():
                if item or item is False or isinstance(item, float | int):
                    self._note("name", name)
                    self._add(item)
        elif isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, MethodType):
            self._add(value.__func__)
            self._add(value.__self__)
        elif isinstance(value, functools.partial):
            self._add([value.func, value.args, value.keywords])
        elif isinstance(value, type | ModuleType) or not hasattr(value, "__dict__"):
            self._note("is", _Same(value))
        else:
            self._note("object", type(value))
            self._add(vars(value))

    def _add_function(self, function: FunctionType) -> None:
        if _is_library(function) and not function.__closure__:
            self._note("is", _Same(function))
            return
        self._note("function", function.__code__)
        self._add([function.__defaults__, function.__kwdefaults__])
        for cell in function.__closure__ or ():
            try:
                self._add(cell.cell_contents)
            except ValueError:
                self._note("cell", "empty")
        for name in _names(function.__code__):
            if name in function.__globals__ and not _is_library(function):
                self._note("name", name)
                self._add(function.__globals__[name])

    def _note(self, *tokens: Any) -> None:
        self._exact += tokens
        self._coarse += tokens


class _Same:
    """Equal only to itself, and keeps the object alive so that no other takes its identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _names(code: CodeType) -> list[str]:
    """Global names used by a function and by the functions written inside it."""
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)]
    return [*code.co_names, *inner]


def _is_library(function: FunctionType) -> bool:
    """Whether a function comes from a library, whose globals do not change under us."""
    return (function.__module__ or "").split(".")[0] in {"torch", "numpy", "erg"}
