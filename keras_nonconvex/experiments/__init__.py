"""Experiments in many sittings: the commands of the papers are made of this."""

from keras_nonconvex.experiments.commands import parser
from keras_nonconvex.experiments.networks import normalized
from keras_nonconvex.experiments.table import Table
from keras_nonconvex.experiments.table import over_seeds
from keras_nonconvex.experiments.table import spread
from keras_nonconvex.experiments.trainings import accuracy
from keras_nonconvex.experiments.trainings import drops
from keras_nonconvex.experiments.trainings import trained

__all__ = [
    "Table",
    "accuracy",
    "drops",
    "normalized",
    "over_seeds",
    "parser",
    "spread",
    "trained",
]
