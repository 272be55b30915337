"""Callbacks for sparse training.

They go into `fit(callbacks=[...])`. `StrengthSchedule`, `CountSchedule`, and
`TargetSparsity` where it changes the strength, need a `ProximalModel`; the
others serve any Keras model.
"""

from keras_nonconvex.callbacks.freeze import Freeze
from keras_nonconvex.callbacks.monitor import SparsityMonitor
from keras_nonconvex.callbacks.schedule import CountSchedule
from keras_nonconvex.callbacks.schedule import StrengthSchedule
from keras_nonconvex.callbacks.soft_pruning import SoftPruning
from keras_nonconvex.callbacks.target import TargetSparsity

__all__ = [
    "CountSchedule",
    "Freeze",
    "SoftPruning",
    "SparsityMonitor",
    "StrengthSchedule",
    "TargetSparsity",
]
