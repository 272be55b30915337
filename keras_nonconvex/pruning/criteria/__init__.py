"""Criteria: which channel classes matter least."""

from keras_nonconvex.pruning.criteria.base import REGISTRY
from keras_nonconvex.pruning.criteria.base import combined
from keras_nonconvex.pruning.criteria.base import criterion
from keras_nonconvex.pruning.criteria.base import name_of
from keras_nonconvex.pruning.criteria.base import needs_data
from keras_nonconvex.pruning.criteria.base import scores_of
from keras_nonconvex.pruning.criteria.samples import LossRise
from keras_nonconvex.pruning.criteria.samples import Taylor
from keras_nonconvex.pruning.criteria.weights import BNScale
from keras_nonconvex.pruning.criteria.weights import GeometricMedian
from keras_nonconvex.pruning.criteria.weights import GroupNorm
from keras_nonconvex.pruning.criteria.weights import Random

__all__ = [
    "REGISTRY",
    "BNScale",
    "GeometricMedian",
    "GroupNorm",
    "LossRise",
    "Random",
    "Taylor",
    "combined",
    "criterion",
    "name_of",
    "needs_data",
    "scores_of",
]
