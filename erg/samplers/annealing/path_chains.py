r"""Chains that move along a path; along a straight one (`Path`) without evaluating its target twice at one state.

A kernel that has moved on :math:`E_\beta = (1 - \beta) E_0 + \beta E_1` holds :math:`E_\beta` where each chain
stands. The reference is cheap, so the target is read off,

.. math:: E_1 = E_0 + (E_\beta - E_0) / \beta,

and its gradient likewise. From both parts follow the weight of any other :math:`\beta'` and the state
with which a kernel starts there. A beta costs the steps of its kernel and nothing more; a kernel whose
state holds no energy costs two evaluations of the target besides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg.draws import Rng
from erg.energies.algebra import Path, intersect
from erg.energies.energy import evaluate_energy
from erg.energies.trajectory import Trajectory
from erg.roles import EnergyLike, Evaluated, Kernel
from erg.samplers.annealing.trajectory_chains import TrajectoryChains, moved_along
from erg.samplers.composition import check_kernel
from erg.support import Support

Kernels = Kernel | Callable[[float], Kernel]
"""One kernel for the whole path, or the kernel of each beta."""

# Reading the target off multiplies rounding by the ratio of the next beta to this one.
_FAR = 64


@dataclass(frozen=True)
class Placed:
    """An end of a path, on the support of the whole path."""

    energy: EnergyLike
    support: Support

    def __call__(self, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
        return self.energy(x)


class PathChains(NamedTuple):
    """States with both energies of the path.

    Attributes:
        x: Where each chain is.
        reference: E_0, as the kernel keeps it.
        target: E_1, likewise.
        template: The kernel's state for the reference alone at `x`, and the kernel; None once rows were selected.
    """

    x: Float[Tensor, "batch *event"]
    reference: Evaluated
    target: Evaluated
    template: tuple[Kernel, Any] | None

    def log_weight(self, beta: float, following: float) -> Float[Tensor, " batch"]:
        """The log of each row's weight from one beta to another; minus infinity where a part is not finite."""
        slope = self.target.energy - self.reference.energy
        return torch.where(slope.isfinite(), -(following - beta) * slope, -torch.inf)

    @property
    def finite(self) -> bool:
        """Whether all rows have a finite energy under the target."""
        return bool(self.target.energy.isfinite().all())

    def select(self, index: Tensor) -> "PathChains":
        """Rows by number."""
        return PathChains(self.x[index], _select(self.reference, index), _select(self.target, index), None)


Chains = PathChains | TrajectoryChains


def kernel_at(kernels: Kernels, beta: float) -> Kernel:
    """The kernel of one beta."""
    kernel = kernels(beta) if callable(kernels) and not isinstance(kernels, Kernel) else kernels
    check_kernel(kernel, of="Annealing")
    return kernel


def begin(path: Path | Trajectory, kernel: Kernel, x: Float[Tensor, "batch *event"]) -> Chains:
    """Evaluate both ends of a straight path at `x`. A row outside of its support gets an infinite energy.

    Raises:
        TypeError: If the kernel does not move on the support of the path.
        ValueError: If the path has held entries.
    """
    if isinstance(path, Trajectory):
        return TrajectoryChains(x, path)
    if not torch.allclose(path(0.5).complete(x), x, rtol=0.0, atol=0.0, equal_nan=True):
        raise ValueError(
            "Annealing needs energies without held entries, but this path has some; write the energy as a function "
            "of the free entries."
        )
    support = intersect(path.reference.support, path.energy.support)
    chains = _evaluated(path, kernel, kernel.init(Placed(path.energy, support), x), beta=1.0)
    inside = support.contains(x)
    return chains._replace(target=chains.target._replace(energy=chains.target.energy.where(inside, torch.inf)))


def refreshed(path: Path | Trajectory, kernel: Kernel, chains: Chains, beta: float, following: float) -> Chains:
    """The chains with their target evaluated anew, if the next beta is too far to trust what was read off."""
    if isinstance(chains, TrajectoryChains):
        return chains
    return begin(path, kernel, chains.x) if 0 < beta * _FAR < following else chains


