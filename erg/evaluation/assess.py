"""Judge an energy and its samples: every figure that fits the data, with errors and floors.

Everything runs in evaluation mode, without gradients and in chunks. Numerical trouble is data: samples
that are not finite, or whose energy is not, are counted and left out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from erg import rows
from erg.data import in_grey
from erg.energies.energy import Energy, as_energy, evaluate_energy
from erg.estimate import Estimate
from erg.evaluation.assessment import Assessment, Judge, Metric
from erg.evaluation.coverage import class_kl, mean_confidence
from erg.evaluation.detection import auroc
from erg.evaluation.features import DigitClassifier, classifier_for, raw_features, recognises
from erg.evaluation.memorisation import nearest_distance
from erg.evaluation.shifts import shifted
from erg.evaluation.two_sample import floor, frechet_distance, kernel_distance
from erg.roles import EnergyLike
from erg.samplers.chain import sampling

REFERENCE = 10_000
"""Training rows in a distance, at most."""
SCORED = 2_000
"""Rows of each set that are scored by the energy, at most."""
CHUNK = 500
LEAST = 4
"""Rows that a distance needs."""

Named = Iterator[tuple[str, Metric]]


class Sets(NamedTuple):
    """Rows to compare, on the CPU, finite; the reference is training rows in random order, as held-out rows are."""

    samples: Float[Tensor, "samples *event"]
    train: Float[Tensor, "train *event"]
    reference: Float[Tensor, "reference *event"]
    held_out: Float[Tensor, "held_out *event"]

    @property
    def compared(self) -> int:
        """As many samples as held-out rows: figures are only comparable with floors at equal n."""
        return min(len(self.samples), len(self.held_out))


def assess(
    energy: EnergyLike,
    samples: Float[Tensor, "samples *event"],
    *,
    train: Float[Tensor, "train *_event"],
    held_out: Float[Tensor, "held_out *_event"],
    rng: torch.Generator | None = None,
) -> Assessment:
    """Figures for samples, energies, memorisation and detection.

    A figure that cannot be had is left out: those that need a classifier on data that none knows, those
    that need images on tables, those that need samples when none is finite.

    Args:
        energy: Scores rows; evaluated where its parameters are.
        samples: Of the model.
        train: What it was trained on.
        held_out: What it never saw. Floors use as many of these as samples.
        rng: On the CPU. For noise, and for the choice of rows when there are more than needed.

    Raises:
        ValueError: If event shapes differ, or there are fewer than four training or held-out rows.
    """
    _check(samples, train, held_out)
    support = as_energy(energy).support
    drawn = samples.detach().float().cpu()
    usable = rows.finite(drawn)
    scores = torch.full((len(drawn),), torch.nan)
    scores[usable] = energies(energy, drawn[usable])
    usable = scores.isfinite()
    train = train.detach().float().cpu()
    sets = Sets(drawn[usable], train, _some(train, REFERENCE, rng), _some(held_out, len(held_out), rng))
    shown = Sets(*(in_grey(x, support) for x in sets))
    classifier = _judge_of(shown)
    scored = _scored(energy, sets, rng) | {"samples": scores[usable]}
    metrics = dict(
        [
            *_distances(shown, classifier),
            *_classes(shown, classifier),
            *_memorisation(sets),
            *_detection(scored),
            *_levels(scored),
            ("non_finite", Metric(Estimate(float((~usable).sum()), 0.0))),
            *_failures(scored),
        ]
    )
    return Assessment(
        metrics=metrics,
        classifier=None if classifier is None else Judge(classifier.name, classifier.sha256),
        samples=len(samples),
        compared=sets.compared,
        train=len(train),
        held_out=len(held_out),
        energies={_histogram_name(name): values[values.isfinite()] for name, values in scored.items()},
    )


def energies(energy: EnergyLike, x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
    """The energy of each row on the CPU: evaluation mode, no gradients, chunks; the mode is restored."""
    energy = as_energy(energy)
    device = device_of(energy)
    with sampling(energy):
        chunks = [evaluate_energy(energy, chunk.to(device)).energy for chunk in x.split(CHUNK) if len(chunk)]
    return torch.cat([torch.empty(0), *(values.float().cpu() for values in chunks)])


def _distances(sets: Sets, classifier: DigitClassifier | None) -> Named:
    """Frechet and kernel distance to training rows, with floors."""
    if sets.compared < LEAST:
        return
    n = sets.compared
    features, suffix = (classifier.features, "") if classifier else (raw_features, "/raw")
    model, real, reference = (features(x) for x in (sets.samples[:n], sets.held_out[:n], sets.reference))
    if model is None or real is None or reference is None:
        return
    yield (
        f"frechet_distance{suffix}",
        Metric(frechet_distance(model, reference), floor=floor(reference, real, n).value),
    )
    # Unbiased at any n, so fewer training rows do; its cost is quadratic.
    few = reference[:SCORED]
    yield f"kernel_distance{suffix}", Metric(kernel_distance(model, few), floor=kernel_distance(real, few).value)


def _classes(sets: Sets, classifier: DigitClassifier | None) -> Named:
    """What the classifier sees in samples, and in as many held-out rows or all that there are."""
    if classifier is None or sets.compared < LEAST:
        return
    model = classifier.probabilities(sets.samples)
    real = classifier.probabilities(sets.held_out[: len(sets.samples)])
    yield "class_kl", Metric(class_kl(model), floor=class_kl(real).value)
    yield "confidence", Metric(mean_confidence(model))
    yield "confidence_held_out", Metric(mean_confidence(real))


def _memorisation(sets: Sets) -> Named:
    if len(sets.samples) >= LEAST:
        yield "nearest_train_distance", Metric(nearest_distance(sets.samples, sets.train))
    held_out = sets.held_out[: max(LEAST, len(sets.samples))]
    yield "nearest_train_distance_held_out", Metric(nearest_distance(held_out, sets.train))


def _detection(scored: dict[str, Tensor]) -> Named:
    # An infinite energy can be ranked, only NaN cannot.
    ranked = {name: values[~values.isnan()] for name, values in scored.items()}
    for name, outlier in ranked.items():
        if name not in ("train", "held_out", "samples") and min(len(ranked["held_out"]), len(outlier)) >= 2:
            yield f"auroc/{name}", Metric(auroc(ranked["held_out"], outlier))


def _levels(scored: dict[str, Tensor]) -> Named:
    for name in ("train", "held_out", "samples", "noise"):
        values = _finite(scored[name])
        if len(values) >= 2:
            yield f"energy/{name}", Metric(Estimate.of_mean(values))


def _failures(scored: dict[str, Tensor]) -> Named:
    for name, values in scored.items():
        lost = len(values) - len(_finite(values))
        if lost:
            yield f"non_finite/{name}", Metric(Estimate(float(lost), 0.0))


def _scored(energy: EnergyLike, sets: Sets, rng: torch.Generator | None) -> dict[str, Tensor]:
    held_out = sets.held_out[:SCORED]
    by_name = {
        "train": sets.reference[:SCORED],
        "held_out": held_out,
        **shifted(held_out, rng, support=as_energy(energy).support),
    }
    return {name: energies(energy, x) for name, x in by_name.items()}


def _judge_of(sets: Sets) -> DigitClassifier | None:
    classifier = classifier_for(tuple(sets.held_out.shape[1:]))
    return classifier if classifier and recognises(classifier, sets.held_out[:SCORED]) else None


def _histogram_name(name: str) -> str:
    """As scores are stored: training rows are the data, shifts other than noise are ``ood/``."""
    plain = {"train": "data", "held_out": "held_out", "samples": "samples", "noise": "noise"}
    return plain.get(name, f"ood/{name}")


def _some(x: Tensor, count: int, rng: torch.Generator | None) -> Tensor:
    """At most `count` rows in random order: data sets come sorted, and the first n rows must be any n rows."""
    return x.detach()[torch.randperm(len(x), generator=rng)[:count]].float().cpu()


def _finite(values: Float[Tensor, " batch"]) -> Float[Tensor, " finite"]:
    return values[values.isfinite()]


def device_of(energy: Energy) -> torch.device:
    """Where an energy's tensors are; the CPU for one without any."""
    tensors = [*energy.parameters(), *energy.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def _check(samples: Tensor, train: Tensor, held_out: Tensor) -> None:
    if not samples.shape[1:] == train.shape[1:] == held_out.shape[1:]:
        raise ValueError(
            "An assessment compares rows of one event shape, but got samples "
            f"{tuple(samples.shape)}, training rows {tuple(train.shape)}, held-out rows {tuple(held_out.shape)}."
        )
    if min(len(train), len(held_out)) < LEAST:
        raise ValueError(
            f"An assessment needs at least {LEAST} training and held-out rows, but got {len(train)} and "
            f"{len(held_out)}; hold out more."
        )
