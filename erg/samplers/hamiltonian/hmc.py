r"""Hamiltonian dynamics, and the Monte Carlo that follows it for a fixed number of steps.

A state x gets a momentum p of its own, drawn afresh from N(0, I), and moves along the level sets of
:math:`H(x, p) = E(x) + p^\top p / 2`. One leapfrog of size h is

.. math::
    p' = p - \tfrac h2 \nabla E(x), \qquad x' = x + h p', \qquad p'' = p' - \tfrac h2 \nabla E(x').

It preserves volume and can be run backwards (turn p around, and it comes back), so that a Metropolis test
of H makes exp(-E) stationary exactly. On a `Box` the walls reflect, entry by entry: free flight between
walls has both properties as well, and no gradient is spent outside. The mass is 1;
`Preconditioned` gives each entry a scale of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erg import draws, rows
from erg.draws import Rng
from erg.energies.energy import evaluate
from erg.roles import EnergyLike, Evaluated, Kernel, Tuning
from erg.samplers.rules import check_support, choose, precise, projected, support_of
from erg.support import Box, Real, Support

Size = float | Tensor


@dataclass(frozen=True)
class HMC(Kernel):
    r"""Hamiltonian Monte Carlo: L leapfrogs from a fresh momentum, then one Metropolis test a row.

    .. math:: a = \min\left(1, e^{H(x, p) - H(x', p')}\right)

    Costs L gradients a step. A row that meets a non-finite energy on its way is rejected; a row that starts
    at one takes the first finite end it is offered.

    Args:
        step_size: h, in units of x; a number, or one per chain. Stable below 2 over the root of the largest
            curvature of E.
        leapfrogs: L. The trajectory is about h L long; a quarter of the period of the slowest direction, pi/2
            times its standard deviation, is a good length.
        jitter: j: every row draws its own h (1 + j u), u uniform in [-1, 1), at every step. 0 leaves h alone.
            On periodic orbits a fixed length may come back to where it started, for ever.

    Raises:
        ValueError: If `step_size` is not positive, `leapfrogs` is below 1, or `jitter` is not in [0, 1).

    References:
        Duane et al. (1987), Hybrid Monte Carlo, doi:10.1016/0370-2693(87)91197-X
        Neal (2011), MCMC using Hamiltonian dynamics, arXiv:1206.1901
        Betancourt et al. (2014), Optimizing the integrator step size for Hamiltonian Monte Carlo,
        arXiv:1411.6669 (the acceptance)
        Afshar & Domke (2015), Reflection, refraction, and Hamiltonian Monte Carlo (walls)

    Example:
        >>> from erg.energies import Counted, Gaussian
        >>> from erg.samplers import sample
        >>> energy = Counted(Gaussian.standard(2))
        >>> x = sample(HMC(0.5, leapfrogs=3), energy, torch.zeros(4, 2), steps=10)
        >>> energy.gradients  # one at the start, three a step
        31
    """

    step_size: float | Float[Tensor, " batch"]
    leapfrogs: int
    jitter: float = 0.0
    moves_on: ClassVar[tuple[type, ...]] = (Real, Box)
    tuning: ClassVar[Tuning] = Tuning("step_size", acceptance=0.8)

    def __post_init__(self) -> None:
        rows.positive("step_size", self.step_size, of=HMC)
        rows.whole("leapfrogs", self.leapfrogs, of="HMC")
        rows.numbers({"jitter": self.jitter}, of="HMC")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"HMC needs a jitter of 0 or more and below 1, but got {self.jitter}.")

    def init(self, energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Evaluated:
        """Evaluate at `x`, if this kernel moves where the energy lives."""
        check_support(self, energy)
        return slope(energy, projected(energy, x))

    def step(self, energy: EnergyLike, state: Evaluated, rng: Rng) -> tuple[Evaluated, Float[Tensor, " batch"]]:
        """One trajectory, one decision per row."""
        size, support = self._size(state, rng), support_of(energy)
        momentum = draws.normal(state.x, rng)
        target, moved = state, momentum
        passable = torch.ones_like(state.energy, dtype=torch.bool)
        for _ in range(self.leapfrogs):
            target, moved = leapfrog(energy, target, moved, size, support=support)
            passable = passable & target.energy.isfinite()
        probability = self._probability(state, momentum, target, moved, passable)
        accepted = draws.uniform(probability, rng) < probability
        return choose(accepted, target, state), probability

    def _size(self, state: Evaluated, rng: Rng) -> Size:
        # While a step is traced for compilation its settings are tensors; zero stays a number.
        if not isinstance(self.jitter, Tensor) and self.jitter == 0:
            return self.step_size
        u = draws.uniform(precise(state.energy), rng)
        return self.step_size * (1 + self.jitter * (2 * u - 1))

    def _probability(
        self, source: Evaluated, momentum: Tensor, target: Evaluated, moved: Tensor, passable: Bool[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        inside = source.energy.isfinite()
        log_ratio = precise(source.energy) - precise(target.energy) + kinetic(momentum) - kinetic(moved)
        log_ratio = torch.where(inside, log_ratio, torch.inf)
        possible = torch.where(inside, passable, target.energy.isfinite())
        return torch.where(possible, log_ratio.exp().clamp(max=1.0), 0.0).nan_to_num(nan=0.0)


def hmc(step_size: float | Float[Tensor, " batch"], leapfrogs: int, *, jitter: float = 0.0) -> HMC:
    """Hamiltonian Monte Carlo: `leapfrogs` gradients per step, the exact law; see `HMC`."""
    return HMC(step_size, leapfrogs, jitter)


def leapfrog(
    energy: EnergyLike,
    here: Evaluated,
    momentum: Float[Tensor, "batch *event"],
    step_size: Size,
    *,
    support: Support,
) -> tuple[Evaluated, Float[Tensor, "batch *event"]]:
    """Half a kick, a drift, half a kick. One gradient, that of the end point; a negative size goes back."""
    h = rows.spread(step_size, here.x)
    x, momentum = drift(here.x, kick(momentum, here, h / 2), h, support=support)
    there = slope(energy, x)
    return there, kick(momentum, there, h / 2)


def kick(momentum: Float[Tensor, "batch *event"], here: Evaluated, h: Size) -> Float[Tensor, "batch *event"]:
    """The momentum after the gradient has acted for a time h."""
    assert here.gradient is not None  # slope() gives one
    return momentum - h * here.gradient


def drift(
    x: Float[Tensor, "batch *event"], momentum: Float[Tensor, "batch *event"], h: Size, *, support: Support
) -> tuple[Float[Tensor, "batch *event"], Float[Tensor, "batch *event"]]:
    """Free flight for a time h, and the momentum at its end. The walls of a `Box` reflect."""
    x = x + h * momentum
    if not isinstance(support, Box):
        return x, momentum
    width = support.high - support.low
    # A wall is a mirror: unfolded, the flight is straight, and two widths further the picture repeats.
    way = (x - support.low).remainder(2 * width)
    returning = way > width
    x = support.low + torch.where(returning, 2 * width - way, way)
    # The sum rounds: without the clamp x may lie a hair outside.
    return x.clamp(support.low, support.high), torch.where(returning, -momentum, momentum)


def slope(energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Evaluated:
    """Energy and gradient at `x`; where a gradient entry is not finite the dynamics is free, gradient 0.

    Any field in place of the gradient keeps volume and reversibility, so this changes no law. A NaN would
    hold a row that starts outside for ever.
    """
    here = evaluate(energy, x)
    assert here.gradient is not None  # evaluate() raises where there is none
    return here._replace(gradient=here.gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))


def kinetic(momentum: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
    """Half the squared momentum of each row, in float32 or better."""
    return rows.total(precise(momentum).square()) / 2
