"""Filters that are orthogonal to each other."""

import math

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.regularizers.base import Regularizer


class OrthoReg(Regularizer):
    """strength * ||P P^T - I||, with one group of the kernel per row of P.

    Where groups outnumber their weights it is P^T P. Independent filters make
    the loss that their removal costs add up. The entrywise l1 norm is that of
    Lubana, Trivedi, Hougen, Dick, OrthoReg, 2020; the squared l2 (Frobenius)
    norm is smooth. No prox: trained by its gradient.

    Args:
        strength: Number >= 0.
        groups: As for `Group`.
        norm: "l2" or "l1".
    """

    has_prox = False

    def __init__(self, strength=1e-4, groups="filters", norm="l2"):
        super().__init__(strength)
        self.groups = group_patterns.check(groups)
        self.norm = checks.choice("norm", norm, ("l2", "l1"))

    def value(self, w):
        rank = len(w.shape)
        axes = group_patterns.reduced_axes(self.groups, rank)
        kept = [axis for axis in range(rank) if axis not in axes]
        rows = math.prod(w.shape[axis] for axis in kept)
        p = ops.reshape(ops.transpose(w, (*kept, *axes)), (rows, -1))
        if p.shape[0] > p.shape[1]:
            p = ops.transpose(p)
        # (`ops.matmul` rounds float64 to float32 on torch.)
        gram = p @ ops.transpose(p)
        gap = gram - ops.eye(gram.shape[0], dtype=gram.dtype)
        entry = ops.square(gap) if self.norm == "l2" else ops.abs(gap)
        return self.strength * ops.sum(entry)

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "norm": self.norm,
        }
