"""Data sets and batches of them."""

from erg.data.batches import batches
from erg.data.catalogue import load
from erg.data.dataset import Dataset, Scaling, Split

__all__ = ["Dataset", "Scaling", "Split", "batches", "load"]