def moved(
    path: Path | Trajectory, kernel: Kernel, chains: Chains, beta: float, *, steps: int, rng: Rng
) -> tuple[Chains, Float[Tensor, " batch"]]:
    """The chains after `steps` steps on the path's energy at `beta`, and each row's mean acceptance."""
    if isinstance(path, Trajectory) or isinstance(chains, TrajectoryChains):
        return moved_along(path, kernel, chains.x, beta, steps=steps, rng=rng)
    # A tensor, so that a compiled kernel takes it as an input and not as a constant.
    energy = path(torch.tensor(beta, dtype=torch.float64, device=chains.x.device))
    state = _started(path, kernel, chains, beta)
    if state is None:
        state = kernel.init(energy, chains.x)
    state, accepted = kernel.run(energy, state, steps, rng)
    return _evaluated(path, kernel, state, beta=beta), accepted / steps


def _started(path: Path, kernel: Kernel, chains: PathChains, beta: float) -> Any | None:
    """The kernel's state at `beta` made of known energies; None if it keeps none, or in other coordinates."""
    former, template = chains.template or (None, None)
    if former is not kernel:
        template = kernel.init(_reference(path), chains.x)
    found = cached(template)
    if found is None or not _same_place(found, chains.target):
        return None
    return _with_cached(template, _mixed(chains.reference, chains.target, beta, like=found))


def _evaluated(path: Path, kernel: Kernel, state: Any, *, beta: float) -> PathChains:
    """Both energies where the chains of `state` are, if the state is one on the path's energy at `beta`."""
    x, found = state.x, cached(state)
    if found is None:
        ends = [_doubled(evaluate_energy(energy, x)) for energy in (path.reference, path.energy)]
        return PathChains(x, ends[0], ends[1], None)
    template = kernel.init(_reference(path), x)
    reference = cached(template)
    assert reference is not None  # the same kernel's state has the same form
    reference = _doubled(reference)
    return PathChains(x, reference, _target(reference, _doubled(found), beta), (kernel, template))


def _reference(path: Path) -> Placed:
    return Placed(path.reference, intersect(path.reference.support, path.energy.support))


def _target(reference: Evaluated, here: Evaluated, beta: float) -> Evaluated:
    return Evaluated(
        here.x,
        _apart(reference.energy, here.energy, beta),
        None
        if reference.gradient is None or here.gradient is None
        else _apart(reference.gradient, here.gradient, beta),
    )


def _apart(reference: Tensor, here: Tensor, beta: float) -> Tensor:
    return here if beta == 1 else reference + (here - reference) / beta


def _mixed(reference: Evaluated, target: Evaluated, beta: float, *, like: Evaluated) -> Evaluated:
    gradient = None
    if like.gradient is not None and reference.gradient is not None and target.gradient is not None:
        gradient = torch.lerp(reference.gradient, target.gradient, beta).to(like.gradient.dtype)
        # As at any start: without a slope a row walks at random until it finds a finite energy.
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    energy = (1 - beta) * reference.energy + beta * target.energy
    return Evaluated(like.x, energy.to(like.energy.dtype), gradient)


def _same_place(found: Evaluated, known: Evaluated) -> bool:
    """Whether two kernels keep energies in the same coordinates, up to the rounding of a scale and its inverse."""
    if (found.gradient is None) != (known.gradient is None) or found.x.shape != known.x.shape:
        return False
    return torch.allclose(found.x, known.x, rtol=16 * torch.finfo(found.x.dtype).eps, atol=0.0)


def cached(state: Any) -> Evaluated | None:
    """The one `Evaluated` of a whole batch in a state; None if there is none, or several."""
    found = list(_all_cached(state))
    return found[0] if len(found) == 1 and len(found[0].x) == len(state.x) else None


def _all_cached(state: Any) -> list[Evaluated]:
    if isinstance(state, Evaluated):
        return [state]
    return [each for part in state for each in _all_cached(part)] if isinstance(state, tuple) else []


def _with_cached(state: Any, new: Evaluated) -> Any:
    if isinstance(state, Evaluated):
        return new
    if not isinstance(state, tuple):
        return state
    parts = [_with_cached(part, new) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _select(where: Evaluated, index: Tensor) -> Evaluated:
    gradient = None if where.gradient is None else where.gradient[index]
    return Evaluated(where.x[index], where.energy[index], gradient)


def _doubled(where: Evaluated) -> Evaluated:
    return where._replace(energy=where.energy.double())
