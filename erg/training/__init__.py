"""Training repeats an update."""

from erg.training.loop import train

__all__ = ["train"]
