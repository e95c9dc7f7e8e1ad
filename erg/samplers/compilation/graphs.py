"""A kernel's step as a compiled function of tensors.

The step is traced to a graph of tensor operations, backward pass included, with weights, state, noise and
settings as inputs: an optimiser step or a schedule changes values, never the graph. What depends on the
weights alone (casts, transposes, spectral norms) is split off and runs once a chain.
"""

import copy
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from erg.draws import Replay
from erg.roles import EnergyLike, Kernel
from erg.samplers.compilation import finite, products, strided


class Program(NamedTuple):
    """A compiled step.

    Attributes:
        prepare: From the weights to what the body reads of them. Run once a chain.
        body: From prepared weights, state, settings and noise to the next state and the acceptance.
        size: Operations in the body, before any is fused.
    """

    prepare: Callable[..., Any]
    body: Callable[..., Any]
    size: int


def settings(kernel: Any) -> tuple[float, ...]:
    """The kernel's float settings other than 0, in the order in which `with_settings` takes them."""
    return tuple(value for _, value in _floats(kernel))


def with_settings(kernel: Any, values: Iterable[Any]) -> Any:
    """A copy of the kernel with its float settings replaced, unchecked: they may be tensors."""
    return _replaced(kernel, iter(values))


def as_inputs(values: Iterable[float], device: torch.device) -> list[Tensor]:
    """Settings as inputs of a program. Double precision, so that no setting is rounded before it is used."""
    return [torch.tensor(value, dtype=torch.float64, device=device) for value in values]


def flatten(state: Any) -> list[Tensor]:
    """The tensors of a state, in a fixed order. None, as for a gradient that is not needed, is left out.

    Raises:
        TypeError: If the state holds anything else, a step counter for example.
    """
    if isinstance(state, Tensor):
        return [state]
    if state is None:
        return []
    if not isinstance(state, tuple | list):
        raise TypeError(f"a state of tensors was expected, but it holds {type(state).__name__}")
    return [tensor for part in state for tensor in flatten(part)]


def restore(example: Any, tensors: Iterator[Tensor]) -> Any:
    """A state like `example` made of the tensors that `flatten` would return for it."""
    if example is None:
        return None
    if isinstance(example, Tensor):
        return next(tensors)
    parts = [restore(part, tensors) for part in example]
    return type(example)(*parts) if hasattr(example, "_fields") else type(example)(parts)


def build(
    kernel: Kernel, energy: EnergyLike, state: Any, weights: list[Tensor], noise: list[Tensor], *, steps: int = 1
) -> Program:
    """Trace and compile one step of `kernel`, or several in one graph.

    Args:
        kernel: Its float settings become inputs.
        energy: What it reads apart from `weights` is fixed in the graph.
        state: An example.
        weights: Tensors that may change between chains.
        noise: An example of what the steps draw.
        steps: How many; the acceptance is their sum.
    """

    def step(leaves: list[Tensor], values: list[Tensor], noise: list[Tensor]) -> list[Tensor]:
        moved, feed, now, accepted = with_settings(kernel, values), Replay(noise), leaves, []
        for _ in range(steps):
            after, acceptance = moved.step(energy, restore(state, iter(now)), feed)
            now = _like(leaves, flatten(after))
            accepted.append(acceptance)
        return [*now, functools.reduce(torch.add, accepted)]

    leaves = flatten(state)
    return traced(step, (leaves, as_inputs(settings(kernel), leaves[0].device), noise), weights)


