"""Energy-based models in PyTorch.

*An energy scores, a kernel moves, negatives supply, an objective compares, training repeats.*
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erg.energies import Energy, Neural
    from erg.estimate import Estimate
    from erg.negatives import Every, FromData, FromNoise, Persistent, Repeated
    from erg.objectives import Gradient, Magnitude, MaximumLikelihood, Weighted
    from erg.samplers import mala, random_walk, sgld, ula
    from erg.samplers.chain import chain, sample
    from erg.training import train

__version__ = "0.1.0"

# Looked up when first used: torch takes seconds to import, and `erg --help` answers without it.
_HOMES = {
    "erg.energies": ("Energy", "Neural"),
    "erg.estimate": ("Estimate",),
    "erg.negatives": ("Every", "FromData", "FromNoise", "Persistent", "Repeated"),
    "erg.objectives": ("Gradient", "Magnitude", "MaximumLikelihood", "Weighted"),
    "erg.samplers": ("chain", "mala", "random_walk", "sample", "sgld", "ula"),
    "erg.training": ("train",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Energy",
    "Estimate",
    "Every",
    "FromData",
    "FromNoise",
    "Gradient",
    "Magnitude",
    "MaximumLikelihood",
    "Neural",
    "Persistent",
    "Repeated",
    "Weighted",
    "chain",
    "mala",
    "random_walk",
    "sample",
    "sgld",
    "train",
    "ula",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'erg' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
