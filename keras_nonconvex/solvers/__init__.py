"""Solvers: how loss + penalty is minimised. One file each."""

from keras_nonconvex.solvers.admm import ADMM
from keras_nonconvex.solvers.base import Solver
from keras_nonconvex.solvers.lookup import get as get
from keras_nonconvex.solvers.proximal import ProximalGradient
from keras_nonconvex.solvers.slimming import ProximalSlimming
from keras_nonconvex.solvers.splitting import VariableSplitting
from keras_nonconvex.solvers.subgradient import Subgradient

__all__ = [
    "ADMM",
    "ProximalGradient",
    "ProximalSlimming",
    "Solver",
    "Subgradient",
    "VariableSplitting",
]
