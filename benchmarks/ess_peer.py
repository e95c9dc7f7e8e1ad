"""One library's sampler on one target: python benchmarks/ess_peer.py LIBRARY ALGORITHM TARGET.

Each line on standard input runs 1,024 chains from exact samples; seconds and the means of x and x^2 along each
chain go to standard output as JSON, summed up as effective samples. One thread. Runs in the peers' environment,
and in ours for `erg`.
"""

import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

CHAINS = 1024
STEPS = {"hmc": 200, "nuts": 60, "mclmc": 2000}
# Chosen once and the same for every library. On the Gaussian a trajectory is shorter than half a period of the
# fastest entry: longer ones return some entry to where it was, and its effective samples say nothing.
LEAPFROGS = {"rosenbrock-2": 10, "gaussian-100": 3}
STEP_SIZE = {
    "rosenbrock-2": {"hmc": 0.1, "nuts": 0.1, "mclmc": 0.2},
    "gaussian-100": {"hmc": 0.3, "nuts": 0.3, "mclmc": 3.0},
}
LENGTH = {"rosenbrock-2": 2.0, "gaussian-100": 30.0}
DIMENSIONS = {"rosenbrock-2": 2, "gaussian-100": 100}
VARIANCES = np.logspace(-1, 1, 100)

Summed = tuple[np.ndarray, np.ndarray]
"""The means of x and of x^2 along each chain, (chains, dimensions)."""


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    """x ~ N(1, 1), y | x ~ N(x^2, 0.1)."""
    first, second = x[:, 0], x[:, 1]
    return 0.5 * (first - 1).square() + 5 * (second - first.square()).square()


class Gaussian:
    """Independent normal entries, variances from 0.1 to 10."""

    def __init__(self) -> None:
        self.precision = torch.tensor(1 / VARIANCES, dtype=torch.float32)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return (x.square() * self.precision).sum(1) / 2


