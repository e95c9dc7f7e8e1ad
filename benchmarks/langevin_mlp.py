"""A Langevin step on a small MLP energy, against torchebm and ebmkit: python -m benchmarks.langevin_mlp.

2-64-64-1 with SiLU, 256 chains, one thread. The peers run in an environment of their own, made by
`make bench`, and take turns with ours.
"""

from typing import Any

import torch

from benchmarks.measure import PEERS, Peer, row, side_by_side, timed
from benchmarks.peer import CHAINS, STEP_SIZE, network
from erg.samplers import Compiled, mala, sample, ula

STEPS, ROUNDS = 1_000, 25
VERSIONS = {"torchebm": "0.8.9", "ebmkit": "0.16.0"}


def measure() -> dict[str, Any]:
    """Milliseconds a step, and how many times faster than each peer."""
    if not PEERS.exists():
        raise SystemExit("The peers' environment is missing: run `make bench`, which makes .venv-peers.")
    torch.set_num_threads(1)
    energy, rng = network(), torch.Generator().manual_seed(0)
    x = torch.randn(CHAINS, 2, generator=rng)
    peers = {name: Peer("benchmarks/peer.py", name, STEPS) for name in VERSIONS}
    ours = {
        "erg, eager": ula(STEP_SIZE),
        "erg, compiled": Compiled(ula(STEP_SIZE)),
        "erg, compiled, with a Metropolis test": Compiled(mala(STEP_SIZE)),
    }
    ways = {
        name: timed(lambda kernel=kernel: sample(kernel, energy, x, STEPS, rng), steps=STEPS)
        for name, kernel in ours.items()
    }
    times = side_by_side({**peers, **ways}, rounds=ROUNDS)
    for peer in peers.values():
        peer.close()
    best = times["erg, compiled"]["median"]
    return {
        "title": f"Langevin on a 2-64-64-1 MLP energy, {CHAINS} chains, one thread",
        "seed": 0,
        "steps": STEPS,
        "rounds": ROUNDS,
        "peers": VERSIONS,
        "milliseconds_a_step": times,
        "ratios": {
            f"times faster than {name}": {
                "value": round(times[name]["median"] / best, 2),
                "goal": 3.0,
                "least": least,
            }
            for name, least in (("torchebm", 3.0), ("ebmkit", 2.0))
        },
    }


if __name__ == "__main__":
    row("langevin_mlp", measure)
