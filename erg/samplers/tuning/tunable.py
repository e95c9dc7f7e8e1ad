"""Which setting of a kernel its acceptance tunes, wherever it is nested."""

from dataclasses import fields, is_dataclass
from typing import Any

from erg.roles import Kernel, Tunable, Tuning
from erg.samplers.compilation.compiled import Compiled
from erg.samplers.parallel import Parallel
from erg.samplers.precision import LowPrecision
from erg.samplers.preconditioned import Preconditioned
from erg.samplers.rules import Unadjusted
from erg.samplers.schedules import Scheduled

# Their acceptance is that of the kernel inside.
TRANSPARENT = (Compiled, LowPrecision, Parallel, Preconditioned, Scheduled)


def tuning_of(kernel: Kernel) -> Tuning | None:
    """What the acceptance of `kernel` tunes, in itself or in its move; None if it tunes nothing.

    Wrappers that leave the acceptance as it is are looked through. The acceptance of any other kernel made of
    kernels, replica exchange for example, is not that of its parts.

    Raises:
        TypeError: If the kernel makes every move: there is no acceptance then.

    Example:
        >>> from erg.samplers import mala
        >>> tuning_of(Compiled(mala(0.1)))
        Tuning(setting='step_size', acceptance=0.574)
    """
    while isinstance(kernel, TRANSPARENT):
        kernel = kernel.kernel
    found = _tuning(kernel)
    if found is not None and isinstance(kernel, Unadjusted):
        move = type(kernel.move).__name__
        raise TypeError(
            f"Unadjusted({move}) makes every move, so that no acceptance tells how large its {found.setting} may be; "
            f"tune Metropolis({move}), which costs the same and has the exact law, or choose by the bias."
        )
    return found


def _tuning(part: Any) -> Tuning | None:
    if isinstance(part, Tunable):
        return part.tuning
    if not is_dataclass(part) or isinstance(part, type):
        return None
    inside = (getattr(part, field.name) for field in fields(part))
    return next((found for move in inside if not isinstance(move, Kernel) and (found := _tuning(move))), None)
