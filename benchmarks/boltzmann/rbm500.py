"""A machine of 784 x 500 units: python -m benchmarks.boltzmann.rbm500 train, then anneal.

Binarised MNIST, centred, persistent contrastive divergence with one sweep, 100 chains, batches of 100, 200 epochs of
plain gradient descent with a rate that falls from 0.01 along a cosine. Its log Z is annealed in both directions:
along the straight path from independent pixels, and along the trajectory of training, whose milestones `train` keeps.
The reverse chains start at ends of long runs of trajectory tempering, which exchanges states with the milestones and
begins at digits; along the straight path also at ends of 4,000 sweeps from noise, which know nothing of digits.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.boltzmann.digits import digits, trained
from benchmarks.conditions import conditions, in_words
from benchmarks.measure import RESULTS
from erg.energies import RBM, Standard, Trajectory
from erg.evaluation.partition import log_likelihood
from erg.files import write_json
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.samplers import BlockGibbs, ais, bracket, chain, reverse_ais, sample, trajectory_exchange
from erg.samplers.annealing.importance import ImportanceSamples

NAME = "boltzmann/rbm500"
KEPT = Path("runs/bench-rbm500.safetensors")
HIDDEN, EPOCHS, RATE, SEED = 500, 200, 0.01, 0
# Updates at which the machine is kept: modes appear early, and fast.
MILESTONES = (30, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 90_000)
BETAS, CHAINS, TEMPERED, SWEEPS = 12_000, 100, 3_000, 4_000
PATHS = ("straight", "straight, from noise", "trajectory")
GOAL, NEW = -86.0, (-88.0, 3.0)


def train() -> None:
    """Train, and keep the machine and its milestones."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    x, _ = digits()
    rbm = RBM(tuple(x.shape[1:]), HIDDEN)
    rbm.start_at(x)
    kept = {}

    def look(step: int) -> None:
        if step in MILESTONES:
            kept.update(_named(rbm, f"{step:06d}"))

    objective = Centred(MaximumLikelihood(Persistent(BlockGibbs(), steps=1, size=100, fresh=0.0)), rate=0.01)
    trained(
        rbm, objective, x, epochs=EPOCHS, seed=SEED, look=look,
        rate=lambda done: RATE * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2),
    )  # fmt: skip
    kept.update(_named(rbm, "last"))
    KEPT.parent.mkdir(exist_ok=True)
    save_file(kept, KEPT)


def anneal() -> dict[str, Any]:
    """Both paths in both directions, and the likelihoods by them."""
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(SEED)
    x, test = digits()
    machines = _machines(tuple(x.shape[1:]))
    rbm = machines[-1]
    base = rbm.decoupled(x)
    starts = tempered(machines, x, rng)
    result: dict[str, Any] = {"hidden": HIDDEN, "epochs": EPOCHS, "rate": RATE, "seed": SEED, "chains": CHAINS}
    result["milestones"] = len(machines) - 1
    straight, bent = Trajectory([base, rbm]), Trajectory([base, *machines])
    from_noise = sample(BlockGibbs(), rbm, base.exact_samples(CHAINS, rng), SWEEPS, rng)
    rows = {
        "straight": (straight, starts),
        "straight, from noise": (straight, from_noise),
        "trajectory": (bent, starts),
    }
    forward: dict[int, ImportanceSamples] = {}
    for name, (path, x_model) in rows.items():
        if id(path) not in forward:
            forward[id(path)] = ais(path, BlockGibbs(), betas=BETAS, chains=CHAINS, rng=rng)
        up = forward[id(path)]
        down = reverse_ais(path, BlockGibbs(), x_model, betas=BETAS, rng=rng)
        both = bracket(up, down)
        result[name] = {
            "betas": BETAS,
            "forward": _side(up),
            "reverse": _side(down),
            "combined": both.combined._asdict(),
            "width": both.width,
            "test": {
                side: log_likelihood(rbm, test, log_z)._asdict()
                for side, log_z in (("forward", up.log_z), ("reverse", down.log_z), ("combined", both.combined))
            },
            "train": log_likelihood(rbm, x[:10_000], up.log_z)._asdict(),
        }
        print(name, result[name]["test"], both.width, flush=True)
    return result


def tempered(machines: list[RBM], x: Tensor, rng: torch.Generator) -> Tensor:
    """States of the last machine after many exchanges with its milestones; replicas begin at digits."""
    kernel = trajectory_exchange(BlockGibbs(), machines[-2::-1])
    first = x[torch.randperm(len(x), generator=rng)[:CHAINS]]
    steps = chain(kernel, machines[-1], first, rng)
    for _ in range(TEMPERED // len(machines)):
        state, _ = next(steps)
    print("rejection of swaps", [round(float(each), 2) for each in state.rejection], flush=True)
    return state.x


def section() -> str:
    """The part of docs/results/boltzmann.md that is about this machine."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    lines = [
        "## 784 x 500 units",
        "",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        f"Goals: {GOAL} nats on test digits by forward annealing; new would be {NEW[0]} with ends of the bracket "
        f"less than {NEW[1]:g} nats apart.",
        "",
        "| path | test by forward | by reverse | by both | log Z forward | reverse | apart |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in PATHS:
        if name not in result:
            continue
        found = result[name]
        tests = [_words(found["test"][side]) for side in ("forward", "reverse", "combined")]
        ends = [_words(found[side]["log_z"]) for side in ("forward", "reverse")]
        lines.append(f"| {name} | {' | '.join(tests)} | {' | '.join(ends)} | {found['width']:.2f} |")
    missing = [name for name in PATHS if name not in result]
    lines += ["", f"Not measured yet: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, "", in_words(result), ""])


def _named(rbm: RBM, when: str) -> dict[str, Tensor]:
    return {f"{when}/{name}": value.detach().clone() for name, value in rbm.standard()._asdict().items()}


def _machines(shape: tuple[int, ...]) -> list[RBM]:
    """The milestones in order, and the machine itself."""
    kept = load_file(KEPT)
    when = sorted({name.split("/")[0] for name in kept})
    like = RBM(shape, HIDDEN, scale=0.0)
    machines = [like.having(Standard(*(kept[f"{each}/{name}"] for name in Standard._fields))) for each in when]
    return [machine.requires_grad_(False) for machine in machines]


def _side(found: ImportanceSamples) -> dict[str, Any]:
    size = found.effective_sample_size
    return {"log_z": found.log_z._asdict(), "bound": found.bound, "effective_sample_size": size}


def _words(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} ± {estimate['standard_error']:.2f}"


def main() -> None:
    """Train or anneal, unless that has been done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "anneal"])
    parser.add_argument("--force", action="store_true", help="do it again")
    given = parser.parse_args()
    target = KEPT if given.what == "train" else RESULTS / f"{NAME}.json"
    if target.exists() and not given.force:
        print(f"{target} exists; --force does it again")
    elif given.what == "train":
        train()
    else:
        write_json(
            target, {"command": f"python -m benchmarks.{NAME.replace('/', '.')} anneal", **conditions(), **anneal()}
        )


if __name__ == "__main__":
    main()
