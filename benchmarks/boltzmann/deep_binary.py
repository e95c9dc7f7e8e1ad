"""A network over binary digits: python -m benchmarks.boltzmann.deep_binary train, then anneal.

The recipe `deep-binary-mnist` is a 64-channel residual network and 50,000 updates, for a GPU. Here a reduced one, the
convolutional one on the same base, is trained for an hour on one thread: persistent chains, ten steps of the
discrete Metropolis-adjusted Langevin algorithm an update. Its log Z is annealed from single pixels to the
network, and back from the ends of its own long chains.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.conditions import conditions, in_words
from benchmarks.measure import RESULTS
from erg.energies import Independent
from erg.energies import Path as StraightPath
from erg.energies.based import Based
from erg.evaluation.partition import log_likelihood
from erg.files import write_json
from erg.runs.model import open_model
from erg.samplers import Compiled, acs, ais, bracket, dmala, gwg, reverse_ais, sample

NAME = "boltzmann/deep_binary"
RUN = Path("runs/bench-deep-binary")
SECONDS = 3600
CHANGES = (
    "--network.network=erg.networks.ConvNet",
    "--network.network.channels=[8,16,32,32]",
    "--network.network.hidden=32",
    "--threads=1",
    "--optimizer.lr=0.0003",
    "--steps=60000",
    "--validation.every=5000",
    "--sampler.steps=500",
    "--likelihood.enabled=false",
)
BETAS, CHAINS, LONG, SEED = 5_000, 100, 2_000, 0
PUBLISHED = {"ACS": -79.91, "GWG": -80.01, "DMALA": -80.03}


def train() -> None:
    """Train for an hour, or go on with what was begun; Ctrl-C after that time ends a run in good order."""
    erg = [sys.executable, "-c", "import sys; from erg.cli.main import main; sys.exit(main())", "train"]
    command = (
        [*erg, "--resume", str(RUN)] if RUN.exists() else [*erg, "deep-binary-mnist", *CHANGES, "--out", str(RUN)]
    )
    process = subprocess.Popen(command)
    try:
        process.wait(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(2)
        process.wait()


def anneal() -> dict[str, Any]:
    """Log Z in both directions, and the likelihood by it."""
    torch.set_num_threads(1)
    model, rng = open_model(RUN), torch.Generator().manual_seed(SEED)
    data, energy = model.data(), model.energy
    assert isinstance(energy, Based)
    kernel = Compiled(dmala(0.2))
    path = StraightPath(Independent(energy.logits, energy.support), energy)
    starts = sample(kernel, energy, data.train.x[:CHAINS], LONG, rng)
    up = ais(path, kernel, betas=BETAS, chains=CHAINS, rng=rng)
    down = reverse_ais(path, kernel, starts, betas=BETAS, rng=rng)
    both = bracket(up, down)
    state = json.loads((RUN / "run.json").read_text())
    return {
        "seed": SEED,
        "updates": state["step"],
        "training_seconds": state["seconds"],
        "betas": BETAS,
        "chains": CHAINS,
        "forward": up.log_z._asdict(),
        "reverse": down.log_z._asdict(),
        "width": both.width,
        "test": {
            side: log_likelihood(energy, data.held_out.x, log_z)._asdict()
            for side, log_z in (("forward", up.log_z), ("reverse", down.log_z))
        },
        "independent_pixels": log_likelihood(path.reference, data.held_out.x, float(path.reference.log_z))._asdict(),
        "kernels": {
            name: _mixing(kernel, energy, starts, rng)
            for name, kernel in {"gwg": gwg(), "dmala": dmala(0.2), "acs": acs()}.items()
        },
    }


def section() -> str:
    """The part of docs/results/boltzmann.md that is about deep discrete energies."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    low, high = (f"{found['test'][side]['value']:.2f}" for side in ("reverse", "forward"))
    published = ", ".join(f"{name} {value}" for name, value in PUBLISHED.items())
    return "\n".join(
        [
            "## Networks over binary digits",
            "",
            (__doc__ or "").split("\n\n")[1].replace("\n", " "),
            "",
            f"After {found['updates']:,} updates in {found['training_seconds'] / 60:.0f} minutes the log-likelihood "
            f"of test digits is between {low} (reverse) and {high} (forward) nats, {found['width']:.2f} apart; "
            f"independent pixels alone reach {found['independent_pixels']['value']:.2f}. Published for the full "
            f"recipe: {published}.",
            "",
            in_words(found),
            "",
        ]
    )


def _mixing(kernel: Any, energy: Based, x: torch.Tensor, rng: torch.Generator) -> dict[str, float]:
    """How many pixels have changed after 100 gradients from the same starts."""
    moved = sample(kernel, energy, x, 100, rng)
    return {"pixels_changed": float((moved != x).float().flatten(1).sum(1).mean())}


def main() -> None:
    """Train or anneal, unless that has been done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "anneal"])
    parser.add_argument("--force", action="store_true", help="do it again")
    given = parser.parse_args()
    target = RUN / "energy.safetensors" if given.what == "train" else RESULTS / f"{NAME}.json"
    if target.exists() and not given.force:
        print(f"{target} exists; --force does it again")
    elif given.what == "train":
        train()
    else:
        command = "python -m benchmarks.boltzmann.deep_binary anneal"
        write_json(target, {"command": command, **conditions(), **anneal()})


if __name__ == "__main__":
    main()
