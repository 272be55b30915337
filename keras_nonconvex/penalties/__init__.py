"""Penalties: how much a weight, or the norm of a group, costs.

A penalty carries no strength and knows no kernel: those are the
regularizer's (`keras_nonconvex.regularizers`). Each of the two modules lists
its penalties in `__all__`.
"""

from keras_nonconvex.penalties import scalar
from keras_nonconvex.penalties import vector
from keras_nonconvex.penalties.base import REGISTRY
from keras_nonconvex.penalties.base import BasePenalty
from keras_nonconvex.penalties.base import Penalty
from keras_nonconvex.penalties.base import parameter
from keras_nonconvex.penalties.scalar import *  # noqa: F403
from keras_nonconvex.penalties.vector import *  # noqa: F403

__all__ = ["BasePenalty", "Penalty", "REGISTRY", "parameter"]
__all__ += scalar.__all__
__all__ += vector.__all__
