"""Explicit kernel modulation, W~ = g(W; U): small MLPs that reshape frozen convolution kernels."""

from fewshot_km.models.modulation.modulator import KernelModulator, merge, modulate, modulator_names

__all__ = ["KernelModulator", "merge", "modulate", "modulator_names"]
