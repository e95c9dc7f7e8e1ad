"""Kernels for bits, spins and categories."""