def traced(function: Callable[..., list[Tensor]], inputs: tuple[list[Tensor], ...], weights: list[Tensor]) -> Program:
    """Trace and compile a function of lists of tensors.

    Args:
        function: What it reads apart from `inputs` and `weights` is fixed in the graph.
        inputs: Examples; the program's body takes them one after the other.
        weights: Tensors that may change between chains.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    # One tensor in two places would be taken for one input.
    inputs = tuple([x.clone() for x in part] for part in inputs)
    device = inputs[0][0].device
    fused = device.type != "cpu" or has_compiler()
    rewritten = strided.DECOMPOSITIONS | (products.DECOMPOSITIONS | finite.DECOMPOSITIONS if fused else {})
    with torch.no_grad():
        graph = make_fx(function, decomposition_table=rewritten)(*inputs)
        prepare, body = _split(graph, weights)
        size = sum(node.op == "call_function" for node in body.graph.nodes)
        flat = [*prepare(*weights), *(tensor for part in inputs for tensor in part)]
        return Program(prepare, _compile(body, flat, device) if fused else body, size)


def compiler_status() -> str:
    """The C++ compiler that `Compiled` uses; without one it runs the traced graph, operation by operation."""
    import shutil
    import subprocess

    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    path = shutil.which(name)
    if path is None:
        return f"none: {name} not found, compiled kernels run unfused"
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return f"none: {path} does not run, compiled kernels run unfused"
    return f"{answer.splitlines()[0]} ({path})"


def has_compiler() -> bool:
    """Whether `compiler_status` found one."""
    return not compiler_status().startswith("none")


def _floats(kernel: Any) -> list[tuple[str, float]]:
    found = []
    for field in fields(kernel):
        value = getattr(kernel, field.name)
        # Zero stays fixed: kernels leave whole terms out for it.
        if isinstance(value, float) and value != 0:
            found.append((field.name, value))
        elif is_dataclass(value) and not isinstance(value, type):
            found += _floats(value)
    return found


def _replaced(kernel: Any, values: Any) -> Any:
    changed = copy.copy(kernel)
    for field in fields(kernel):
        value = getattr(kernel, field.name)
        if isinstance(value, float) and value != 0:
            object.__setattr__(changed, field.name, next(values))
        elif is_dataclass(value) and not isinstance(value, type):
            object.__setattr__(changed, field.name, _replaced(value, values))
    return changed


def _like(before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
    """The next state in the layout of the last one, so that the graph can take it again."""
    if [(x.shape, x.dtype) for x in before] != [(x.shape, x.dtype) for x in after]:
        raise TypeError("the state changes its shape or type from step to step")
    return [
        new if new.stride() == old.stride() else torch.empty_like(old).copy_(new)
        for old, new in zip(before, after, strict=True)
    ]


def _split(graph: fx.GraphModule, weights: list[Tensor]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Two graphs: what depends on the weights alone, and the rest with those results as first inputs."""
    graph.graph.eliminate_dead_code()
    place = {id(weight): index for index, weight in enumerate(weights)}
    first, second = fx.Graph(), fx.Graph()
    slots = [first.placeholder(f"weight_{index}") for index in range(len(weights))]
    early: dict[fx.Node, fx.Node] = {}
    constants: dict[str, Tensor] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            tensor = getattr(graph, node.target)
            if id(tensor) in place:
                early[node] = slots[place[id(tensor)]]
            else:  # made while tracing, as by torch.tensor(1.0)
                constants[node.target] = tensor
                early[node] = first.get_attr(node.target)
        elif node.op == "call_function" and node.all_input_nodes and all(n in early for n in node.all_input_nodes):
            early[node] = first.node_copy(node, early.__getitem__)
    crossing = [node for node in early if any(user not in early for user in node.users)]
    first.output(tuple(early[node] for node in crossing))
    late = {node: second.placeholder(f"prepared_{index}") for index, node in enumerate(crossing)}
    for index, node in enumerate(n for n in graph.graph.nodes if n.op == "placeholder"):
        late[node] = second.placeholder(f"input_{index}")
    for node in graph.graph.nodes:
        if node not in early and node.op == "call_function":
            late[node] = second.node_copy(node, late.__getitem__)
        elif node.op == "output":
            second.output(fx.map_arg(tuple(node.args[0]), late.__getitem__))
    for part in (first, second):
        part.eliminate_dead_code()
        for node in part.nodes:
            node.meta = {}  # shapes noted by another trace confuse the compiler
    root = nn.Module()
    for name, tensor in constants.items():
        root.register_buffer(name, tensor)
    return fx.GraphModule(root, first), fx.GraphModule(nn.Module(), second)


def _compile(body: fx.GraphModule, inputs: list[Tensor], device: torch.device) -> Callable[..., Any]:
    import torch._inductor

    # The C++ wrapper lets other Python threads run while a step does.
    options: dict[str, Any] = {"cpp_wrapper": True} if device.type == "cpu" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled: Any = torch._inductor.compile(body, list(inputs), options=options)
        compiled(*inputs)
    return compiled
