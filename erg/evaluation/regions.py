"""Regions of the data, to see whether chains go from one to another: the classes of digits, or clusters."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erg.data import in_grey
from erg.evaluation.convergence import nearest_mode
from erg.evaluation.features import classifier_for, recognises
from erg.support import Real, Support

CLUSTERED = 1_000
CLUSTERS = 10


class Regions(NamedTuple):
    """Assigns rows to regions; for `mode_jumps`.

    Attributes:
        name: What they are, in the plural.
        assign: From rows (batch, *event) to the number of each row's region, on the CPU.
    """

    name: str
    assign: Callable[[Tensor], Tensor]


def regions_of(data: Float[Tensor, "rows *event"], *, support: Support = Real()) -> Regions:
    """Classes, where a shipped classifier knows such data; else the cells of up to ten cluster centres.

    Args:
        data: Rows to find them in.
        support: Where the rows live; classifiers see binary images as black and white.
    """
    classifier = classifier_for(tuple(data.shape[1:]))
    if classifier is not None and recognises(classifier, in_grey(data[:CLUSTERED], support)):
        return Regions("classes", lambda x: _most_probable(classifier.probabilities(in_grey(x, support))))
    return Regions("clusters", nearest_mode(_centres(data)))


def _most_probable(probabilities: Float[Tensor, "batch classes"]) -> Int[Tensor, " batch"]:
    return probabilities.argmax(1)


def _centres(data: Float[Tensor, "rows *event"]) -> Float[Tensor, "clusters *event"]:
    from sklearn.cluster import KMeans

    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    some = data[order[:CLUSTERED].to(data.device)].detach().cpu().float()
    flat = some.reshape(len(some), -1)
    # Scikit-learn warns when there are fewer distinct rows than clusters.
    count = min(CLUSTERS, len(flat.unique(dim=0)))
    found = KMeans(count, n_init=1, random_state=0).fit(flat.numpy())
    return torch.from_numpy(found.cluster_centers_).float().reshape(count, *data.shape[1:])
