"""Objectives compare data with the model."""

from erg.objectives.centred import Centred
from erg.objectives.combined import Conditional, Weighted
from erg.objectives.likelihood import MaximumLikelihood, Phases
from erg.objectives.penalties import Gradient, Magnitude
from erg.objectives.variational import VariationalLikelihood

__all__ = [
    "Centred",
    "Conditional",
    "Gradient",
    "Magnitude",
    "MaximumLikelihood",
    "Phases",
    "VariationalLikelihood",
    "Weighted",
]
