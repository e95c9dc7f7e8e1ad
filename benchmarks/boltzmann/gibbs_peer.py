"""One library's Gibbs sweeps: python -m benchmarks.boltzmann.gibbs_peer LIBRARY MODEL.

Each line on standard input runs the chains from fair coins; milliseconds a sweep and the mean energy a spin at the
end go to standard output as JSON. Runs in the peers' environment for `thrml`, and in ours otherwise.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

COUPLING = 0.4
SIDE = 32


class Model(NamedTuple):
    """How many chains and sweeps; `nodes` of a dense machine, or None for the torus."""

    chains: int
    sweeps: int
    nodes: int | None


MODELS = {
    "torus 32 x 32, 1,000 chains": Model(1000, 100, None),
    "torus 32 x 32, 10 chains": Model(10, 1000, None),
    "dense, 64 spins, 1,000 chains": Model(1000, 100, 64),
    "dense, 64 spins, 10 chains": Model(10, 1000, 64),
    "dense, 128 spins, 1,000 chains": Model(1000, 50, 128),
}


def dense(nodes: int) -> np.ndarray:
    """Random symmetric couplings, of a size at which neither order nor chaos wins."""
    drawn = np.random.default_rng(0).standard_normal((nodes, nodes)) * 0.5 / nodes**0.5
    upper = np.triu(drawn, 1)
    return (upper + upper.T).astype(np.float32)


def energy(model: Model, x: np.ndarray) -> float:
    """The mean energy a spin of states of shape (chains, spins)."""
    if model.nodes is not None:
        return float(-(x @ dense(model.nodes) * x).sum(1).mean() / 2 / model.nodes)
    grid = x.reshape(-1, SIDE, SIDE)
    return float(-COUPLING * (grid * (np.roll(grid, 1, 1) + np.roll(grid, 1, 2))).mean())


def erg(model: Model, *, compiled: bool) -> Callable[[int], np.ndarray]:
    """This library."""
    import torch

    from erg.energies import BoltzmannMachine, Ising, Lattice
    from erg.samplers import Compiled, chromatic, sample
    from erg.support import Spin

    torch.set_num_threads(1)
    kernel: Any = Compiled(chromatic()) if compiled else chromatic()
    event = (SIDE, SIDE) if model.nodes is None else (model.nodes,)
    machine: Any = None
    if model.nodes is None:
        machine = Ising(Lattice(event), coupling=COUPLING)
    else:
        machine = BoltzmannMachine.of(torch.from_numpy(dense(model.nodes)), torch.zeros(event), support=Spin())

    def run(seed: int) -> np.ndarray:
        rng = torch.Generator().manual_seed(seed)
        start = Spin().initial((model.chains, *event), rng)
        return sample(kernel, machine, start, model.sweeps, rng).flatten(1).numpy()

    return run


def thrml(model: Model) -> Callable[[int], np.ndarray]:
    """thrml: one block a colour, chains by `vmap`, the whole run jitted."""
    import jax
    import jax.numpy as jnp
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models import IsingEBM, IsingSamplingProgram, hinton_init

    nodes = [SpinNode() for _ in range(model.nodes or SIDE * SIDE)]
    if model.nodes is None:
        at = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
        pairs = [(a, b) for axis in (0, 1) for a, b in zip(at.flat, np.roll(at, -1, axis).flat, strict=True)]
        weights = np.full(len(pairs), COUPLING, np.float32)
        colours = [[int(n) for n in at.flat if sum(divmod(int(n), SIDE)) % 2 == colour] for colour in (0, 1)]
    else:
        pairs = [(i, j) for i in range(model.nodes) for j in range(i)]
        weights = np.array([dense(model.nodes)[pair] for pair in pairs])
        colours = [[n] for n in range(model.nodes)]
    edges = [(nodes[a], nodes[b]) for a, b in pairs]
    ebm = IsingEBM(nodes, edges, jnp.zeros(len(nodes)), jnp.asarray(weights), jnp.array(1.0))
    blocks = [Block([nodes[n] for n in colour]) for colour in colours]
    program = IsingSamplingProgram(ebm, blocks, clamped_blocks=[])
    schedule = SamplingSchedule(n_warmup=model.sweeps, n_samples=1, steps_per_sample=1)

    def one(start: Any, key: Any) -> Any:
        return sample_states(key, program, schedule, start, [], [Block(nodes)])

    compiled = jax.jit(jax.vmap(one))

    def run(seed: int) -> np.ndarray:
        key = jax.random.key(seed)
        start = hinton_init(key, ebm, blocks, (model.chains,))
        return np.asarray(compiled(start, jax.random.split(key, model.chains))[0])[:, 0] * 2.0 - 1

    return run


def main() -> None:
    """Answer every line with one measurement."""
    library, name = sys.argv[1:]
    model = MODELS[name]
    run = thrml(model) if library == "thrml" else erg(model, compiled=library == "erg-compiled")
    for seed, _ in enumerate(sys.stdin):
        began = time.perf_counter()
        x = run(seed)
        seconds = time.perf_counter() - began
        answer = {"milliseconds": seconds / model.sweeps * 1e3, "energy": energy(model, x)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
