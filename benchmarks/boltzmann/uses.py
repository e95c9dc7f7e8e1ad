"""What machines are good for beside generation: python -m benchmarks.boltzmann.uses ROW.

features     Logistic regression (scikit-learn) on the 500 hidden means of a machine that saw no label.
free-energy  Digits are the label of the lowest free energy of a machine over pixels and label.
pretraining  Stacked machines as the initial weights of a network, against random ones, with 1,000 labels.

MNIST binarised at 0.5; settings were chosen on the last 10,000 training digits, never on the test set.
"""

import json
import time
import warnings
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.conditions import in_words
from benchmarks.measure import RESULTS
from benchmarks.rows import rows
from erg.applications import pretrained
from erg.data import batches, load
from erg.energies import RBM, LabelledRBM
from erg.negatives import FromData, Persistent
from erg.objectives import Centred, CrossEntropy, MaximumLikelihood, Paired, Sparsity, Weighted
from erg.roles import Objective
from erg.samplers import BlockGibbs
from erg.support import Binary
from erg.training.loop import train

NAME = "boltzmann/uses"
GOALS = {"features": 0.025, "free-energy": 0.05}
BATCH = 100


def measure(row: str) -> dict[str, Any]:
    """One row."""
    torch.set_num_threads(1)
    data = load("mnist", binarise=0.5)
    train_y, test_y = data.train.y, data.held_out.y
    assert train_y is not None and test_y is not None
    start = time.perf_counter()
    result = ROWS[row]((data.train.x.flatten(1), train_y), (data.held_out.x.flatten(1), test_y))
    return {"threads": 1, "seconds": round(time.perf_counter() - start, 1), **result}


class Settings(NamedTuple):
    """Of stochastic gradient descent, with a rate that falls to 0 in a straight line; weights alone decay."""

    epochs: int
    rate: float
    momentum: float
    decay: float


def learn(energy: nn.Module, objective: Objective, source: Iterator[Any], settings: Settings) -> None:
    """Train with these settings."""
    rng, updates = torch.Generator().manual_seed(0), settings.epochs * 600
    weights = [p for p in energy.parameters() if p.ndim == 2]
    others = [p for p in energy.parameters() if p.ndim != 2]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": settings.decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=updates)
    for _ in train(energy, objective, islice(source, updates), optimizer, rng):
        schedule.step()


# Features.

FEATURES = Settings(epochs=20, rate=0.1, momentum=0.5, decay=1e-4)
SPARSITY = (1.0, 0.08)
STRENGTH = 0.3
"""Of scikit-learn's logistic regression: C."""


def features(data: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """CD-1, centred, with a penalty that keeps units at rest; then a linear classifier on all labels."""
    x, y = data
    torch.manual_seed(0)
    rbm = RBM(784, 500)
    rbm.start_at(x)
    penalty = {"sparsity": (SPARSITY[0], Sparsity(SPARSITY[1]))}
    objective = Centred(MaximumLikelihood(FromData(BlockGibbs(), steps=1), penalty))
    learn(rbm, objective, batches(x, BATCH, seed=0, support=Binary()), FEATURES)
    rbm.requires_grad_(False)
    return {
        **FEATURES._asdict(),
        "sparsity": {"weight": SPARSITY[0], "target": SPARSITY[1]},
        "C": STRENGTH,
        "activity": float(rbm.hidden_mean(test[0]).mean()),
        "error": _linear_error(rbm.hidden_mean(x), y, rbm.hidden_mean(test[0]), test[1], strength=STRENGTH),
        "error_of_pixels": _linear_error(x, y, *test, strength=0.03),
    }


def _linear_error(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, *, strength: float) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=200).fit(x.numpy(), y.numpy())
    return 1 - float(model.score(test_x.numpy(), test_y.numpy()))


# Classification by free energy.

EPOCHS = 10
SHARES = {"model of pairs": (1.0, 0.0), "classifier": (0.0, 1.0), "both": (0.01, 1.0)}
"""Of the likelihood of pairs and of the cross-entropy in what is learned."""
RATES_OF_LEARNING = {"model of pairs": 0.05, "classifier": 1.0, "both": 1.0}


