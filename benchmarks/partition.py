"""Are the errors of log Z honest? Many independent runs of each method against the known value.

    python -m benchmarks.partition ROW [--force]     one row; skipped when its result exists
    python -m benchmarks.partition table               docs/results/partition.md from the rows

A run's 95 % interval is its value plus or minus 1.96 standard errors. Coverage is the share of runs whose interval
holds the truth; width is the median interval over what the spread of the values over runs implies.
"""

import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks.rows import rows
from erg.data import load
from erg.energies import Counted, Energy, Gaussian, Independent, Neural, Path
from erg.evaluation.partition import log_partition
from erg.roles import Kernel
from erg.samplers import ais, bracket, dmala, gwg, hmc, mala, reverse_ais, smc
from erg.support import Binary, Spin

RESULTS = File("docs/results/partition")
RUNS = 200
TEMPERATURE = 0.7
GOALS = "coverage 92 to 98 %, width at most 1.5, root mean square error below 0.1 nat"


@dataclass(frozen=True)
class Problem:
    """A target with known log Z and exact samples, and how to anneal towards it."""

    description: str
    reference: Any
    energy: Energy
    log_z: float
    exact: Callable[[int, torch.Generator], Tensor]
    kernel: Kernel | Callable[[float], Kernel]
    betas: Tensor
    chains: int
    keep: float
    runs: int = RUNS


def gaussian(dimensions: int, *, betas: int, chains: int, keep: float) -> Problem:
    """From a standard normal law to one with other means and deviations, tempered, by MALA."""
    mean = torch.linspace(-0.5, 1.0, dimensions)
    variance = torch.linspace(0.4, 1.6, dimensions)
    target = Gaussian(mean, variance)
    tempered = Gaussian(mean, variance * TEMPERATURE)
    size = 1.1 * dimensions ** (-1 / 3)

    def kernel(beta: float) -> Kernel:
        # The step follows the largest curvature on the path.
        return mala(size / (1 - beta + beta / (TEMPERATURE * variance.min().item())))

    return Problem(
        f"Gaussian in {dimensions} dimensions, means -0.5 to 1, variances 0.4 to 1.6, T = {TEMPERATURE}, from a "
        "standard normal law",
        Gaussian.standard(dimensions),
        target / TEMPERATURE,
        float(tempered.log_z),
        tempered.exact_samples,
        kernel,
        torch.linspace(0, 1, betas + 1, dtype=torch.float64),
        chains,
        keep,
    )


