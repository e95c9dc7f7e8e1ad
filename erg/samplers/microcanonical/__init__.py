"""Kernels of constant speed: MCLMC and MAMS."""
