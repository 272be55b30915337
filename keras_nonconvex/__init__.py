"""keras-nonconvex: nonconvex group sparsity and filter pruning for Keras 3.

The public page: everything a user types, re-exported.
"""

from keras_nonconvex import callbacks
from keras_nonconvex import constraints
from keras_nonconvex import datasets
from keras_nonconvex import models
from keras_nonconvex import penalties
from keras_nonconvex import pruning
from keras_nonconvex import regularizers
from keras_nonconvex import solvers
from keras_nonconvex.compression import distribution
from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.compression.run import compress
from keras_nonconvex.counts import summary
from keras_nonconvex.pruning import PruningPlan
from keras_nonconvex.pruning import prune
from keras_nonconvex.pruning import repair
from keras_nonconvex.regularizers import Elementwise
from keras_nonconvex.regularizers import ExclusiveSparsity
from keras_nonconvex.regularizers import Group
from keras_nonconvex.regularizers import GroupHoyerSquare
from keras_nonconvex.regularizers import GroupL0
from keras_nonconvex.regularizers import GroupLasso
from keras_nonconvex.regularizers import GroupLp
from keras_nonconvex.regularizers import GroupMCP
from keras_nonconvex.regularizers import GroupSCAD
from keras_nonconvex.regularizers import GroupSparseEnvelope
from keras_nonconvex.regularizers import GroupTL1
from keras_nonconvex.regularizers import HierarchicalGroup
from keras_nonconvex.regularizers import HoyerSquare
from keras_nonconvex.regularizers import OrthoReg
from keras_nonconvex.regularizers import SparseGroup
from keras_nonconvex.regularizers import SparseGroupL0
from keras_nonconvex.regularizers import SparseGroupL1
from keras_nonconvex.regularizers import SparseGroupL1L2
from keras_nonconvex.regularizers import SparseGroupLp
from keras_nonconvex.regularizers import SparseGroupMCP
from keras_nonconvex.regularizers import SparseGroupSCAD
from keras_nonconvex.regularizers import SparseGroupTL1
from keras_nonconvex.training.attachment import attach
from keras_nonconvex.training.attachment import strip
from keras_nonconvex.training.coupled import CoupledEnvelope
from keras_nonconvex.training.coupled import CoupledGroups
from keras_nonconvex.training.flow import feature_flow
from keras_nonconvex.training.model import ProximalMixin
from keras_nonconvex.training.model import ProximalModel
from keras_nonconvex.training.recovery import fine_tune
from keras_nonconvex.training.recovery import recalibrate
from keras_nonconvex.training.strength import strength_max
from keras_nonconvex.training.strength import strength_path
from keras_nonconvex.version import __version__

__all__ = [
    "CoupledEnvelope",
    "CoupledGroups",
    "Elementwise",
    "ExclusiveSparsity",
    "Group",
    "GroupHoyerSquare",
    "GroupL0",
    "GroupLasso",
    "GroupLp",
    "GroupMCP",
    "GroupSCAD",
    "GroupSparseEnvelope",
    "GroupTL1",
    "HierarchicalGroup",
    "HoyerSquare",
    "OrthoReg",
    "ProximalMixin",
    "ProximalModel",
    "PruningPlan",
    "Recipe",
    "SparseGroup",
    "SparseGroupL0",
    "SparseGroupL1",
    "SparseGroupL1L2",
    "SparseGroupLp",
    "SparseGroupMCP",
    "SparseGroupSCAD",
    "SparseGroupTL1",
    "__version__",
    "attach",
    "callbacks",
    "compress",
    "constraints",
    "datasets",
    "distribution",
    "feature_flow",
    "fine_tune",
    "models",
    "penalties",
    "prune",
    "pruning",
    "regularizers",
    "recalibrate",
    "repair",
    "solvers",
    "strength_max",
    "strength_path",
    "strip",
    "summary",
]
