"""One update of a 784 x 500 machine, beside the peers and the limit of its matrix products.

Persistent contrastive divergence with one sweep, batches of 100, 100 chains, plain gradient descent, float32, in
turn in one run. An update needs six products of 100 x 784 by 784 x 500: the fields of the data, of the chains, of
what they see, of what they become, and the two halves of the gradient. The limit is the time of these products alone.
"""

import json
import subprocess
from typing import Any

import numpy as np
import torch

from benchmarks.conditions import in_words
from benchmarks.measure import PEERS, RESULTS, Peer, Way, row, side_by_side, timed
from erg.energies import RBM
from erg.negatives import Persistent
from erg.objectives import MaximumLikelihood
from erg.samplers import BlockGibbs
from erg.training.loop import train

NAME = "boltzmann/update"
ROWS, VISIBLE, HIDDEN, RATE = 100, 784, 500, 0.01
STEPS, ROUNDS, THREADS = 60, 15, 2
GOALS = {"rbms": 1.5, "learnergy": 2.0, "scikit-learn": 2.0}
LIMIT, LOW = 0.7, 5.0


def erg(batches: list[torch.Tensor], *, low: bool = False) -> Way:
    """The updates of this library."""
    rbm = RBM(VISIBLE, HIDDEN)
    objective = MaximumLikelihood(Persistent(BlockGibbs(), steps=1, size=ROWS, fresh=0.0))
    optimizer, rng = torch.optim.SGD(rbm.parameters(), lr=RATE), torch.Generator().manual_seed(0)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            for _ in train(rbm, objective, batches, optimizer, rng):
                pass

    return timed(run, steps=STEPS)


def products(batches: list[torch.Tensor], dtype: torch.dtype = torch.float32) -> Way:
    """Nothing but the six products."""
    weight = torch.randn(VISIBLE, HIDDEN).to(dtype)
    visible, hidden = batches[0].to(dtype), torch.rand(ROWS, HIDDEN).to(dtype)

    def run() -> None:
        for _ in range(STEPS):
            for _ in range(3):
                visible @ weight
            hidden @ weight.T
            for _ in range(2):
                visible.T @ hidden

    return timed(run, steps=STEPS)


def scikit_learn(batches: list[torch.Tensor]) -> Way:
    """`BernoulliRBM.partial_fit`, in float32."""
    from sklearn.neural_network import BernoulliRBM

    machine = BernoulliRBM(HIDDEN, learning_rate=RATE, batch_size=ROWS, random_state=0)
    arrays = [batch.numpy().astype(np.float32) for batch in batches]

    def run() -> None:
        for array in arrays:
            machine.partial_fit(array)

    return timed(run, steps=STEPS)


def measure() -> dict[str, Any]:
    """The row."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    batches = [(torch.rand(ROWS, VISIBLE) < 0.2).float() for _ in range(STEPS)]
    script = "benchmarks/boltzmann/update_peer.py"
    peers = {name: Peer(script, name, STEPS, THREADS) for name in ("rbms", "learnergy")}
    ways: dict[str, Way] = {
        "erg": erg(batches),
        "erg, bfloat16": erg(batches, low=True),
        "six products": products(batches),
        "six products, bfloat16": products(batches, torch.bfloat16),
        "scikit-learn": scikit_learn(batches),
        **peers,
    }
    try:
        times = side_by_side(ways, rounds=ROUNDS)
    finally:
        for peer in peers.values():
            peer.close()
    return {"milliseconds": times, "steps": STEPS, "rounds": ROUNDS, "threads": THREADS, "peers": _versions()}


def section() -> str:
    """The part of docs/results/boltzmann.md that is about speed."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    times = result["milliseconds"]
    ours = times["erg"]["median"]
    lines = [
        "## The time of an update",
        "",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        "",
        "| way | milliseconds (quartiles) | erg is faster by | goal | |",
        "|---|---|---|---|---|",
    ]
    for name, time in times.items():
        ratio = time["median"] / ours
        goal = GOALS.get(name)
        verdict = "" if goal is None else "reached" if ratio >= goal else "missed"
        spread = f"{time['median']:.2f} ({time['quartile_1']:.2f} to {time['quartile_3']:.2f})"
        lines.append(f"| {name} | {spread} | {ratio:.2f}x | {'' if goal is None else f'{goal}x'} | {verdict} |")
    share = times["six products"]["median"] / ours
    faster = ours / times["erg, bfloat16"]["median"]
    lines += [
        "",
        f"Share of the limit: {share:.0%} (goal {LIMIT:.0%}). bfloat16: {faster:.2f}x (goal {LOW:g}x).",
        "",
        in_words(result),
        "",
    ]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    code = "from importlib.metadata import version; print(version('rbms'), version('learnergy'))"
    found = subprocess.run([str(PEERS), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(("rbms", "learnergy"), found, strict=True))


if __name__ == "__main__":
    row(NAME, measure)
