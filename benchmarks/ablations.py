"""What each part of the digits recipe is worth: five seeds with it and without it.

    python -m benchmarks.ablations VARIANT [--force]     one row; skipped when its result exists
    python -m benchmarks.ablations table                 docs/results/ablations.md from the rows

Trained without the divergence guard, so that divergence shows. A run counts as diverged when the guard's
detector would have raised an alarm, or a number was not finite.
"""

import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import in_words
from benchmarks.rows import rows
from erg.runs.config import resolve
from erg.runs.evaluation import evaluate_run
from erg.runs.experiment import Experiment
from erg.runs.folder import RunFolder
from erg.training.signals import Detector, Limits

RESULTS = Path("docs/results/ablations")
SEEDS = range(5)
STEPS = 400
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "default": ("the recipe as it is", []),
    "no-buffer": (
        "chains start at noise in every update",
        # Kernel and steps are those of the recipe: jsonargparse carries them over to the new class.
        ["--objective.negatives=erg.negatives.FromNoise"],
    ),
    "no-penalty": ("no magnitude penalty", ["--objective.penalties={}"]),
    "no-weight-clipping": ("gradients of the weights are not clipped", ["--clip_gradients=null"]),
    "no-chain-clipping": ("gradients in the chains are not clamped", ["--objective.negatives.kernel.clip=1e9"]),
    "spectral-norm": ("every layer has spectral norm 1", ["--network.spectral=true"]),
    "silu": ("SiLU instead of ReLU", ["--network.activation=torch.nn.SiLU"]),
    "softplus": ("softplus instead of ReLU", ["--network.activation=torch.nn.Softplus"]),
}
FIGURES = ("frechet_distance", "class_kl", "confidence", "auroc/noise")


def measure(variant: str) -> dict[str, Any]:
    """One variant, seed after seed."""
    description, overrides = VARIANTS[variant]
    return {"variant": variant, "description": description, "runs": [_run(overrides, seed) for seed in SEEDS]}


def _run(overrides: list[str], seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        settings = ["--seed", str(seed), "--steps", str(STEPS), "--guard.enabled=false", "--validation.every=1000000"]
        resolved = resolve("digits", [*settings, *overrides])
        experiment = Experiment(resolved.recipe, RunFolder(path), config=resolved.text)
        detector, alarm = Detector(Limits()), None
        began = time.process_time()
        for record in experiment.run():
            values = {name: float(term) for name, term in record.terms.items()}
            if not all(map(math.isfinite, values.values())):
                alarm = alarm or f"step {record.step}: not finite"
                break
            found = detector.look(values)
            alarm = alarm or (found and f"step {record.step}: {found.signal}")
        seconds = time.process_time() - began
        figures = evaluate_run(path).to_json()["metrics"]
    print(seed, alarm, {name: figures[name]["value"] for name in FIGURES if name in figures}, flush=True)
    return {
        "seed": seed,
        "diverged": alarm,
        "seconds": seconds,
        "figures": {name: figures[name]["value"] if name in figures else None for name in FIGURES},
    }


def table() -> str:
    """The page, from the variants that were measured."""
    lines = [
        "# Ablations on 8x8 digits",
        "",
        f"The recipe `digits` for {STEPS} updates without the divergence guard, seeds {SEEDS.start} to "
        f"{SEEDS.stop - 1}. Each row: `python -m benchmarks.ablations VARIANT`; "
        "this table: `python -m benchmarks.ablations table`. Figures are the mean over seeds ± their standard "
        "deviation; lower Frechet distance and class KL, higher confidence and AUROC are better.",
        "",
        f"| variant | what | diverged | {' | '.join(FIGURES)} | CPU seconds |",
        f"|---|---|---|{'---|' * len(FIGURES)}---|",
    ]
    paths = [RESULTS / f"{variant}.json" for variant in VARIANTS]
    results = [json.loads(path.read_text()) for path in paths if path.exists()]
    lines += [_row(result) for result in results]
    conditions_of_all = sorted({in_words(result) for result in results})
    return "\n".join([*lines, "", *conditions_of_all]) + "\n"


def _row(result: dict[str, Any]) -> str:
    runs = result["runs"]
    diverged = sum(run["diverged"] is not None for run in runs)
    figures = [_spread([run["figures"][name] for run in runs]) for name in FIGURES]
    seconds = statistics.mean(run["seconds"] for run in runs)
    return (
        f"| `{result['variant']}` | {result['description']} | {diverged} of {len(runs)} | "
        f"{' | '.join(figures)} | {seconds:.0f} |"
    )


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return "not finite"
    lost = f" ({len(values) - len(known)} lost)" if len(known) < len(values) else ""
    return f"{statistics.mean(known):.3g} ± {statistics.stdev(known):.1g}{lost}"


if __name__ == "__main__":
    rows("ablations", __doc__, {"variant": VARIANTS}, measure, table)
