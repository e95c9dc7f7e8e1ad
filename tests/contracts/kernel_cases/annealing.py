"""A kernel that is biased by name."""

from erg.samplers import Biased, ula

KERNELS = {"Biased": Biased(ula(0.05))}
EXACT: set[str] = set()
DETERMINISTIC: set[str] = set()
