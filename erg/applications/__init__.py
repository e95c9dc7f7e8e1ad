"""What an energy is good for."""

from erg.applications.completion import Posterior, fill
from erg.applications.denoising import denoise
from erg.applications.layerwise import Pairs, PretrainedDBM, layer_machines, pretrained_dbm, stacked
from erg.applications.memory import Recall, Sweeps, Synchronous, Update, recall
from erg.applications.pretraining import pretrained

__all__ = [
    "Pairs",
    "Posterior",
    "PretrainedDBM",
    "Recall",
    "Sweeps",
    "Synchronous",
    "Update",
    "denoise",
    "fill",
    "layer_machines",
    "pretrained",
    "pretrained_dbm",
    "recall",
    "stacked",
]
