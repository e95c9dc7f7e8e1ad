r"""Energy, entropy and their kin against temperature, a site, each with its error.

With :math:`p_T(x) = e^{-E(x)/T} / Z_T` on n sites, and the magnetisation :math:`M = \sum_i x_i` of spins,

.. math:: u = \frac{\langle E \rangle}{n}, \quad c = \frac{\mathrm{Var}\,E}{n T^2}, \quad
    f = -\frac{T \log Z_T}{n}, \quad s = \frac{u - f}{T}, \quad m = \frac{\langle |M| \rangle}{n}, \quad
    \chi = \frac{\langle M^2 \rangle - \langle |M| \rangle^2}{n T}.

Small systems are enumerated. For others many chains are cooled together from infinite temperature, where log Z is
known, through all temperatures. While they cool they gather the weights of annealed importance sampling, whose mean
is Z at every temperature; where they rest, averages are taken. Chains are independent, so the spread between them is
an honest error however slowly each of them moves. What it cannot show is a state that no chain has left or found:
cool more slowly, and look whether that changes anything.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.draws import Rng
from erg.energies.algebra import Clamped, WeightedSum
from erg.energies.energy import Energy, as_energy, check_energies
from erg.energies.independent import Independent
from erg.estimate import Estimate
from erg.roles import EnergyLike, Kernel
from erg.samplers.annealing.biased import refuse_bias
from erg.samplers.annealing.weights import log_mean
from erg.samplers.chain import advance, chain, sampling
from erg.support import DISCRETE, Binary, OneHot, Spin

_CHUNK = 2**14


class Thermodynamics(NamedTuple):
    """Figures a site, in nats and units of the energy; one for each temperature.

    Attributes:
        temperatures: In the order given.
        energy: u.
        heat_capacity: c.
        free_energy: f.
        entropy: s.
        magnetisation: m of spins; None for others.
        susceptibility: Of spins; None for others.
    """

    temperatures: tuple[float, ...]
    energy: tuple[Estimate, ...]
    heat_capacity: tuple[Estimate, ...]
    free_energy: tuple[Estimate, ...]
    entropy: tuple[Estimate, ...]
    magnetisation: tuple[Estimate, ...] | None
    susceptibility: tuple[Estimate, ...] | None


def thermodynamics(
    energy: EnergyLike,
    event: tuple[int, ...],
    temperatures: Sequence[float] | Float[Tensor, " temperatures"],
    *,
    kernel: Kernel | None = None,
    chains: int = 128,
    cooling: int = 100,
    settling: int = 200,
    steps: int = 500,
    rng: Rng = None,
) -> Thermodynamics:
    """Figures of a discrete energy at some temperatures.

    Args:
        energy: On Binary, Spin or OneHot.
        event: The shape of one state.
        temperatures: At which.
        kernel: What moves the chains, such as `chromatic()`; left out, every state is visited and errors are 0.
        chains: How many.
        cooling: Steps of the kernel from one temperature to the next lower one, in equal parts of 1/T.
        settling: Steps at each temperature before averages are taken.
        steps: Steps over which they are taken.
        rng: The only source of randomness when given.

    Raises:
        TypeError: If the energy is not discrete, or the kernel does not leave exp(-E) as it is.
        ValueError: If a temperature is not positive and finite, a count is too small, entries are held, or there are
            too many states to visit.

    Example:
        >>> from erg.energies import Ising, Lattice
        >>> found = thermodynamics(Ising(Lattice((2, 2))), (2, 2), [1.0, 1e6])
        >>> [round(entropy.value / math.log(2), 3) for entropy in found.entropy]
        [0.257, 1.0]
    """
    energy = as_energy(energy)
    ladder = [float(temperature) for temperature in temperatures]
    _check(energy, ladder, chains=chains, cooling=cooling, settling=settling, steps=steps)
    support = energy.support
    assert isinstance(support, Binary | Spin | OneHot)
    sites = torch.Size(event[:-1] if isinstance(support, OneHot) else event).numel()
    if kernel is None:
        figures = _visited(energy, support, event, ladder)
    else:
        refuse_bias(kernel, of="thermodynamics()")
        start = Independent.uniform(event, support)
        run = _Run(energy, kernel, cooling=cooling, settling=settling, steps=steps)
        figures = run(start, chains, ladder, rng)
    each = [_per_site(*figure, temperature, sites) for figure, temperature in zip(figures, ladder, strict=True)]
    columns = [tuple(column) for column in zip(*each, strict=True)]
    if not isinstance(support, Spin):
        return Thermodynamics(tuple(ladder), columns[0], columns[1], columns[2], columns[3], None, None)
    return Thermodynamics(tuple(ladder), *columns)


class _Figures(NamedTuple):
    """Moments of the whole system, each with its error: as of means over chains."""

    energy: Estimate
    variance: Estimate
    log_z: Estimate
    magnetisation: Estimate
    fluctuation: Estimate


def _per_site(
    energy: Estimate,
    variance: Estimate,
    log_z: Estimate,
    magnetisation: Estimate,
    fluctuation: Estimate,
    temperature: float,
    sites: int,
) -> tuple[Estimate, ...]:
    u = _times(energy, 1 / sites)
    f = _times(log_z, -temperature / sites)
    # As if the errors of both were independent.
    s = Estimate((u.value - f.value) / temperature, math.hypot(u.standard_error, f.standard_error) / temperature)
    c = _times(variance, 1 / (sites * temperature**2))
    return u, c, f, s, _times(magnetisation, 1 / sites), _times(fluctuation, 1 / (sites * temperature))


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.standard_error * abs(factor))


def _visited(
    energy: Energy, support: Binary | Spin | OneHot, event: tuple[int, ...], temperatures: list[float]
) -> list[_Figures]:
    """By enumeration."""
    with sampling(energy), torch.no_grad():
        lowest = min(_scores(energy, x).min().item() for x in support.enumerate(event, chunk=_CHUNK))
        beta = torch.tensor(temperatures, dtype=torch.float64).reciprocal()
        sums = torch.zeros(5, len(beta), dtype=torch.float64)
        for x in support.enumerate(event, chunk=_CHUNK):
            above, total = _scores(energy, x) - lowest, rows.total(x).double()
            weights = (-beta[:, None] * above).exp()
            figures = torch.stack([torch.ones_like(above), above, above**2, total.abs(), total**2])
            sums += figures @ weights.T
    z, first, second, m, m2 = sums
    log_z, (first, second, m, m2) = z.log() - beta * lowest, (part / z for part in (first, second, m, m2))
    found = torch.stack([first + lowest, second - first**2, log_z, m, m2 - m**2], 1)
    return [_Figures(*(Estimate(value, 0.0) for value in row)) for row in found.tolist()]


class _Run:
    """Chains that are cooled through all temperatures."""

    def __init__(self, energy: Energy, kernel: Kernel, *, cooling: int, settling: int, steps: int) -> None:
        self.energy, self.kernel = energy, kernel
        self.cooling, self.settling, self.steps = cooling, settling, steps

    def __call__(self, start: Independent, chains: int, temperatures: list[float], rng: Rng) -> list[_Figures]:
        """Figures in the order of the temperatures."""
        x, beta = start.exact_samples(chains, rng), 0.0
        log_weights = torch.full((chains,), float(start.log_z), dtype=torch.float64)
        found: dict[float, _Figures] = {}
        for temperature in sorted(set(temperatures), reverse=True):
            for part in torch.linspace(beta, 1 / temperature, self.cooling + 1, dtype=torch.float64)[1:].tolist():
                log_weights -= (part - beta) * self._scores(x)
                beta = part
                x = advance(self.kernel, self._at(beta), x, 1, rng)[0]
            x = advance(self.kernel, self._at(beta), x, self.settling, rng)[0]
            x, figures = self._rest(x, beta, log_mean(log_weights), rng)
            found[temperature] = figures
        return [found[temperature] for temperature in temperatures]

    def _rest(self, x: Tensor, beta: float, log_z: Estimate, rng: Rng) -> tuple[Tensor, _Figures]:
        """Averages over the steps at one temperature."""
        states = chain(self.kernel, self._at(beta), x, rng)
        centre = self._scores(x).mean()
        sums = torch.zeros(4, len(x), dtype=torch.float64)
        for _ in range(self.steps):
            x = next(states)[0].x
            e, m = self._scores(x) - centre, rows.total(x).double()
            sums += torch.stack([e, e**2, m.abs(), m**2])
        e, e2, m, m2 = sums / self.steps
        mean = Estimate.of_mean(e)
        energy = Estimate(mean.value + centre.item(), mean.standard_error)
        return x, _Figures(energy, _variance(e, e2), log_z, Estimate.of_mean(m), _variance(m, m2))

    def _at(self, beta: float) -> WeightedSum:
        # A tensor, so that a compiled kernel takes it as an input and not as a constant.
        return WeightedSum([self.energy], [torch.tensor(beta, dtype=torch.float64)])

    def _scores(self, x: Tensor) -> Tensor:
        with sampling(self.energy), torch.no_grad():
            return _scores(self.energy, x)


def _scores(energy: Energy, x: Tensor) -> Float[Tensor, " rows"]:
    return check_energies(energy(x), x).double()


def _variance(mean: Float[Tensor, " chains"], square: Float[Tensor, " chains"]) -> Estimate:
    """The variance of what has these means and mean squares in each chain; its error by leaving out one chain."""
    n = len(mean)
    left_out = (square.sum() - square) / (n - 1) - ((mean.sum() - mean) / (n - 1)) ** 2
    whole = square.mean() - mean.mean() ** 2
    spread = ((n - 1) / n * (left_out - left_out.mean()).square().sum()).sqrt()
    # The bias of the square of a mean is that of one over n, and goes with it.
    return Estimate((n * whole - (n - 1) * left_out.mean()).item(), spread.item())


def _check(
    energy: Energy, temperatures: list[float], *, chains: int, cooling: int, settling: int, steps: int
) -> None:
    if not isinstance(energy.support, DISCRETE):
        raise TypeError(
            f"thermodynamics() looks at energies on Binary, Spin or OneHot, but this one lives on {energy.support}; "
            "say where a function lives by Neural(function, support=...)."
        )
    if any(isinstance(part, Clamped) for part in energy.modules()):
        raise ValueError(
            "thermodynamics() counts all states, but this energy holds some entries; write it as a function of the "
            "free entries."
        )
    if not temperatures or not all(0 < temperature < math.inf for temperature in temperatures):
        raise ValueError(f"thermodynamics() needs positive, finite temperatures, but got {temperatures}.")
    if chains < 4 or cooling < 1 or settling < 0 or steps < 1:
        raise ValueError(
            "thermodynamics() needs chains >= 4, cooling >= 1, settling >= 0 and steps >= 1, but got "
            f"{chains}, {cooling}, {settling} and {steps}."
        )
