"""Train the digit classifiers that ship with erg: ``python -m benchmarks.train_features digits|mnist``.

One thread, fixed seeds and deterministic kernels: the same torch on the same kind of machine writes
the same bytes. Accuracy and confidence on the held-out split, which training never sees, go to
docs/results/features.json, and docs/results/features.md is written from it.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from erg.data import load
from erg.evaluation.coverage import class_kl, mean_confidence
from erg.evaluation.features import CLASSES, NAMES, DigitClassifier, DigitNetwork
from erg.evaluation.two_sample import floor, frechet_distance, kernel_distance
from erg.files import write_atomically, write_json, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "features.json"
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}
STEPS = {"digits": 3000, "mnist": 12_000}
BATCH = 128
STRANGE = 32
"""Rows a batch that are no digits, with the uniform law as their target."""
NOISE = 0.3
"""Each picture gets Gaussian noise of its own level, uniform in [0, NOISE]."""
LEARNING_RATE = 2e-3
DECAY = 0.05
AVERAGE = 0.998
REFERENCE = 10_000
SEED = 0


def train(x: Tensor, y: Tensor, *, steps: int, rng: torch.Generator) -> DigitNetwork:
    """Cross-entropy on noisy, shifted digits and on pictures that are none; returns averaged weights."""
    torch.manual_seed(SEED)
    network = DigitNetwork(x.shape[-1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (BATCH,), generator=rng)
        pictures, targets = augment(x[rows], rng), F.one_hot(y[rows], CLASSES).float()
        odd = strange(x[torch.randint(len(x), (STRANGE,), generator=rng)], rng)
        targets = torch.cat([targets, torch.full((STRANGE, CLASSES), 1 / CLASSES)])
        loss = F.cross_entropy(network(torch.cat([pictures, odd])), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        if step % 500 == 0:
            print(f"step {step}  loss {loss.item():.4f}", flush=True)
    trained = average.module
    with torch.no_grad():
        trained.unit.copy_(trained.body(x[:10_000]).square().mean().sqrt())
    return trained


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the pictures moved by at most one pixel, all with noise of their own level, inside [-1, 1]."""
    side = x.shape[-1]
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    moves = torch.randint(-1, 2, (len(x), 2), generator=rng) * (torch.rand(len(x), 1, generator=rng) < 0.5)
    moved = torch.stack(
        [p[:, 1 + i : 1 + i + side, 1 + j : 1 + j + side] for p, (i, j) in zip(padded, moves.tolist(), strict=True)]
    )
    level = NOISE * torch.rand(len(x), 1, 1, 1, generator=rng)
    return (moved + level * torch.randn(x.shape, generator=rng)).clamp(-1, 1)


def strange(x: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures that are no digits: noise, shuffled pixels, smooth noise, flat grey; a quarter each."""
    quarter = len(x) // 4
    noise = 2 * torch.rand(x[:quarter].shape, generator=rng) - 1
    pixels = x[:quarter].flatten(1)
    shuffled = pixels.gather(1, torch.rand(pixels.shape, generator=rng).argsort(1)).reshape(x[:quarter].shape)
    coarse = 2 * torch.rand(quarter, 1, 4, 4, generator=rng) - 1
    smooth = F.interpolate(coarse, x.shape[-2:], mode="bilinear")
    flat = (2 * torch.rand(quarter, 1, 1, 1, generator=rng) - 1).expand_as(noise)
    return augment(torch.cat([noise, shuffled, smooth, flat]), rng)


def measure(classifier: DigitClassifier, train_x: Tensor, x: Tensor, y: Tensor, rng: torch.Generator) -> dict:
    """What the shipped file does on pictures that training never saw."""
    # Data sets come sorted, by writer for one: a floor is that of any n rows.
    order = torch.randperm(len(x), generator=rng)
    x, y = x[order], y[order]
    train_x = train_x[torch.randperm(len(train_x), generator=rng)]
    probabilities = classifier.probabilities(x)
    n = min(len(x), 500)
    reference, features = classifier.features(train_x[:REFERENCE]), classifier.features(x)
    nearest = floor(reference, features, n)
    odd = strange(train_x[:400], rng)
    confidence, right = probabilities.max(1)
    return {
        "accuracy": (right == y).double().mean().item(),
        "held_out": len(x),
        "train": len(train_x),
        "calibration_error": calibration_error(confidence, right == y),
        "confidence": mean_confidence(probabilities).value,
        "confidence_on_strange_pictures": mean_confidence(classifier.probabilities(odd)).value,
        "class_kl_floor": class_kl(probabilities[:n]).value,
        "floor_rows": n,
        "frechet_floor": nearest.value,
        "frechet_floor_standard_error": nearest.standard_error,
        "frechet_of_strange_pictures": frechet_distance(classifier.features(odd), reference).value,
        "kernel_floor": kernel_distance(features[:n], reference[:2000]).value,
    }


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Expected calibration error over 15 equal bins (Guo et al. 2017, arXiv:1706.04599)."""
    bins = (confidence * 15).long().clamp(max=14)
    error = 0.0
    for i in range(15):
        if (inside := bins == i).any():
            gap = confidence[inside].double().mean() - right[inside].double().mean()
            error += inside.double().mean().item() * abs(gap.item())
    return error


def record(name: str, figures: dict) -> None:
    """Add one classifier's figures to the results and write the page from all of them."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = figures
    results = dict(sorted(results.items()))
    write_json(RESULTS, results)
    rows = next(iter(results.values()))
    lines = [
        "# The digit classifiers whose features the distances use",
        "",
        "Written by the commands in the last row, on one CPU thread; the machine-readable copy is `features.json`.",
        "The held-out split is never trained on. *Strange pictures* are noise, shuffled pixels, smooth noise and",
        "flat grey, made afresh. A *floor* is what that many held-out images reach against (at most 10,000) training",
        "images; distances are in units in which a feature of a training image has mean square 1.",
        "",
        "| | " + " | ".join(results) + " |",
        "|---|" + "---|" * len(results),
        *(f"| {row.replace('_', ' ')} | {' | '.join(shown(one[row]) for one in results.values())} |" for row in rows),
        "",
    ]
    write_text(RESULTS.with_suffix(".md"), "\n".join(lines))


def shown(value: object) -> str:
    """A cell of the table."""
    return f"{value:.4g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


def main() -> None:
    """Train, ship, measure, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=sorted(SHAPES))
    data = parser.parse_args().data
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    rng = torch.Generator().manual_seed(SEED)
    dataset = load(data)
    shape = SHAPES[data]
    started = time.monotonic()
    network = train(dataset.train.x, dataset.train.y, steps=STEPS[data], rng=rng)
    seconds = time.monotonic() - started
    content = save({key: value.contiguous() for key, value in network.state_dict().items()})
    classifier = DigitClassifier(NAMES[shape], shape, content)
    write_atomically(ROOT / "erg" / "evaluation" / f"{NAMES[shape]}.safetensors", lambda file: file.write(content))
    figures = {"sha256": classifier.sha256, "bytes": len(content)}
    figures |= measure(classifier, dataset.train.x, dataset.held_out.x, dataset.held_out.y, rng)
    figures |= {"training_seconds": round(seconds), "torch": torch.__version__}
    figures["command"] = f"python -m benchmarks.train_features {data}"
    record(NAMES[shape], figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
