"""Filters that are orthogonal to each other."""

import math

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.regularizers.base import Regularizer


class OrthoReg(Regularizer):
    """strength * ||P P^T - I||, with one group of the kernel per row of P.

    If there are more groups than weights in one, P^T P takes the place of
    P P^T. Once filters are independent of each other, the losses that their
    removals cost add up. It has no prox and trains by its gradient.

    Reference: Lubana, Trivedi, Hougen, Dick, OrthoReg, 2020, with the l1 norm.

    Args:
        strength: Number >= 0, the factor of the norm. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for `Group`.
            Defaults to `"filters"`.
        norm: `"l2"` for the sum of the squared entries, which is smooth, or
            `"l1"` for the sum of their magnitudes. Defaults to `"l2"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `Group`. Defaults to `0.0`.

    Example:
    ```python
    layer = keras.layers.Conv2D(
        32, 3, kernel_regularizer=knc.OrthoReg(1e-3)
    )
    ```
    """

    has_prox = False

    def __init__(self, strength=1e-4, groups="filters", norm="l2", decay=0.0):
        super().__init__(strength, decay)
        self.groups = group_patterns.check(groups)
        self.norm = checks.choice("norm", norm, ("l2", "l1"))

    def plain_value(self, w):
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
