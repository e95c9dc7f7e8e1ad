"""Estimators with scikit-learn's conventions. Not imported by `import erg`, as scikit-learn takes its time."""

from erg.sklearn.rbm import RBM

__all__ = ["RBM"]
