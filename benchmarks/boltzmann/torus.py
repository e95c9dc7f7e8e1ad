r"""The Ising model on a torus in closed form (Kaufman 1949), and on the infinite square lattice (Onsager, Yang).

For a torus of m x n spins with coupling 1 at inverse temperature b,

.. math:: Z = \tfrac12 (2 \sinh 2b)^{mn/2} \Big(\prod_r 2\cosh\tfrac m2\gamma_{2r+1}
    + \prod_r 2\sinh\tfrac m2\gamma_{2r+1}
    + \prod_r 2\cosh\tfrac m2\gamma_{2r} + \prod_r 2\sinh\tfrac m2\gamma_{2r}\Big),

with :math:`\cosh\gamma_k = \cosh 2b \coth 2b - \cos(\pi k / n)` and :math:`\gamma_0 = 2b + \log\tanh b`, which is
negative above the critical temperature.

References:
    Kaufman (1949), Crystal statistics II, doi:10.1103/PhysRev.76.1232
    Yang (1952), The spontaneous magnetization of a two-dimensional Ising model, doi:10.1103/PhysRev.85.808
"""

import math

CRITICAL = 2 / math.log(1 + math.sqrt(2))


def kaufman_log_z(m: int, n: int, beta: float) -> float:
    """Log Z of a torus of m x n spins with coupling 1."""

    def gamma(k: int) -> float:
        if k == 0:
            return 2 * beta + math.log(math.tanh(beta))
        return math.acosh(math.cosh(2 * beta) / math.tanh(2 * beta) - math.cos(math.pi * k / n))

    logs: list[tuple[float, float]] = []
    for odd in (1, 0):
        gammas = [m * gamma(2 * r + odd) / 2 for r in range(n)]
        logs.append((sum(math.log(2 * math.cosh(g)) for g in gammas), 1.0))
        sign = math.prod(math.copysign(1.0, g) for g in gammas)
        if all(gammas):
            logs.append((sum(math.log(2 * abs(math.sinh(g))) for g in gammas), sign))
    largest = max(value for value, _ in logs)
    total = sum(sign * math.exp(value - largest) for value, sign in logs)
    return -math.log(2) + m * n / 2 * math.log(2 * math.sinh(2 * beta)) + largest + math.log(total)


def torus(m: int, n: int, temperature: float, *, step: float = 1e-3) -> dict[str, float]:
    """Free energy, energy, heat capacity and entropy a spin; derivatives of log Z by differences of fourth order."""
    beta, sites = 1 / temperature, m * n
    values = {k: kaufman_log_z(m, n, beta + k * step) for k in range(-2, 3)}
    first = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)
    second = (16 * (values[1] + values[-1]) - (values[2] + values[-2]) - 30 * values[0]) / (12 * step**2)
    free, energy = -temperature * values[0] / sites, -first / sites
    return {
        "free_energy": free,
        "energy": energy,
        "heat_capacity": beta**2 * second / sites,
        "entropy": (energy - free) / temperature,
    }


def spontaneous_magnetisation(temperature: float) -> float:
    """Of the infinite square lattice with coupling 1: Yang's formula; 0 above the critical temperature."""
    return 0.0 if temperature >= CRITICAL else (1 - math.sinh(2 / temperature) ** -4) ** (1 / 8)