def energy_of(target: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The energy that every torch library is given."""
    return rosenbrock if target == "rosenbrock-2" else Gaussian()


def exact(target: str, rng: np.random.Generator) -> np.ndarray:
    """Independent draws from the target."""
    noise = rng.standard_normal((CHAINS, DIMENSIONS[target]))
    if target == "gaussian-100":
        return (noise * np.sqrt(VARIANCES)).astype(np.float32)
    x = 1 + noise[:, 0]
    return np.stack([x, x**2 + math.sqrt(0.1) * noise[:, 1]], axis=1).astype(np.float32)


def moments(target: str) -> tuple[np.ndarray, np.ndarray]:
    """The variances of x and of x^2, each of shape (dimensions,)."""
    if target == "gaussian-100":
        return VARIANCES, 2 * VARIANCES**2
    return np.array([1.0, 6.1]), np.array([6.0, 764 + 6 * 0.1 * 10 + 3 * 0.01 - 10.1**2])


def effective(target: str, summed: Summed) -> dict[str, float]:
    """Effective samples of all chains together, for the worst entry: chains are independent and start exact.

    A chain's mean varies as that of Var(x) / Var(mean) independent draws would.
    """
    of_x, of_square = (
        CHAINS * variance / means.astype(np.float64).var(0, ddof=1)
        for variance, means in zip(moments(target), summed, strict=True)
    )
    return {"x": float(of_x.min()), "x^2": float(of_square.min()), "x^2, mean": float(of_square.mean())}


def accumulated(step: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, steps: int) -> Summed:
    """Run `step` and keep sums only."""
    total, squares = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(steps):
        x = step(x)
        total += x
        squares += x * x
    return (total / steps).numpy(), (squares / steps).numpy()


def erg(algorithm: str, target: str) -> Callable[[np.ndarray], Summed]:
    """This library, compiled where it compiles."""
    from erg.samplers import Compiled, chain, hmc, mclmc, nuts

    h = STEP_SIZE[target][algorithm]
    kernel: Any = {
        "hmc": lambda: Compiled(hmc(h, LEAPFROGS[target])),
        "nuts": lambda: Compiled(nuts(h)),
        "mclmc": lambda: Compiled(mclmc(h, LENGTH[target])),
    }[algorithm]()
    energy, rng = energy_of(target), torch.Generator().manual_seed(0)

    def run(start: np.ndarray) -> Summed:
        steps = chain(kernel, energy, torch.from_numpy(start), rng)
        return accumulated(lambda _: next(steps)[0].x, torch.from_numpy(start), STEPS[algorithm])

    return run


def torchebm(algorithm: str, target: str) -> Callable[[np.ndarray], Summed]:
    """`HamiltonianMonteCarlo` of torchebm."""
    from torchebm.core import BaseModel
    from torchebm.samplers import HamiltonianMonteCarlo

    energy = energy_of(target)

    class Model(BaseModel):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return energy(x)

    sampler = HamiltonianMonteCarlo(
        Model(), step_size=STEP_SIZE[target][algorithm], n_leapfrog_steps=LEAPFROGS[target]
    )

    def run(start: np.ndarray) -> Summed:
        path = sampler.sample(x=torch.from_numpy(start), n_steps=STEPS[algorithm], return_trajectory=True)
        # (chains, steps, dimensions), with the start in front in some versions.
        path = path[:, -STEPS[algorithm] :]
        return path.mean(1).numpy(), path.square().mean(1).numpy()

    return run


def ebmkit(algorithm: str, target: str) -> Callable[[np.ndarray], Summed]:
    """`HMC` and `NUTS` of ebmkit."""
    from ebm.samplers import HMC, NUTS

    h, energy = STEP_SIZE[target][algorithm], energy_of(target)
    sampler = HMC(step_size=h, leapfrog_steps=LEAPFROGS[target]) if algorithm == "hmc" else NUTS(step_size=h)
    return lambda start: accumulated(lambda x: sampler.step(energy, x), torch.from_numpy(start), STEPS[algorithm])


def blackjax(algorithm: str, target: str) -> Callable[[np.ndarray], Summed]:
    """blackjax under `jit`, chains by `vmap`, sums inside `scan`."""
    import blackjax as bj
    import jax
    import jax.numpy as jnp

    h, d, steps = STEP_SIZE[target][algorithm], DIMENSIONS[target], STEPS[algorithm]
    precision = jnp.asarray(1 / VARIANCES, jnp.float32)

    def log_density(x: Any) -> Any:
        if target == "gaussian-100":
            return -(x * x * precision).sum() / 2
        return -0.5 * (x[0] - 1) ** 2 - 5 * (x[1] - x[0] ** 2) ** 2

    ones = jnp.ones(d)
    if algorithm == "hmc":
        method = bj.hmc(log_density, h, ones, LEAPFROGS[target])
    elif algorithm == "nuts":
        method = bj.nuts(log_density, h, ones)
    else:
        method = bj.mclmc(log_density, L=LENGTH[target], step_size=h)

    def one(x: Any, key: Any) -> Any:
        state = method.init(x, key) if algorithm == "mclmc" else method.init(x)

        def body(carry: Any, key: Any) -> Any:
            state, total, squares = carry
            state, _ = method.step(key, state)
            return (state, total + state.position, squares + state.position**2), None

        zero = jnp.zeros(d)
        (_, total, squares), _ = jax.lax.scan(body, (state, zero, zero), jax.random.split(key, steps))
        return total / steps, squares / steps

    compiled = jax.jit(jax.vmap(one))
    keys = iter(range(10**6))

    def run(start: np.ndarray) -> Summed:
        split = jax.random.split(jax.random.key(next(keys)), CHAINS)
        total, squares = compiled(jnp.asarray(start), split)
        return np.asarray(total), np.asarray(squares)

    return run


LIBRARIES = {"erg": erg, "torchebm": torchebm, "ebmkit": ebmkit, "blackjax": blackjax}


def main() -> None:
    """Answer every line with one measurement."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    library, algorithm, target = sys.argv[1:]
    run, rng = LIBRARIES[library](algorithm, target), np.random.default_rng(0)
    for _ in sys.stdin:
        start = exact(target, rng)
        began = time.perf_counter()
        summed = run(start)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "effective": effective(target, summed)}), flush=True)


if __name__ == "__main__":
    main()
