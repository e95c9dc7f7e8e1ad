r"""A step size from the errors of the steps, for kernels that accept every step and so have no acceptance to go by.

Exact dynamics does no work: whatever an integrator changes that should be conserved is its error. Of a step that is
exact to second order the work W grows about as :math:`h^3`, and its square as :math:`h^6`. Each row follows

.. math:: h \leftarrow h \left(\frac{w}{\overline{W^2}}\right)^{1/6}

where w is the figure wanted and the mean remembers some hundred steps, those least whose errors are many powers of
ten off. If W grows with another power, the step size is the same and is only found later or sooner.

References:
    Sivak, Chodera & Crooks (2013), Using nonequilibrium fluctuation theorems to understand and correct errors in
    equilibrium and nonequilibrium discrete Langevin dynamics simulations, arXiv:1107.2967
    Robnik, De Luca, Silverstein & Seljak (2023), Microcanonical Hamiltonian Monte Carlo, arXiv:2212.08549
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg.samplers.tuning import moments
from erg.samplers.tuning.moments import Moments
from erg.samplers.tuning.search import Setting, first

# How many steps the mean of the errors remembers.
MEMORY = 150
# An energy is off by about one rounding of it, seldom by more than this.
ROUNDINGS = 4


class WorkSearch(NamedTuple):
    """What each row has learned about the settings it needs.

    Attributes:
        steps: Made so far.
        step_size: In use.
        length: In use.
        ceiling: Four fifths of the smallest step size that led to a non-finite energy.
        weight: Of the remembered errors.
        errors: Their weighted sum, as they would be at the step size in use.
        moments: Of the positions since the last change of `length`.
    """

    steps: Float[Tensor, " batch"]
    step_size: Float[Tensor, " batch"]
    length: Float[Tensor, " batch"]
    ceiling: Float[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    errors: Float[Tensor, " batch"]
    moments: Moments


def started(
    step_size: Setting, length: Setting, x: Float[Tensor, "batch *event"], *, guess: float
) -> WorkSearch | None:
    """Before the first step; None where both settings are given and nothing is searched for."""
    if step_size is not None and length is not None:
        return None
    size, far = first(step_size, length, x, guess=guess)
    zero = torch.zeros_like(size)
    return WorkSearch(zero, size, far, zero + torch.inf, zero, zero, moments.nothing(x))


def beyond_rounding(work: Float[Tensor, " batch"], *parts: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The work, nearer to 0 by as much as may be rounding of the energies that it is the sum and difference of.

    Far from where the law has its mass energies are huge, and their rounding is work at any step size: without this
    a row there would make its steps smaller for ever.
    """
    rounding = sum(part.abs() * torch.finfo(part.dtype).eps for part in parts)
    return work.sign() * (work.abs() - ROUNDINGS * rounding).clamp(min=0)


def resized(
    search: WorkSearch,
    ratio: Float[Tensor, " batch"],
    good: Bool[Tensor, " batch"],
    going: Bool[Tensor, " batch"],
) -> WorkSearch:
    """The step size at which the mean ratio is 1, from ratios that count less the further off they are.

    Args:
        search: What was known before the step.
        ratio: The squared error of the step over the one wanted.
        good: Which rows have arrived at a finite energy.
        going: Which rows still search.
    """
    size = search.step_size
    ratio = ratio.clamp(1e-8, 1e30)
    trust = (-0.5 * (ratio.log() / 9).square()).exp()
    decay = (MEMORY - 1) / (MEMORY + 1)
    weight = torch.where(good, decay * search.weight + trust, search.weight)
    errors = torch.where(good, decay * search.errors + trust * ratio.nan_to_num(nan=1.0), search.errors)
    ceiling = torch.where(good, search.ceiling, (0.8 * size).minimum(search.ceiling))
    wanted = torch.where(weight > 0, size * (weight / errors) ** (1 / 6), size)
    step_size = torch.where(going, torch.where(good, wanted, size).minimum(ceiling), size)
    return search._replace(
        step_size=step_size,
        ceiling=torch.where(going, ceiling, search.ceiling),
        weight=torch.where(going, weight, search.weight),
        errors=torch.where(going, errors * (step_size / size) ** 6, search.errors),
    )
