"""Run folders with invented but plausible content, for the tests of the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np

SHA256 = "9f2c41d07be35a6688d1f04c7a2e9b53" * 2

CONFIG = """\
name: digits
seed: 3
data:
  name: digits
  path: null
  noise: 0.03
  dequantise: false
network:
  class_path: erg.networks.ConvNet
  init_args:
    channels: [32, 64, 128]
    activation: torch.nn.SiLU
    spectral: false
objective:
  class_path: erg.objectives.MaximumLikelihood
  init_args:
    negatives:
      class_path: erg.negatives.Persistent
      init_args:
        kernel:
          class_path: erg.samplers.sgld
          init_args: {step_size: 10.0, noise: 0.005, clip: 0.03, box: [-1.0, 1.0]}
        steps: 20
        size: 4096
        fresh: 0.05
    penalties:
      magnitude: [0.1, {class_path: erg.objectives.Magnitude}]
optimizer:
  class_path: torch.optim.Adam
  init_args: {lr: 0.001, betas: [0.0, 0.999]}
learning_rate:
  class_path: erg.training.rates.Cosine
  init_args: {steps: 2000, end: 0.02}
average: 0.99
steps: 2000
batch_size: 128
sampler:
  kernel: null
  steps: 200
goals:
  class_kl: ["<=", 0.2]
  confidence: [">=", 0.8]
  auroc/noise: [">=", 0.99]
