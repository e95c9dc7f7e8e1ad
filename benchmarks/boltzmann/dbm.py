"""A deep machine, 784-512-1024, on binary MNIST: python -m benchmarks.boltzmann.dbm START.

pretrained   Layers one upon the other first, then all of them together, as the recipe dbm-mnist does.
scratch      All layers together from the beginning.

Layers are centred; the positive phase is the mean field, the negative one 100 chains over all layers, one sweep an
update. Log Z is annealed over the even layers in both directions, the reverse one from the chains of training after
more sweeps. The bound is over all 10,000 test digits, binarised at 0.5.
"""

import json
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.boltzmann.digits import batches, digits
from benchmarks.conditions import in_words
from benchmarks.measure import RESULTS
from benchmarks.rows import rows
from erg.applications import pretrained_dbm
from erg.energies import DBM, Trajectory
from erg.evaluation.partition import log_likelihood
from erg.negatives import PersistentFromData
from erg.objectives import Centred, MaximumLikelihood, VariationalLikelihood
from erg.samplers import BlockGibbs, ais, bracket, reverse_ais, sample
from erg.training.averaging import Averaged
from erg.training.loop import train
from erg.training.rates import Cosine

NAME = "boltzmann/dbm"
STARTS = ("pretrained", "scratch")
HIDDEN, BATCH, DECAY, TOLERANCE = (512, 1024), 100, 0.999, 0.01
EPOCHS, BURN_IN, RATE = 10, 300, 0.015
UPDATES = {"pretrained": 27_000, "scratch": 30_000}
BETAS, CHAINS, SWEEPS = 8_000, 100, 3_000
PUBLISHED = -84.62


def measure(start: str) -> dict[str, Any]:
    """One machine, trained and judged."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    x, test = digits()
    began = time.perf_counter()
    dbm, chains = trained(start, x, rng)
    seconds = time.perf_counter() - began
    found = judged(dbm, chains, x, test, rng)
    return {
        "start": start,
        "sizes": dbm.sizes,
        "updates": UPDATES[start],
        "rate": RATE,
        "seed": 0,
        "threads": 1,
        "training_seconds": round(seconds, 1),
        **found,
    }


def trained(start: str, x: Tensor, rng: torch.Generator) -> tuple[DBM, Tensor]:
    """The averaged machine, and where its chains are."""
    if start == "pretrained":
        dbm = pretrained_dbm(x, HIDDEN, epochs=EPOCHS, batch_size=BATCH, rng=rng)
        dbm.tolerance = TOLERANCE
    else:
        dbm = DBM(tuple(x.shape[1:]), HIDDEN, tolerance=TOLERANCE)
        dbm.start_at(x)
    negatives = PersistentFromData(BlockGibbs(), steps=1, size=CHAINS, fresh=0.0)
    if start == "pretrained":
        # Chains that are far from the law would first of all unlearn what the upper layer knows.
        for _ in range(BURN_IN):
            negatives(dbm.machine, dbm.filled(x[:CHAINS]), rng)
    objective = VariationalLikelihood(Centred(MaximumLikelihood(negatives), rate=0.01))
    optimizer = torch.optim.SGD(dbm.parameters(), lr=RATE)
    averaged, falling = Averaged(dbm, DECAY), Cosine(UPDATES[start])
    source = batches(x, BATCH, rng)
    losses = train(dbm, objective, (next(source) for _ in range(UPDATES[start])), optimizer, rng)
    for step, _ in enumerate(losses, start=1):
        averaged.update()
        optimizer.param_groups[0]["lr"] = RATE * falling(step)
    energy = averaged.energy
    assert isinstance(energy, DBM) and negatives.positions is not None
    energy.tolerance = 1e-3
    return energy, negatives.positions


def judged(dbm: DBM, chains: Tensor, x: Tensor, test: Tensor, rng: torch.Generator) -> dict[str, Any]:
    """Log Z from both sides, and the bound by it."""
    machine = dbm.machine
    path = Trajectory([machine.decoupled(dbm.filled(x[:5_000])), machine])
    up = ais(path, BlockGibbs(), betas=BETAS, chains=CHAINS, rng=rng)
    starts = sample(BlockGibbs(), machine, chains, SWEEPS, rng)
    down = reverse_ais(path, BlockGibbs(), starts, betas=BETAS, rng=rng)
    both = bracket(up, down)
    _, upper = dbm.mean_field(test[:1_000])
    return {
        "betas": BETAS,
        "chains": CHAINS,
        "log_z": {"ais": up.log_z._asdict(), "reverse_ais": down.log_z._asdict(), "width": both.width},
        "test": log_likelihood(dbm, test, up.log_z)._asdict(),
        "test_reverse": log_likelihood(dbm, test, down.log_z)._asdict(),
        "train": log_likelihood(dbm, x[:10_000], up.log_z)._asdict(),
        "spread_of_the_upper_layer": float(upper.std(0).mean()),
    }


def section() -> str:
    """The part of docs/results/boltzmann.md that is about deep machines."""
    found = [path for start in STARTS if (path := RESULTS / NAME / f"{start}.json").exists()]
    if not found:
        return ""
    lines = [
        "## Deep Boltzmann machine, 784-512-1024",
        "",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        f"The paper reports a bound of {PUBLISHED} nats.",
        "",
        "| start | updates | bound on the test likelihood, by AIS | by reverse AIS | training rows | bracket | "
        "upper layer | training | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    results = [json.loads(path.read_text()) for path in found]
    for result in results:
        test, reverse, seen = (
            f"{result[name]['value']:.2f} ± {result[name]['standard_error']:.2f}"
            for name in ("test", "test_reverse", "train")
        )
        lines.append(
            f"| {result['start']} | {result['updates']:,} | {test} | {reverse} | {seen} | "
            f"{result['log_z']['width']:.2f} | {result['spread_of_the_upper_layer']:.3f} | "
            f"{result['training_seconds'] / 60:.0f} min | `{result['command']}` |"
        )
    lines += [
        "",
        "Upper layer: the standard deviation over digits of its means; at 0 it says nothing of them. "
        + in_words(results[0]),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    rows(NAME, __doc__, {"start": STARTS}, measure, section)
