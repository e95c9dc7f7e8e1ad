"""The recipe `mnist` over hours: quality against time, and the time a step.

    python -m benchmarks.mnist train [RUN]     trains the recipe until it ends or is stopped; goes on where it stopped
    python -m benchmarks.mnist speed           seconds an update, as the recipe has it; on a quiet machine
    python -m benchmarks.mnist report [RUN]    docs/results/mnist.md, .json and pictures from the run folder

ERG_DATA may name a folder with the four IDX files; they are downloaded otherwise.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.conditions import conditions
from erg.cli.main import main as erg
from erg.files import write_atomically, write_json, write_text
from erg.runs.config import resolve
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder

RESULTS = Path("docs/results")
UPDATES, SKIPPED = 120, 20
THREADS = "--objective.negatives.kernel.threads"


def train(run: Path) -> None:
    """Start, or go on, on one thread: the machine may be busy with other work."""
    resume = (run / "checkpoints" / "last.pt").exists()
    raise SystemExit(
        erg(["train", "--resume", str(run)] if resume else ["train", "mnist", "--out", str(run), f"{THREADS}=1"])
    )


def speed() -> None:
    """Seconds an update without validation and checkpoints, on one thread and on two."""
    result = {"command": "python -m benchmarks.mnist speed", **conditions(), "updates": UPDATES - SKIPPED, "seed": 0}
    result["seconds_an_update"] = {f"threads={threads}": _seconds(threads) for threads in (1, 2)}
    write_json(RESULTS / "mnist_speed.json", result)
    print(result["seconds_an_update"])


def _seconds(threads: int) -> dict[str, float]:
    settings = ["--steps", str(UPDATES), "--validation.every=1000000", f"{THREADS}={threads}"]
    with tempfile.TemporaryDirectory() as folder:
        resolved = resolve("mnist", settings)
        experiment = Experiment(resolved.recipe, RunFolder(Path(folder) / "run"), config=resolved.text)
        ends = [time.perf_counter() for _ in experiment.run()]
    each = [after - before for before, after in zip(ends[SKIPPED:], ends[SKIPPED + 1 :], strict=False)]
    first, median, third = statistics.quantiles(each, n=4)
    return {"median": round(median, 4), "quartile_1": round(first, 4), "quartile_3": round(third, 4)}


def report(run: Path) -> None:
    """The page, from what the run has written so far."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    looks = [line for line in lines if "validation/quality" in line]
    evaluation = json.loads((run / "evaluation.json").read_text()) if (run / "evaluation.json").exists() else None
    state = json.loads((run / "run.json").read_text())
    speeds = [line["steps_per_second"] for line in lines if "steps_per_second" in line]
    result = {
        "command": "python -m benchmarks.mnist train; python -m benchmarks.mnist report",
        **conditions(),
        "seed": state["seed"],
        "updates": state["step"],
        "of": state["steps"],
        "hours": round(lines[-1]["time"] / 3600, 2),
        "updates_a_second": {"median": statistics.median(speeds), "least": min(speeds), "most": max(speeds)},
        "recoveries": sum(1 for line in _events(run) if line.get("kind") == "recovery"),
        "looks": [_look(line) for line in looks],
        "evaluation": evaluation,
    }
    write_json(RESULTS / "mnist.json", result)
    last = max((run / "samples").glob("step_*.png"))
    for source, name in (
        (last, "mnist_samples.png"),
        (last.with_name(f"chain_{last.stem[5:]}.png"), "mnist_chain.png"),
    ):
        shutil.copyfile(source, RESULTS / name)
    _draw(result["looks"], RESULTS / "mnist_quality.png")
    write_text(RESULTS / "mnist.md", _page(result))


def _events(run: Path) -> list[dict[str, Any]]:
    path = run / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _look(line: dict[str, Any]) -> dict[str, float]:
    names = ("quality", "class_kl", "confidence", "auroc/noise", "auroc/blurred", "gap/train")
    found = {"step": line["step"], "minutes": round(line["time"] / 60, 1)}
    return found | {name: round(line[f"validation/{name}"], 4) for name in names if f"validation/{name}" in line}


def _draw(looks: list[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([look["minutes"] for look in looks], [look["quality"] for look in looks], marker=".")
    axes.set(xlabel="minutes", ylabel="Frechet distance (256 samples)", yscale="log")
    axes.grid(alpha=0.3, which="both")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def _page(result: dict[str, Any]) -> str:
    speed = RESULTS / "mnist_speed.json"
    timing = json.loads(speed.read_text())["seconds_an_update"] if speed.exists() else {}
    rows = [
        f"| {look['step']:,} | {look['minutes']:.0f} | {look['quality']:.2f} | {look['class_kl']:.3f} "
        f"| {look['confidence']:.3f} | {look['auroc/noise']:.3f} | {look['auroc/blurred']:.3f} |"
        for look in _thinned(result["looks"])
    ]
    figures = [
        f"| {name} | {found['value']:.4g} ± {found['standard_error']:.2g} "
        f"| {'-' if found.get('floor') is None else format(found['floor'], '.3g')} |"
        for name, found in (result["evaluation"] or {}).get("metrics", {}).items()
    ]
    least, most = result["updates_a_second"]["least"], result["updates_a_second"]["most"]
    return "\n".join(
        [
            "# The tutorial's recipe on the 60,000 digits",
            "",
            f"`{result['command']}`; {result['date']}, seed {result['seed']}, torch {result['versions']['torch']}, "
            f"{result['processor']}.",
            "",
            f"{result['updates']:,} of {result['of']:,} updates in {result['hours']} hours on one thread of a "
            f"machine that was busy with other work ({least:.1f} to {most:.1f} updates a second); "
            f"{result['recoveries']} recoveries from divergence.",
            *[
                f"On a quiet machine an update takes {found['median']:.3f} s with {name} (quartiles "
                f"{found['quartile_1']:.3f} to {found['quartile_3']:.3f}; `python -m benchmarks.mnist speed`)."
                for name, found in timing.items()
            ],
            "",
            "![Frechet distance against minutes](mnist_quality.png)",
            "",
            "| update | minutes | Frechet distance | class KL | confidence | AUROC noise | AUROC blurred |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "Looks during training judge 256 samples of 256 steps from noise, so their Frechet distance is larger "
            "than that of the evaluation below, and so is its floor.",
            *(
                [
                    "",
                    f"At the end, `erg evaluate`, in the features of {_classifier(result)}:",
                    "",
                    "| figure | value | floor |",
                    "|---|---|---|",
                ]
                if figures
                else []
            ),
            *figures,
            "",
            "Samples from noise, and one chain from noise to digit:",
            "",
            "![samples](mnist_samples.png) ![chain](mnist_chain.png)",
            "",
        ]
    )


def _classifier(result: dict[str, Any]) -> str:
    classifier = result["evaluation"]["classifier"]
    return f"`{classifier['name']}` (sha256 {classifier['sha256'][:12]})"


def _thinned(looks: list[dict[str, float]]) -> list[dict[str, float]]:
    """At most about a dozen, the first and the last among them."""
    every = max(1, len(looks) // 12)
    return [look for index, look in enumerate(looks) if index % every == 0 or look is looks[-1]]


def main() -> None:
    """Train, measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "speed", "report"])
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/mnist"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.what == "speed":
        speed()
    else:
        {"train": train, "report": report}[chosen.what](chosen.run)


if __name__ == "__main__":
    main()
