"""Regularizers: strength x penalty over groups, with their exact prox.

Each is a `keras.regularizers.Regularizer`: `reg(w)` is a scalar loss term,
and a stock `keras.Model` trains with it by its subgradient. Most also have
`reg.proximal(w, step)`, which a `ProximalModel` uses to set whole groups and
single weights exactly to zero.
"""

from keras_nonconvex.regularizers.base import REGISTRY
from keras_nonconvex.regularizers.base import Regularizer
from keras_nonconvex.regularizers.base import Terms
from keras_nonconvex.regularizers.envelope import GroupSparseEnvelope
from keras_nonconvex.regularizers.generic import Elementwise
from keras_nonconvex.regularizers.generic import Group
from keras_nonconvex.regularizers.generic import SparseGroup
from keras_nonconvex.regularizers.hierarchical import HierarchicalGroup
from keras_nonconvex.regularizers.hoyer import GroupHoyerSquare
from keras_nonconvex.regularizers.hoyer import HoyerSquare
from keras_nonconvex.regularizers.lookup import get
from keras_nonconvex.regularizers.named_group import GroupL0
from keras_nonconvex.regularizers.named_group import GroupLasso
from keras_nonconvex.regularizers.named_group import GroupLp
from keras_nonconvex.regularizers.named_group import GroupMCP
from keras_nonconvex.regularizers.named_group import GroupSCAD
from keras_nonconvex.regularizers.named_group import GroupTL1
from keras_nonconvex.regularizers.named_sparse_group import ExclusiveSparsity
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupL0
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupL1
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupL1L2
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupLp
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupMCP
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupSCAD
from keras_nonconvex.regularizers.named_sparse_group import SparseGroupTL1
from keras_nonconvex.regularizers.orthogonality import OrthoReg

__all__ = [
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
    "REGISTRY",
    "Regularizer",
    "SparseGroup",
    "SparseGroupL0",
    "SparseGroupL1",
    "SparseGroupL1L2",
    "SparseGroupLp",
    "SparseGroupMCP",
    "SparseGroupSCAD",
    "SparseGroupTL1",
    "Terms",
    "get",
]
