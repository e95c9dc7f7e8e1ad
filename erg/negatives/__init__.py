r"""Negatives: what the model believes in now, the states whose energy training pushes up.

The same objective becomes contrastive divergence, its persistent form or short-run learning by the
choice made here: start at the data, at chains kept from the last update, or at noise. Wrappers change
how many negatives there are and how often they are refreshed.
"""

from erg.negatives.every import Every
from erg.negatives.persistent import Persistent
from erg.negatives.persistent_from_data import PersistentFromData
from erg.negatives.repeated import Repeated
from erg.negatives.restarted import FromData, FromNoise
from erg.negatives.tuned import Tuned

__all__ = ["Every", "FromData", "FromNoise", "Persistent", "PersistentFromData", "Repeated", "Tuned"]
