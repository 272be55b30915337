"""Solvers: how loss + penalty is minimised. One file each."""

from keras_nonconvex.solvers.proximal import ProximalGradient

__all__ = ["ProximalGradient"]
