"""Criteria: which channel classes matter least.

`weights` and `samples` list their criteria in `__all__`.
"""

from keras_nonconvex.pruning.criteria import samples
from keras_nonconvex.pruning.criteria import weights
from keras_nonconvex.pruning.criteria.base import REGISTRY
from keras_nonconvex.pruning.criteria.base import Scored
from keras_nonconvex.pruning.criteria.base import combined
from keras_nonconvex.pruning.criteria.base import criterion
from keras_nonconvex.pruning.criteria.base import estimates_loss
from keras_nonconvex.pruning.criteria.base import name_of
from keras_nonconvex.pruning.criteria.base import needs_data
from keras_nonconvex.pruning.criteria.base import scores_of
from keras_nonconvex.pruning.criteria.samples import *  # noqa: F403
from keras_nonconvex.pruning.criteria.weights import *  # noqa: F403

__all__ = [
    "REGISTRY",
    "Scored",
    "combined",
    "criterion",
    "estimates_loss",
    "name_of",
    "needs_data",
    "scores_of",
]
__all__ += weights.__all__
__all__ += samples.__all__
