"""Penalties: how much a weight, or the norm of a group, costs.

A penalty carries no strength and knows no kernel: those are the
regularizer's (`keras_nonconvex.regularizers`).
"""

from keras_nonconvex.penalties.base import REGISTRY
from keras_nonconvex.penalties.base import Penalty
from keras_nonconvex.penalties.base import parameter
from keras_nonconvex.penalties.scalar import CEL0
from keras_nonconvex.penalties.scalar import L0
from keras_nonconvex.penalties.scalar import L1
from keras_nonconvex.penalties.scalar import MCP
from keras_nonconvex.penalties.scalar import SCAD
from keras_nonconvex.penalties.scalar import CappedL1
from keras_nonconvex.penalties.scalar import Firm
from keras_nonconvex.penalties.scalar import LogSum
from keras_nonconvex.penalties.scalar import Lp
from keras_nonconvex.penalties.scalar import TransformedL1
from keras_nonconvex.penalties.vector import L1MinusL2
from keras_nonconvex.penalties.vector import SquaredL1
from keras_nonconvex.penalties.vector import VectorPenalty

__all__ = [
    "CEL0",
    "CappedL1",
    "Firm",
    "L0",
    "L1",
    "L1MinusL2",
    "LogSum",
    "Lp",
    "MCP",
    "Penalty",
    "REGISTRY",
    "SCAD",
    "SquaredL1",
    "TransformedL1",
    "VectorPenalty",
    "parameter",
]
