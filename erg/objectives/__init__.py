"""Objectives compare data with the model."""

from erg.objectives.combined import Conditional, Weighted
from erg.objectives.likelihood import MaximumLikelihood, Phases
from erg.objectives.penalties import Gradient, Magnitude

__all__ = ["Conditional", "Gradient", "Magnitude", "MaximumLikelihood", "Phases", "Weighted"]
