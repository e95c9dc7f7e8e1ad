"""A machine of 784 x 16 units, whose likelihood is exact: python -m benchmarks.boltzmann.rbm16 VARIANT.

Binarised MNIST, persistent contrastive divergence with one sweep an update, 100 chains, batches of 100, 50 epochs,
plain gradient descent with rate 0.01; three seeds. Log Z is summed over the 2^16 hidden states. The centred row also
estimates it by annealed importance sampling in both directions, the reverse one from exact samples.
"""

import json
from statistics import fmean, stdev
from typing import Any

import torch

from benchmarks.boltzmann.digits import digits, trained
from benchmarks.measure import RESULTS
from benchmarks.rows import rows
from erg.energies import RBM, Trajectory
from erg.evaluation.partition import log_likelihood, log_partition
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.roles import Objective
from erg.samplers import BlockGibbs, ais, bracket, reverse_ais

NAME = "boltzmann/rbm16"
HIDDEN, EPOCHS, RATE, SEEDS = 16, 50, 0.01, (0, 1, 2)
VARIANTS = ("centred", "centred-flipped", "uncentred", "uncentred-flipped")
PUBLISHED = {"centred": -142.56, "centred-flipped": -142.09, "uncentred": -149.05, "uncentred-flipped": -183.36}
GOAL = -143.5
BETAS, CHAINS = 10_000, 500


def measure(variant: str) -> dict[str, Any]:
    """One row."""
    torch.set_num_threads(1)
    x, test = digits(flipped=variant.endswith("flipped"))
    runs = []
    for seed in SEEDS:
        rbm = machine(x, seed=seed, centred=not variant.startswith("uncentred"))
        log_z = log_partition(rbm, rbm.shape)
        runs.append(
            {
                "seed": seed,
                "log_z": log_z.value,
                "test": log_likelihood(rbm, test, log_z)._asdict(),
                "train": log_likelihood(rbm, x[:10_000], log_z)._asdict(),
            }
        )
        if variant == "centred":
            runs[-1]["annealed"] = annealed(rbm, x, seed=seed)
    return {"hidden": HIDDEN, "epochs": EPOCHS, "rate": RATE, "threads": 1, "runs": runs}


def machine(x: torch.Tensor, *, seed: int, centred: bool) -> RBM:
    """Trained as all rows are."""
    torch.manual_seed(seed)
    rbm = RBM(tuple(x.shape[1:]), HIDDEN)
    rbm.start_at(x)
    objective: Objective = MaximumLikelihood(Persistent(BlockGibbs(), steps=1, size=100, fresh=0.0))
    if centred:
        objective = Centred(objective, rate=0.01)
    else:
        # The usual start: visible biases at the log odds of the data, no offsets.
        rbm.recentre(torch.zeros_like(rbm.visible_offset), torch.zeros_like(rbm.hidden_offset))
    return trained(rbm, objective, x, epochs=EPOCHS, rate=RATE, seed=seed)


def annealed(rbm: RBM, x: torch.Tensor, *, seed: int) -> dict[str, Any]:
    """Log Z by annealing in both directions."""
    rng = torch.Generator().manual_seed(seed)
    path = Trajectory([rbm.decoupled(x), rbm])
    up = ais(path, BlockGibbs(), betas=BETAS, chains=CHAINS, rng=rng)
    down = reverse_ais(path, BlockGibbs(), exact_samples(rbm, CHAINS, rng), betas=BETAS, rng=rng)
    combined = bracket(up, down).combined
    return {
        "betas": BETAS,
        "chains": CHAINS,
        "ais": up.log_z._asdict(),
        "reverse_ais": down.log_z._asdict(),
        "combined": combined._asdict(),
    }


def exact_samples(rbm: RBM, n: int, rng: torch.Generator) -> torch.Tensor:
    """Hidden states by their enumerated law, and visible ones given these."""
    with torch.no_grad():
        other = rbm.of_hidden()
        energies = torch.cat([other(states) for states in other.support.enumerate(other.shape)]).double()
        law = (-energies).softmax(0).cumsum(0)
        chosen = torch.searchsorted(law, torch.rand(n, generator=rng, dtype=torch.float64)).clamp(max=len(law) - 1)
        hidden = torch.cat(list(other.support.enumerate(other.shape)))[chosen]
        return rbm.sample_visible(hidden, rng)


def section() -> str:
    """The part of docs/results/boltzmann.md that is about this machine."""
    found = {variant: path for variant in VARIANTS if (path := RESULTS / NAME / f"{variant}.json").exists()}
    if not found:
        return ""
    lines = [
        "## 784 x 16 units, exact likelihood",
        "",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        f"Goals: the centred machine reaches {GOAL} nats, and is within one nat of it on flipped digits (1 - x).",
        "",
        "| machine | test, nats (mean and spread over seeds) | training rows | published | command |",
        "|---|---|---|---|---|",
    ]
    results = {variant: json.loads(path.read_text()) for variant, path in found.items()}
    for variant, result in results.items():
        test, train = ([run[name]["value"] for run in result["runs"]] for name in ("test", "train"))
        lines.append(
            f"| {variant.replace('-', ', ')} | {fmean(test):.2f} ± {stdev(test):.2f} | {fmean(train):.2f} | "
            f"{PUBLISHED[variant]} | `{result['command']}` |"
        )
    lines += ["", "| seed | betas | log Z exact | forward | reverse | both |", "|---|---|---|---|---|---|"]
    for run in results.get("centred", {"runs": []})["runs"]:
        cells = [f"{found['value']:.3f} ± {found['standard_error']:.3f}" for found in _estimates(run["annealed"])]
        lines.append(f"| {run['seed']} | {run['annealed']['betas']:,} | {run['log_z']:.3f} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _estimates(annealed: dict[str, Any]) -> list[dict[str, float]]:
    return [annealed[name] for name in ("ais", "reverse_ais", "combined")]


if __name__ == "__main__":
    rows(NAME, __doc__, {"variant": VARIANTS}, measure, section)
