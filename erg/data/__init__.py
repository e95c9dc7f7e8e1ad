"""Data sets, one's own files, and batches of them."""

from erg.data.batches import batches
from erg.data.binary import binarise, in_grey
from erg.data.catalogue import Known, available, load
from erg.data.dataset import Dataset, Scaling, Split
from erg.data.inputs import read_inputs

__all__ = [
    "Dataset",
    "Known",
    "Scaling",
    "Split",
    "available",
    "batches",
    "binarise",
    "in_grey",
    "load",
    "read_inputs",
]
