"""What an energy is good for."""

from erg.applications.memory import Recall, Sweeps, Synchronous, Update, recall

__all__ = ["Recall", "Sweeps", "Synchronous", "Update", "recall"]
