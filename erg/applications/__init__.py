"""What an energy is good for."""

from erg.applications.completion import Posterior, fill
from erg.applications.denoising import denoise
from erg.applications.memory import Recall, Sweeps, Synchronous, Update, recall
from erg.applications.pretraining import pretrained

__all__ = [
    "Posterior",
    "Recall",
    "Sweeps",
    "Synchronous",
    "Update",
    "denoise",
    "fill",
    "pretrained",
    "recall",
]
