"""What a kernel is made of: moves, and other kernels."""

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from erg.roles import Kernel, Move


def parts_of(kernel: Any) -> Iterator[Any]:
    """A kernel, and all that it is made of, in lists and tuples too.

    Example:
        >>> from erg.samplers import Compiled, mala
        >>> [type(part).__name__ for part in parts_of(Compiled(mala(0.1)))][:3]
        ['Compiled', 'Metropolis', 'Langevin']
    """
    yield kernel
    inside: list[Any] = []
    if is_dataclass(kernel) and not isinstance(kernel, type):
        inside = [getattr(kernel, field.name) for field in fields(kernel)]
    elif isinstance(kernel, tuple | list):
        inside = list(kernel)
    for part in inside:
        yield from parts_of(part)


def without(kernel: Kernel, *wrappers: type) -> Kernel:
    """The kernel with every wrapper of these kinds taken off, however deep.

    Args:
        kernel: A frozen dataclass, as all kernels are, and possibly itself such a wrapper.
        wrappers: Kinds that hold what they wrap as ``kernel``.

    Example:
        >>> import torch
        >>> from erg.samplers import Compiled, Parallel, Preconditioned, mala
        >>> kernel = Compiled(Preconditioned(Compiled(Parallel(mala(0.1), threads=2)), torch.ones(())))
        >>> without(kernel, Compiled, Parallel).kernel == mala(0.1)
        True
    """
    while isinstance(kernel, wrappers):
        kernel = kernel.kernel  # type: ignore[attr-defined]
    if not is_dataclass(kernel):
        return kernel
    inside = {field.name: getattr(kernel, field.name) for field in fields(kernel)}
    bare = {name: without(part, *wrappers) for name, part in inside.items() if isinstance(part, Kernel)}
    changed = {name: part for name, part in bare.items() if part is not inside[name]}
    return replace(kernel, **changed) if changed else kernel


def refuse_inside(kernel: Any, *kinds: type, of: str) -> None:
    """Refuse a kernel with a part that has to be around and not inside, and what is no kernel.

    Raises:
        TypeError: If there is one.
    """
    check_kernel(kernel, of=of)
    for part in parts_of(kernel):
        if not isinstance(part, kinds):
            continue
        name = type(part).__name__
        raise TypeError(
            f"{of} moves any kernel that stays at one temperature on one thread, but got a {name} inside; "
            f"put {name} around {of}, or leave it out."
        )


def check_kernel(kernel: Any, *, of: str) -> None:
    """Refuse what is no kernel: a move without a rule, or the constructor of a kernel.

    Raises:
        TypeError: With what to use instead.
    """
    if isinstance(kernel, Kernel):
        return
    name = kernel.__name__ if inspect.isclass(kernel) or inspect.isfunction(kernel) else type(kernel).__name__
    if inspect.isclass(kernel) or inspect.isfunction(kernel):
        advice = f"call it with its settings, as in {name}(...)"
    elif isinstance(kernel, Move):
        advice = f"put the move in a rule, as in Unadjusted({name}(...))"
    else:
        advice = "pass one, such as mala(step_size=0.1)"
    raise TypeError(f"{of} needs a kernel, but got {name}; {advice}.")
