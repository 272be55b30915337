"""Experiments in many sittings: the commands of the papers are made of this."""

from keras_nonconvex.experiments.commands import command
from keras_nonconvex.experiments.commands import parser
from keras_nonconvex.experiments.figures import curves
from keras_nonconvex.experiments.living import Living
from keras_nonconvex.experiments.living import convolutions
from keras_nonconvex.experiments.living import living
from keras_nonconvex.experiments.near_zeros import cleared
from keras_nonconvex.experiments.near_zeros import near_zeros
from keras_nonconvex.experiments.networks import STATISTICS
from keras_nonconvex.experiments.networks import normalized
from keras_nonconvex.experiments.networks import with_decay
from keras_nonconvex.experiments.parts import part
from keras_nonconvex.experiments.table import Table
from keras_nonconvex.experiments.table import columns
from keras_nonconvex.experiments.table import over_seeds
from keras_nonconvex.experiments.table import spread
from keras_nonconvex.experiments.trainings import accuracy
from keras_nonconvex.experiments.trainings import drops
from keras_nonconvex.experiments.trainings import file_of
from keras_nonconvex.experiments.trainings import trained

__all__ = [
    "Living",
    "STATISTICS",
    "Table",
    "accuracy",
    "cleared",
    "columns",
    "command",
    "convolutions",
    "curves",
    "drops",
    "file_of",
    "near_zeros",
    "living",
    "normalized",
    "over_seeds",
    "parser",
    "part",
    "spread",
    "trained",
    "with_decay",
]
