"""keras-nonconvex: nonconvex group sparsity and filter pruning for Keras 3.

The public page: everything a user types, re-exported.
"""

from keras_nonconvex import callbacks
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import models
from keras_nonconvex import penalties
from keras_nonconvex import pruning
from keras_nonconvex import regularizers
from keras_nonconvex import solvers
from keras_nonconvex.attachment import attach
from keras_nonconvex.attachment import strip
from keras_nonconvex.compression import compress
from keras_nonconvex.counts import summary
from keras_nonconvex.pruning import PruningPlan
from keras_nonconvex.pruning import prune
from keras_nonconvex.recipe import Recipe
from keras_nonconvex.regularizers import Elementwise
from keras_nonconvex.regularizers import Group
from keras_nonconvex.regularizers import GroupL0
from keras_nonconvex.regularizers import GroupLasso
from keras_nonconvex.regularizers import GroupTL1
from keras_nonconvex.regularizers import SparseGroup
from keras_nonconvex.regularizers import SparseGroupL0
from keras_nonconvex.regularizers import SparseGroupL1
from keras_nonconvex.regularizers import SparseGroupTL1
from keras_nonconvex.training import ProximalMixin
from keras_nonconvex.training import ProximalModel
from keras_nonconvex.version import __version__

__all__ = [
    "Elementwise",
    "Group",
    "GroupL0",
    "GroupLasso",
    "GroupTL1",
    "ProximalMixin",
    "ProximalModel",
    "PruningPlan",
    "Recipe",
    "SparseGroup",
    "SparseGroupL0",
    "SparseGroupL1",
    "SparseGroupTL1",
    "__version__",
    "attach",
    "callbacks",
    "compress",
    "datasets",
    "files",
    "models",
    "penalties",
    "prune",
    "pruning",
    "regularizers",
    "solvers",
    "strip",
    "summary",
]