"""

METRICS: dict[str, dict[str, Any]] = {
    "class_kl": {"value": 0.0873, "standard_error": 0.0121, "floor": 0.0104,
                 "goal": {"op": "<=", "value": 0.2, "pass": True}},
    "confidence": {"value": 0.9127, "standard_error": 0.0063, "floor": 0.968,
                   "goal": {"op": ">=", "value": 0.8, "pass": True}},
    "auroc/noise": {"value": 0.99994, "standard_error": 0.00003, "goal": {"op": ">=", "value": 0.99, "pass": True}},
    "frechet_distance": {"value": 3.418, "standard_error": 0.172, "floor": 0.5217},
    "kernel_distance": {"value": 0.0216, "standard_error": 0.0019, "floor": 0.00031},
    "nearest_train_distance": {"value": 2.913, "standard_error": 0.041, "floor": 2.704},
    "auroc/blurred": {"value": 0.871, "standard_error": 0.012},
    "auroc/flipped": {"value": 0.942, "standard_error": 0.008},
    "auroc/shrunk": {"value": 0.988, "standard_error": 0.003},
}  # fmt: skip

RECOVERIES = [
    {"step": 640, "kind": "recovery", "signal": "gradient", "detail": "norm 812, at most 40.2 allowed",
     "action": "went back to step 600, restarted 2311 chains, learning rate x 0.5, step size x 0.5"},
    {"step": 655, "kind": "repair", "signal": "chains", "detail": "3 chains not finite", "action": "restarted"},
]  # fmt: skip


def finished(folder: Path, *, steps: int = 2000, log_every: int = 10, recoveries: bool = True) -> Path:
    """A run that trained to the end and was evaluated."""
    training(folder, steps=steps, log_every=log_every, recoveries=recoveries)
    state = json.loads((folder / "run.json").read_text()) | {"status": "finished", "step": steps}
    (folder / "run.json").write_text(json.dumps(state))
    evaluation = {"metrics": METRICS, "classifier": {"name": "digits_8x8", "sha256": SHA256}, "samples": 500}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    _scores(folder)
    _weights(folder)
    digits(folder / "samples" / "final.png", rows=10, columns=10, noise=0.05)
    chain(folder / "samples" / "chain.png")
    for step, noise in ((200, 0.9), (600, 0.5), (1200, 0.2), (2000, 0.05)):
        digits(folder / "samples" / f"step_{step:08d}.png", rows=6, columns=6, noise=noise)
    return folder


def training(folder: Path, *, steps: int = 2000, log_every: int = 10, recoveries: bool = False) -> Path:
    """A run that is still going on, or was killed: no evaluation, no samples, no scores."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    state = {
        "format": 1, "erg": "0.1.0", "name": "digits", "seed": 3, "status": "running", "step": steps // 2,
        "steps": steps, "started": "2026-11-22T04:29:07+0000", "updated": "2026-11-22T04:30:54+0000",
        "seconds": 107.3, "versions": {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.1"},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(state))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(steps, log_every)))
    events = RECOVERIES if recoveries else []
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def lines(steps: int, log_every: int) -> list[dict[str, Any]]:
    """Metrics of a run that settles, with a bump in the middle."""
    rng = np.random.default_rng(0)
    logged = []
    for step in range(log_every, steps + 1, log_every):
        t = step / steps
        bump = 6.0 if 0.30 < t < 0.32 else 0.0
        data = -2.2 * (1 - np.exp(-9 * t)) + 0.12 * rng.normal()
        gap = 2.8 * np.exp(-6 * t) + 0.1 + 0.14 * rng.normal() + bump
        logged.append({
            "step": step, "time": round(107.3 * t, 3), "steps_per_second": 18.6 + rng.normal(),
            "loss": -gap + 0.02 * data**2, "energy/data": data, "energy/model": data + gap, "energy/gap": gap,
            "loss/magnitude": 0.1 * data**2, "chain/acceptance": 1.0,
            "gradient_norm": float(np.exp(1.5 * np.exp(-5 * t) - 1 + 0.25 * rng.normal() + bump / 2)),
            "learning_rate": 1e-3 * (0.02 + 0.98 * (1 + np.cos(np.pi * t)) / 2),
        })  # fmt: skip
        if step % (steps // 10) == 0:
            logged.append({
                "step": step, "time": round(107.3 * t, 3), "validation/energy/held_out": -2.05 * (1 - np.exp(-9 * t)),
                "validation/gap/train": 0.1 * t + 0.02 * rng.normal(), "validation/energy/noise": 4 + 9 * t,
                "validation/auroc/noise": 1 - 0.4 * np.exp(-8 * t),
                "validation/auroc/blurred": 0.9 - 0.5 * np.exp(-5 * t),
                "validation/quality": 40 * np.exp(-3 * t) + 3,
            })  # fmt: skip
    return logged


def digits(path: Path, *, rows: int, columns: int, noise: float) -> None:
    """A grid of scikit-learn's digits under noise, in place of samples."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(rows)
    images = load_digits().images[rng.permutation(1797)[: rows * columns]] / 16
    images = np.clip(images + noise * rng.normal(size=images.shape), 0, 1)
    _write_grid(path, images.reshape(rows, columns, 8, 8))


def chain(path: Path, *, chains: int = 6, times: int = 16) -> None:
    """Digits that come out of uniform noise from left to right."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(1)
    images = load_digits().images[:chains, None] / 16
    share = np.linspace(0, 1, times)[None, :, None, None] ** 0.7
    _write_grid(path, share * images + (1 - share) * rng.random((chains, times, 8, 8)))


def _write_grid(path: Path, images: np.ndarray) -> None:
    from PIL import Image

    rows, columns, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    picture = padded.swapaxes(1, 2).reshape(rows * (height + 2), columns * (width + 2))
    Image.fromarray((255 * picture).astype(np.uint8)).save(path)


def _scores(folder: Path) -> None:
    rng = np.random.default_rng(0)
    data = -2.2 + 0.35 * rng.gamma(2, 1, 1400)
    np.savez(folder / "scores.npz", **{
        "data": data, "held_out": -2.1 + 0.37 * rng.gamma(2, 1, 360), "samples": -2.15 + 0.3 * rng.gamma(2, 1, 500),
        "noise": rng.normal(13, 1.1, 500), "ood/blurred": rng.normal(0.4, 0.8, 360),
        "ood/flipped": -1.5 + 0.8 * rng.gamma(2, 1, 360), "ood/shrunk": rng.normal(2.5, 1.2, 360),
    })  # fmt: skip


def _weights(folder: Path) -> None:
    from safetensors.numpy import save_file

    weights = {"body.0.weight": np.zeros((32, 1, 5, 5), np.float32), "body.0.bias": np.zeros(32, np.float32)}
    save_file(weights, folder / "energy.safetensors", metadata={"format": "pt"})
