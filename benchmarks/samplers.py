"""docs/results/samplers.md from the measured rows of `make bench-samplers`: python -m benchmarks.samplers."""

import json
import re
from typing import Any

import torch

from benchmarks import ess, low_error, mclmc_bias, partition
from benchmarks.conditions import in_words
from benchmarks.measure import RESULTS
from benchmarks.tables import section
from erg.energies import Counted, Gaussian, Independent
from erg.files import write_text
from erg.samplers import dmala, gwg, hmc, mala, nuts, sample
from erg.samplers.chain import chain
from erg.support import Binary

PAGE = RESULTS / "samplers.md"


def main() -> None:
    """Write the page; rows that were not measured are left out of their tables."""
    parts = ["# Samplers", "Measured by `make bench-samplers`; each row is one command.", _costs()]
    for tables in (low_error, ess, partition):
        parts.append(re.sub(r"^#", "##", tables.table(), flags=re.MULTILINE).strip())
    for name, words in (("replica_exchange", _replicas), ("many_chains", section), ("mclmc_bias", _bias)):
        path = RESULTS / f"{name}.json"
        parts.append(words(json.loads(path.read_text())) if path.exists() else f"## {name}\n\nNot measured yet.")
    write_text(PAGE, "\n\n".join(parts) + "\n")
    print(PAGE)


def _costs() -> str:
    """Gradients a step, counted now."""
    steps, rng = 20, torch.Generator().manual_seed(0)
    lines = ["## Gradients a step", "", "Counted over 20 steps, the start left out.", "", "| kernel | gradients |"]
    lines.append("|---|---|")
    for name, kernel in {"mala": mala(0.3), "hmc, 7 leapfrogs": hmc(0.3, 7)}.items():
        energy = Counted(Gaussian.standard(3))
        sample(kernel, energy, torch.zeros(1, 3), steps, rng)
        lines.append(f"| {name} | {(energy.gradients - 1) / steps:g} |")
    for name, kernel in {"gwg": gwg(), "dmala": dmala(1.0)}.items():
        energy = Counted(Independent(torch.linspace(-1.0, 1.0, 5), Binary()))
        sample(kernel, energy, torch.zeros(1, 5), steps, rng)
        lines.append(f"| {name} | {(energy.gradients - 1) / steps:g} |")
    energy, chains = Counted(Gaussian.standard(3)), None
    for step, (state, _) in enumerate(chain(nuts(0.3), energy, torch.zeros(1, 3), rng), start=1):
        if step == steps:
            chains = state
            break
    assert chains is not None
    lines.append(f"| nuts, one chain | {energy.gradients - 1} for {int(chains.leaves)} leaves |")
    return "\n".join(lines)


def _replicas(result: dict[str, Any]) -> str:
    lines = [
        f"## {result['title']}",
        "",
        in_words(result),
        "",
        f"Barriers of {result['barrier in nats']} nats; temperatures found: {result['temperatures']}.",
        "",
        "| | steps | largest relative error of a weight |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {found['steps']:,} | {found['largest relative error']:.1%} |"
        for name, found in result["results"].items()
    ]
    return "\n".join(lines)


def _bias(result: dict[str, Any]) -> str:
    return f"## {result['title']}\n\n{in_words(result)}\n\n{mclmc_bias.sentence(result)}"


if __name__ == "__main__":
    main()
