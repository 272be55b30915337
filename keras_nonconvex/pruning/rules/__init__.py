"""Rules: how channels pass each layer type. One file per family."""

from keras_nonconvex.pruning.rules import elementwise
from keras_nonconvex.pruning.rules import merging
from keras_nonconvex.pruning.rules import moving
from keras_nonconvex.pruning.rules import normalizing
from keras_nonconvex.pruning.rules import pooling
from keras_nonconvex.pruning.rules import selecting
from keras_nonconvex.pruning.rules import sequences
from keras_nonconvex.pruning.rules import shuffling
from keras_nonconvex.pruning.rules import weighted
from keras_nonconvex.pruning.rules.base import REGISTRY
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Cut
from keras_nonconvex.pruning.rules.base import Kept
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import find
from keras_nonconvex.pruning.rules.base import inmost
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule

__all__ = [
    "REGISTRY",
    "CannotFollow",
    "Cut",
    "Kept",
    "Rule",
    "Tensor",
    "elementwise",
    "find",
    "inmost",
    "merging",
    "moving",
    "normalizing",
    "pooling",
    "positions",
    "rule",
    "selecting",
    "sequences",
    "shuffling",
    "weighted",
]