def free_energy(data: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """The same machine as a model of p(x, y), of p(y | x), and of both."""
    x, y = data
    errors = {}
    for name, (pairs, labels) in SHARES.items():
        torch.manual_seed(0)
        energy = LabelledRBM(784, 500, classes=10, scale=0.05)
        energy.start_at_pairs(x, y)
        chains = Persistent(BlockGibbs(), steps=1, size=BATCH, fresh=0.0)
        objectives: dict[str, tuple[float, Objective]] = {
            "pairs": (pairs, Paired(Centred(MaximumLikelihood(chains)))),
            "labels": (labels, CrossEntropy()),
        }
        objective = Weighted({each: (share, it) for each, (share, it) in objectives.items() if share})
        settings = Settings(epochs=EPOCHS, rate=RATES_OF_LEARNING[name], momentum=0.5, decay=0.0)
        learn(energy, objective, batches(x, BATCH, seed=0, support=Binary(), labels=y), settings)
        with torch.no_grad():
            errors[name] = float((energy.class_energies(test[0]).argmin(1) != test[1]).float().mean())
    return {"hidden": 500, "epochs": EPOCHS, "rates": RATES_OF_LEARNING, "shares": SHARES, "errors": errors}


# Pretraining.

SEEDS = (0, 1, 2)
LABELS = 1_000
SIZES = (500, 500)
RATES = (3e-4, 1e-3, 3e-3)
PRETRAINING = {"epochs": 10, "learning_rate": 0.1}


def pretraining(data: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """The same network from three initial weights; rate and moment of stopping by 10,000 other digits for each."""
    x, y = data
    errors: dict[str, list[float]] = {"stacked machines": [], "random, sigmoid": [], "random, ReLU": []}
    for seed in SEEDS:
        rng = torch.Generator().manual_seed(seed)
        some = torch.randperm(50_000, generator=rng)[:LABELS]
        stacked = pretrained(x[:50_000], SIZES, seed=seed, **PRETRAINING)  # type: ignore[arg-type]
        for name, found in errors.items():
            runs = []
            for rate in RATES:
                torch.manual_seed(seed)
                body = _random(name) if name.startswith("random") else list(deepcopy(stacked))
                network = nn.Sequential(*body, nn.Linear(SIZES[-1], 10))
                runs.append(_tuned(network, x[some], y[some], (x[50_000:], y[50_000:]), test, rate, rng))
            found.append(min(runs)[1])
    return {**PRETRAINING, "sizes": SIZES, "labels": LABELS, "seeds": SEEDS, "rates": RATES, "errors": errors}


def _random(name: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for size, before in zip(SIZES, (784, *SIZES), strict=False):
        linear = nn.Linear(before, size)
        relu = name.endswith("ReLU")
        (nn.init.kaiming_normal_ if relu else nn.init.xavier_normal_)(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU() if relu else nn.Sigmoid()]
    return layers


def _tuned(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    rate: float,
    rng: torch.Generator,
) -> tuple[float, float]:
    """Validation and test error at the epoch of the lowest validation error, of 60."""
    optimizer, best = torch.optim.Adam(network.parameters(), lr=rate), (1.0, 1.0)
    for epoch in range(60):
        for index in torch.randperm(len(x), generator=rng).split(50):
            optimizer.zero_grad()
            cross_entropy(network(x[index]), y[index]).backward()
            optimizer.step()
        if epoch % 3 == 2:
            with torch.no_grad():
                wrong = [float((network(v).argmax(1) != w).float().mean()) for v, w in (validation, test)]
            best = min(best, (wrong[0], wrong[1]))
    return best


ROWS = {"features": features, "free-energy": free_energy, "pretraining": pretraining}


def section() -> str:
    """The part of the page about uses, from the rows that were measured."""
    found = {row: json.loads(path.read_text()) for row in ROWS if (path := RESULTS / NAME / f"{row}.json").exists()}
    lines = ["## Features, classification and pretraining", "", "| what | test error | goal |", "|---|---:|---|"]
    if it := found.get("features"):
        goal = f"<= {GOALS['features']:.1%}, {'reached' if it['error'] <= GOALS['features'] else 'missed'}"
        lines += [
            f"| logistic regression on 500 hidden means | {it['error']:.2%} | {goal} |",
            f"| logistic regression on the pixels | {it['error_of_pixels']:.2%} | |",
        ]
    if it := found.get("free-energy"):
        for name, error in it["errors"].items():
            verdict = "reached" if error <= GOALS["free-energy"] else "missed"
            lines.append(f"| lowest free energy: {name} | {error:.2%} | <= {GOALS['free-energy']:.0%}, {verdict} |")
    if it := found.get("pretraining"):
        means = {name: fmean(errors) for name, errors in it["errors"].items()}
        for name, errors in it["errors"].items():
            goal = "less than random, " + ("reached" if means[name] == min(means.values()) else "missed")
            goal = goal if name == "stacked machines" else ""
            spread = f"{fmean(errors):.2%} ± {stdev(errors):.2%} ({len(errors)} seeds)"
            lines.append(f"| 784-500-500-10 with 1,000 labels, {name} | {spread} | {goal} |")
    lines += ["", *(f"{in_words(result)} {result['seconds']:.0f} s.  " for result in found.values())]
    if missing := [row for row in ROWS if row not in found]:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    rows(NAME, __doc__, {"row": ROWS}, measure, section)
