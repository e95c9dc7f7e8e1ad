"""Kernels with momentum: HMC, NUTS and underdamped Langevin."""
