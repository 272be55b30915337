"""Rules: how channels pass each layer type. One file per family."""

from keras_nonconvex.pruning.rules import elementwise
from keras_nonconvex.pruning.rules import merging
from keras_nonconvex.pruning.rules import weighted
from keras_nonconvex.pruning.rules.base import REGISTRY
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import rule

__all__ = [
    "REGISTRY",
    "Rule",
    "Tensor",
    "elementwise",
    "merging",
    "rule",
    "weighted",
]
