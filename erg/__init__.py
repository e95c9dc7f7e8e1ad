"""Energy-based models in PyTorch.

*An energy scores, a kernel moves, negatives supply, an objective compares, training repeats.*
"""

__version__ = "0.1.0"
