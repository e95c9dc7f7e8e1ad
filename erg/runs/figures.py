"""The figures of a look during training: cheap ones, without errors; `erg evaluate` has the careful ones."""

import torch
from torch import Tensor

from erg.data import in_grey
from erg.energies.energy import Energy
from erg.evaluation.assess import energies
from erg.evaluation.coverage import class_kl, mean_confidence
from erg.evaluation.detection import auroc
from erg.evaluation.features import classifier_for, recognises
from erg.evaluation.shifts import shifted
from erg.evaluation.two_sample import frechet_distance, kernel_distance


def figures(
    energy: Energy, samples: Tensor, *, train: Tensor, held_out: Tensor, rng: torch.Generator
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Numbers by name, and the energies of each set of rows by the set's name.

    ``quality`` is what the best checkpoint is chosen by, smaller is better: the Frechet distance of
    samples to training rows in a classifier's features where there is one for this shape, and the
    kernel distance of the rows themselves elsewhere.
    """
    others = shifted(held_out, rng, support=energy.support)
    sets = {"train": train, "held_out": held_out, "samples": samples, **others}
    scored = {name: energies(energy, rows) for name, rows in sets.items()}
    values = {f"energy/{name}": float(per_row.mean()) for name, per_row in scored.items()}
    values["gap/train"] = values["energy/held_out"] - values["energy/train"]
    values["gap/noise"] = values["energy/noise"] - values["energy/held_out"]
    for name in others:
        values[f"auroc/{name}"] = auroc(scored["held_out"], scored[name]).value
    finite = samples[samples.flatten(1).isfinite().all(1)]
    samples, train = (in_grey(rows, energy.support).cpu() for rows in (finite, train))
    return values | _quality(samples, train), scored


def _quality(samples: Tensor, train: Tensor) -> dict[str, float]:
    if len(samples) < 4:
        return {"quality": float("inf")}
    classifier = classifier_for(tuple(train.shape[1:]))
    if classifier is None or not recognises(classifier, train):
        return {"quality": kernel_distance(samples.flatten(1), train.flatten(1)).value}
    distance = frechet_distance(classifier.features(samples), classifier.features(train)).value
    probabilities = classifier.probabilities(samples)
    return {
        "quality": distance,
        "class_kl": class_kl(probabilities).value,
        "confidence": mean_confidence(probabilities).value,
    }