def wide_gaussian(dimensions: int) -> Problem:
    """The same by Hamiltonian steps: one forgets where it was, MALA takes a dozen. Fewer runs: they are slow."""
    problem = gaussian(dimensions, betas=300, chains=512, keep=0.99)

    def kernel(beta: float) -> Kernel:
        return hmc(0.5 / math.sqrt(1 - beta + beta / (TEMPERATURE * 0.4)), 5)

    return replace(problem, kernel=kernel, runs=RUNS // 2)


def ising() -> Problem:
    """A torus of 4 x 4 spins in a field, tempered."""

    def score(x: Tensor) -> Tensor:
        neighbours = x.roll(1, 1) + x.roll(1, 2)
        return -(0.35 * x * neighbours + 0.1 * x).sum((1, 2))

    energy = Neural(score, support=Spin()) / TEMPERATURE
    states = torch.cat(list(Spin().enumerate((4, 4))))
    probabilities = (-energy(states).double()).softmax(0)
    return Problem(
        f"Ising model, torus of 4 x 4 spins, coupling 0.35, field 0.1, T = {TEMPERATURE}, from fair coins",
        Independent.uniform((4, 4), Spin()),
        energy,
        log_partition(energy, (4, 4)).value,
        lambda n, rng: states[torch.multinomial(probabilities, n, replacement=True, generator=rng)],
        gwg(),
        torch.linspace(0, 1, 1001, dtype=torch.float64),
        512,
        0.999,
    )


class BinaryRBM(Energy):
    """The free energy of a restricted Boltzmann machine with bits on both sides."""

    support = Binary()

    def __init__(self, visible: Tensor, hidden: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.visible, self.hidden, self.weights = visible, hidden, weights

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch,)."""
        return -(x @ self.visible) - softplus(self.hidden + x @ self.weights).sum(1)

    def joint(self) -> tuple[Tensor, Tensor]:
        """Every hidden state, with minus its free energy."""
        h = torch.cat(list(Binary().enumerate(tuple(self.hidden.shape)))).double()
        fields = self.visible.double() + h @ self.weights.double().T
        return h, h @ self.hidden.double() + softplus(fields).sum(1)

    def exact_samples(self, n: int, rng: torch.Generator) -> Tensor:
        """Independent draws: a hidden state by enumeration, then the visible bits."""
        h, scores = self.joint()
        chosen = h[torch.multinomial(scores.softmax(0), n, replacement=True, generator=rng)].float()
        return torch.bernoulli((self.visible + chosen @ self.weights.T).sigmoid(), generator=rng)


def digits_rbm(*, hidden: int = 16, epochs: int = 60, batch: int = 100) -> tuple[BinaryRBM, Tensor]:
    """Trained on binarised 8x8 digits by persistent contrastive divergence; and the data."""
    rng = torch.Generator().manual_seed(0)
    x = (load("digits").train.x.flatten(1) > 0).float()
    mean = x.mean(0).clamp(0.02, 0.98)
    model = BinaryRBM(mean.logit(), torch.zeros(hidden), 0.05 * torch.randn(x.shape[1], hidden, generator=rng))
    chains = x[torch.randperm(len(x), generator=rng)[:batch]]
    for epoch in range(epochs):
        rate = 0.1 * (1 - epoch / epochs)
        for batch_rows in torch.randperm(len(x), generator=rng).split(batch)[:-1]:
            data = x[batch_rows]
            on_data = (model.hidden + data @ model.weights).sigmoid()
            h = torch.bernoulli((model.hidden + chains @ model.weights).sigmoid(), generator=rng)
            chains = torch.bernoulli((model.visible + h @ model.weights.T).sigmoid(), generator=rng)
            on_model = (model.hidden + chains @ model.weights).sigmoid()
            model.weights += rate * (data.T @ on_data - chains.T @ on_model) / batch
            model.visible += rate * (data - chains).mean(0)
            model.hidden += rate * (on_data - on_model).mean(0)
    return model, mean


def rbm() -> Problem:
    """A trained machine, from independent pixels with the means of the data."""
    model, mean = digits_rbm()
    _, scores = model.joint()
    return Problem(
        "restricted Boltzmann machine, 64 visible and 16 hidden bits, trained on binarised 8x8 digits (60 epochs of "
        "persistent contrastive divergence), from independent pixels with the data's means",
        Independent(mean.logit(), Binary()),
        model,
        scores.logsumexp(0).item(),
        model.exact_samples,
        dmala(0.4),
        torch.linspace(0, 1, 301, dtype=torch.float64),
        512,
        0.995,
    )


ROWS: dict[str, Callable[[], Problem]] = {
    "gaussian-2": lambda: gaussian(2, betas=100, chains=256, keep=0.995),
    "gaussian-16": lambda: gaussian(16, betas=200, chains=256, keep=0.995),
    "gaussian-64": lambda: gaussian(64, betas=400, chains=512, keep=0.995),
    "gaussian-256": lambda: wide_gaussian(256),
    "ising": ising,
    "rbm": rbm,
}


class Meter:
    """What each method found and cost, summed over runs."""

    def __init__(self, energy: Counted) -> None:
        self.energy = energy
        self.seconds: Counter[str] = Counter()
        self.evaluations: Counter[str] = Counter()
        self.found: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def run(self, name: str, method: Callable[[], Any]) -> Any:
        """Its result, which is noted with its cost."""
        began, asked = time.process_time(), self.energy.gradients + self.energy.values
        result = method()
        self.seconds[name] += time.process_time() - began
        self.evaluations[name] += self.energy.gradients + self.energy.values - asked
        self.found[name].append((*result.log_z, result.effective_sample_size))
        return result


def measure(row: str) -> dict[str, Any]:
    """Every method on one problem, run after run."""
    torch.set_num_threads(1)
    problem = ROWS[row]()
    runs = problem.runs
    meter = Meter(Counted(problem.energy))
    for seed in range(runs):
        _run(problem, meter, torch.Generator().manual_seed(seed))
    methods = {
        name: {
            "figures": figures(torch.tensor(found, dtype=torch.float64), problem.log_z),
            "evaluations": meter.evaluations[name] / runs,
            "seconds": meter.seconds[name] / runs,
        }
        for name, found in meter.found.items()
    }
    return {
        "row": row,
        "description": problem.description,
        "log_z": problem.log_z,
        "runs": runs,
        "chains": problem.chains,
        "betas": len(problem.betas) - 1,
        "methods": methods,
    }


def _run(problem: Problem, meter: Meter, rng: torch.Generator) -> None:
    path, kernel, betas = Path(problem.reference, meter.energy), problem.kernel, problem.betas
    up = meter.run("ais", lambda: ais(path, kernel, betas=betas, chains=problem.chains, rng=rng))
    exact = problem.exact(problem.chains, rng)
    down = meter.run("reverse_ais", lambda: reverse_ais(path, kernel, exact, betas=betas, rng=rng))
    both = bracket(up, down)
    meter.found["bracket"].append((*both.combined, both.width))
    meter.run("smc", lambda: smc(path, kernel, chains=1024, keep=problem.keep, rng=rng))


def figures(found: Tensor, truth: float) -> dict[str, float]:
    """From (value, standard error, one more figure) of each run."""
    value, error, other = found.T
    return {
        "coverage": ((value - truth).abs() <= 1.96 * error).double().mean().item(),
        "width": (error.median() / value.std()).item(),
        "error": (value - truth).square().mean().sqrt().item(),
        "bias": (value - truth).mean().item(),
        "bias_error": (value.std() / math.sqrt(len(value))).item(),
        "other": other.median().item(),
    }


def table() -> str:
    """The page, from the rows that were measured."""
    results = [json.loads(path.read_text()) for row in ROWS if (path := RESULTS / f"{row}.json").exists()]
    lines = [
        "# Partition functions: are the errors honest?",
        "",
        f"Each row: `python -m benchmarks.partition ROW`; this page: `python -m benchmarks.partition table`. "
        "Independent runs of each method against the known log Z. Coverage: the share of runs whose value plus or "
        "minus 1.96 standard errors holds the truth. Width: the median of those intervals over what the spread of "
        f"the values over runs implies. Goals: {GOALS}. The bracket combines both directions (Bennett's acceptance "
        "ratio). SMC: 1,024 chains in 16 populations, betas of its own choice. Evaluations: calls of the "
        "target for all chains at once, per run.",
    ]
    for result in results:
        lines += ["", f"## {result['row']}", "", _conditions(result), "", *_rows(result)]
    if missing := [row for row in ROWS if not (RESULTS / f"{row}.json").exists()]:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    if results:
        lines += ["", "## All measured rows together", "", *_pooled(results)]
    return "\n".join(lines) + "\n"


HEADS = "| method | coverage | width | rms error (nat) | bias (nat) | evaluations | CPU s a run | |"


def _conditions(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"{result['description']}; log Z = {result['log_z']:.4f}. {result['runs']} runs; "
        f"AIS: {result['chains']} chains, {result['betas']} steps of beta. "
        f"`{result['command']}`, {result['date']}, {result['processor']}, one thread; {versions}."
    )


def _rows(result: dict[str, Any]) -> list[str]:
    lines = [HEADS, "|---|" + "---:|" * 7]
    for name, each in result["methods"].items():
        found = each["figures"]
        other = "between the sides" if name == "bracket" else "effective samples"
        lines.append(
            f"| {name} | {found['coverage']:.1%} | {found['width']:.2f} | {found['error']:.4f} | "
            f"{found['bias']:+.4f} ± {found['bias_error']:.4f} | {each['evaluations']:.0f} | {each['seconds']:.2f} | "
            f"{found['other']:.3g} {other} |"
        )
    return lines


def _pooled(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| method | runs | coverage | widest | largest rms error (nat) | goals |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name in results[0]["methods"]:
        found = [result["methods"][name]["figures"] for result in results]
        runs = sum(result["runs"] for result in results)
        coverage = sum(each["coverage"] * result["runs"] for each, result in zip(found, results, strict=True)) / max(
            runs, 1
        )
        width, error = max(each["width"] for each in found), max(each["error"] for each in found)
        good = 0.92 <= coverage <= 0.98 and width <= 1.5 and error < 0.1
        verdict = "reached" if good else "missed"
        lines.append(f"| {name} | {runs} | {coverage:.1%} | {width:.2f} | {error:.4f} | {verdict} |")
    return lines


if __name__ == "__main__":
    rows("partition", __doc__, {"row": ROWS}, measure, table)
