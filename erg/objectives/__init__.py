"""Objectives compare data with the model."""

from erg.objectives.centred import Centred
from erg.objectives.combined import Conditional, Weighted
from erg.objectives.cross_entropy import CrossEntropy, Paired
from erg.objectives.exact import ExactLikelihood
from erg.objectives.likelihood import MaximumLikelihood, Phases
from erg.objectives.penalties import Gradient, Magnitude
from erg.objectives.pseudolikelihood import PseudoLikelihood
from erg.objectives.ratio_matching import RatioMatching
from erg.objectives.sparsity import Sparsity
from erg.objectives.structure import LatticeRecovery, SparseCouplings
from erg.objectives.variational import VariationalLikelihood

__all__ = [
    "Centred",
    "Conditional",
    "CrossEntropy",
    "ExactLikelihood",
    "Gradient",
    "LatticeRecovery",
    "Magnitude",
    "MaximumLikelihood",
    "Paired",
    "Phases",
    "PseudoLikelihood",
    "RatioMatching",
    "SparseCouplings",
    "Sparsity",
    "VariationalLikelihood",
    "Weighted",
]
