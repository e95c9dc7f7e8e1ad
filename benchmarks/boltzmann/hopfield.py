"""How many patterns do memories hold, and do they find 60,000 digits again from one half?

    python -m benchmarks.boltzmann.hopfield [--force]     docs/results/boltzmann/hopfield.json and .png

A pattern is recalled if every pixel is right. Two stored patterns with the same visible half cannot be told
apart: at best one of them is recalled, and the bound in the table is what is left.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from benchmarks.measure import RESULTS, row
from erg import draws
from erg.applications import Recall, Sweeps, recall
from erg.data import load
from erg.energies import DenseMemory, Energy, Exponential, Hopfield, Rectified
from erg.estimate import Estimate
from erg.evaluation.assess import energies
from erg.files import write_atomically
from erg.support import Binary, Spin

NAME = "boltzmann/hopfield"
SHARPNESS = 4.0
MAKERS: dict[str, Callable[[Tensor, Binary | Spin], Energy]] = {
    "classical (Hebb)": lambda patterns, support: Hopfield.hebbian(patterns, support=support),
    "pseudo-inverse": lambda patterns, support: Hopfield.pseudo_inverse(patterns, support=support),
    "dense, power 3": lambda patterns, support: DenseMemory(patterns, Rectified(3), support=support),
    "dense, power 20": lambda patterns, support: DenseMemory(patterns, Rectified(20), support=support),
    "dense, exponential": lambda patterns, support: DenseMemory(patterns, Exponential(SHARPNESS), support=support),
}
COUNTS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000)
SEEDS = (0, 1, 2)
QUERIES = 200
SOME = 5_000
TOGETHER = 250
HAIR = 0.005
SHAPE = (1, 28, 28)


def main() -> None:
    """The row."""
    row(NAME, measure)


def measure() -> dict[str, Any]:
    """Everything, and the picture."""
    x = load("mnist", binarise=0.5).train.x
    result = {
        "digits": occluded(x),
        "seeds": list(SEEDS),
        "queries": QUERIES,
        "capacity": {
            "random patterns": capacity(_random),
            "digits": capacity(lambda count, rng: (_some(x, count, rng), Binary())),
        },
    }
    draw(result, examples(x), RESULTS / f"{NAME}.png")
    return result


def occluded(x: Float[Tensor, "digits *event"]) -> dict[str, Any]:
    """All digits stored at once, and recalled from what each mask shows: all of them without their lower half."""
    memory = MAKERS["dense, exponential"](x, Binary())
    found = {}
    for name, mask in _masks().items():
        every = len(x) if name == "lower half hidden" else SOME
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:every]
        unlike, bound = told_apart(x, mask)
        right = _recalled(memory, x[chosen], mask)
        apart = ~unlike[chosen]
        found[name] = {
            "queries": every,
            "recalled": _share(right),
            "recalled_of_those_told_apart": _share(right[apart]),
            "not_told_apart": round(float(unlike.double().mean()), 5),
            "bound": round(bound, 5),
        }
    mask = _masks()["lower half hidden"]
    for name in [name for name in MAKERS if name != "dense, exponential"]:
        some = _some(x, 1_000, torch.Generator().manual_seed(0))
        right = _exact(_ask(MAKERS[name](x, Binary()), some, mask, Binary()), some)
        found[f"lower half hidden, {name}"] = {"queries": len(some), "recalled": _share(right)}
    return found


def told_apart(
    x: Float[Tensor, "digits *event"], mask: Bool[Tensor, "*event"]
) -> tuple[Bool[Tensor, " digits"], float]:
    """Which digits share what is visible with a different digit, and the share that can be right at best."""
    half = torch.unique(x[:, mask], dim=0, return_inverse=True)[1]
    whole = torch.unique(x.flatten(1), dim=0, return_inverse=True)[1]
    pairs, copies = torch.unique(torch.stack([half, whole], 1), dim=0, return_counts=True)
    groups = int(half.max()) + 1
    different = torch.bincount(pairs[:, 0], minlength=groups)
    best = torch.zeros(groups, dtype=torch.long).scatter_reduce(0, pairs[:, 0], copies, "amax")
    return (different > 1)[half], int(best.sum()) / len(x)


def capacity(patterns: Callable[[int, torch.Generator], tuple[Tensor, Binary | Spin]]) -> dict[str, list[Any]]:
    """For each memory, the share that is recalled without the lower half, by how many are stored."""
    mask = _masks()["lower half hidden"]
    found: dict[str, list[Any]] = {name: [] for name in MAKERS}
    for count in COUNTS:
        shares: dict[str, list[float]] = {name: [] for name in MAKERS}
        for seed in SEEDS:
            rng = torch.Generator().manual_seed(seed)
            stored, support = patterns(count, rng)
            queries = _some(stored, QUERIES, rng)
            for name, make in MAKERS.items():
                # Beyond this the couplings have failed long ago.
                if count > 10_000 and isinstance(make(stored[:1], support), Hopfield):
                    continue
                found_again = _ask(make(stored, support), queries, mask, support)
                shares[name].append(float(_exact(found_again, queries).float().mean()))
        for name, values in shares.items():
            if values:
                share = Estimate.of_mean(torch.tensor(values, dtype=torch.float64))
                found[name].append(
                    {
                        "stored": count,
                        "recalled": round(share.value, 4),
                        "standard_error": round(share.standard_error, 4),
                    }
                )
    return found


def _recalled(memory: Energy, x: Tensor, mask: Tensor) -> Bool[Tensor, " digits"]:
    """Which digits are found again.

    All pixels at once may stay between several digits that fit equally well; there one pixel at a time goes on. At a
    stored digit it would change nothing, which is why the right ones are left out.
    """
    found = torch.cat([_ask(memory, some, mask, Binary()).x for some in x.split(TOGETHER)])
    wrong = (found != x).flatten(1).any(1).nonzero().flatten()
    between = wrong[energies(memory, found[wrong]) > 0.5 - mask.numel()]
    if len(between):
        found[between] = recall(memory, found[between], mask, update=Sweeps()).x
    return (found == x).flatten(1).all(1)


def _ask(memory: Energy, x: Tensor, mask: Tensor, support: Binary | Spin) -> Recall:
    """Recall from the visible entries. The others start in the middle.

    They are a hair off it, the same for all queries: exactly between two patterns that fit equally well nothing would
    move.
    """
    low, high = support.values
    hair = HAIR * (2 * draws.uniform(x[:1], torch.Generator().manual_seed(0)) - 1)
    return recall(memory, torch.where(mask, x, low + (high - low) * (0.5 + hair)), mask)


def _exact(found: Recall, x: Tensor) -> Bool[Tensor, " queries"]:
    return (found.x == x).flatten(1).all(1)


def _share(right: Bool[Tensor, " queries"]) -> dict[str, float]:
    share = Estimate.of_mean(right.double())
    return {"value": round(share.value, 5), "standard_error": round(share.standard_error, 5)}


def _masks() -> dict[str, Bool[Tensor, "*event"]]:
    """What is visible."""
    down = torch.arange(28)[:, None].expand(28, 28) < 14
    coins = torch.rand(28, 28, generator=torch.Generator().manual_seed(0)) < 0.5
    visible = {"lower": down, "upper": ~down, "right": down.mT, "left": ~down.mT, "random": coins}
    return {f"{name} half hidden": mask[None] for name, mask in visible.items()}


def _random(count: int, rng: torch.Generator) -> tuple[Tensor, Binary | Spin]:
    return Spin().initial((count, *SHAPE), rng), Spin()


def _some(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=rng)[:count]]


def examples(x: Float[Tensor, "digits *event"]) -> dict[str, Tensor]:
    """What each memory of all digits makes of eight of them."""
    mask, shown = _masks()["lower half hidden"], _some(x, 8, torch.Generator().manual_seed(4))
    rows = {"visible": torch.where(mask, shown, 0.5)}
    for name, make in MAKERS.items():
        rows[name] = _ask(make(x, Binary()), shown, mask, Binary()).x
    return {**rows, "stored": shown}


def draw(result: dict[str, Any], shown: dict[str, Tensor], path: Path) -> None:
    """Capacity curves above, recalled digits below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    panels = above.subplots(1, 2, sharey=True)
    for axes, (kind, curves) in zip(panels, result["capacity"].items(), strict=True):
        for (name, points), marker, width in zip(curves.items(), "osD^v", (2, 2, 5, 3, 1.2), strict=True):
            axes.errorbar(
                [point["stored"] for point in points],
                [100 * point["recalled"] for point in points],
                [100 * point["standard_error"] for point in points],
                marker=marker,
                markersize=4 + width,
                linewidth=width,
                alpha=0.7,
                label=name,
            )
        axes.set(xscale="log", xlabel="patterns stored", title=f"{kind}, 784 pixels, lower half hidden")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("recalled in every pixel, %")
    panels[0].legend(loc="lower left", fontsize=8)
    axes = below.subplots()
    lines = [pad(images[:, 0], (1, 1, 1, 1), value=0.35).permute(1, 0, 2).flatten(1) for images in shown.values()]
    axes.imshow(torch.cat(lines), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], title="all 60,000 digits stored")
    axes.set_yticks([30 * place + 15 for place in range(len(shown))], list(shown))
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def section() -> str:
    """The part of docs/results/boltzmann.md that is about memories."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return ""
    result = json.loads(path.read_text())
    lines = [
        "| hidden | memory | queries | recalled in every pixel | of those told apart | not told apart | bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result["digits"].items():
        hidden, _, memory = name.partition(" half hidden, ")
        rest = ["", "", ""]
        if "bound" in found:
            apart = found["recalled_of_those_told_apart"]
            rest = [_percent(apart), f"{100 * found['not_told_apart']:.2f} %", f"{100 * found['bound']:.2f} %"]
        cells = [
            f"{hidden.removesuffix(' half hidden')} half",
            memory or "dense, exponential",
            f"{found['queries']:,}",
            _percent(found["recalled"]),
            *rest,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "## Memories",
            "",
            "All 60,000 binarised digits of the training set are stored, and asked for with one half hidden. A digit "
            "is recalled if all of its 784 pixels are. Digits that share their visible half with a different digit "
            "cannot be told apart: at best one of them is right, which gives the bound.",
            "",
            *lines,
            "",
            "![Capacity curves and recalled digits](boltzmann/hopfield.png)",
            "",
            f"`{result['command']}`, {result['date']}, seeds {result['seeds']}, {result['queries']} queries a point, "
            f"{result['seconds'] / 60:.0f} minutes on {result['threads']} thread, {result['processor']}.",
            "",
        ]
    )


def _percent(share: dict[str, float]) -> str:
    return f"{100 * share['value']:.2f} ± {100 * share['standard_error']:.2f} %"


if __name__ == "__main__":
    main()
