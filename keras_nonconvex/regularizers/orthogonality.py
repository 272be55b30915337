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

    The authors' own is `OrthoReg(c / n, norm="l1", bias=True,
    layer_weight="sqrt")` on all layers, with n the sum of the square roots of
    their numbers of filters, and c = 1e-2, or 1e-3 for MobileNet.

    Reference: Lubana, Trivedi, Hougen, Dick, OrthoReg, 2020.

    Args:
        strength: Number >= 0, the factor of the norm. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for `Group`.
            Defaults to `"filters"`.
        norm: `"l2"` for the sum of the squared entries, which is smooth, or
            `"l1"` for the sum of their magnitudes. Defaults to `"l2"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `Group`. Defaults to `0.0`.
        bias: Whether the bias of a filter, where the layer has one, is one
            more weight of its row of P. A `ProximalModel` tells the
            regularizer its layer; no other model does. Defaults to `False`.
        layer_weight: `"sqrt"` for a factor of the square root of the number
            of groups; or None for none. Defaults to `None`.

    Example:
    ```python
    layer = keras.layers.Conv2D(
        32, 3, kernel_regularizer=knc.OrthoReg(1e-3)
    )
    ```
    """

    has_prox = False

    def __init__(
        self,
        strength=1e-4,
        groups="filters",
        norm="l2",
        decay=0.0,
        bias=False,
        layer_weight=None,
    ):
        super().__init__(strength, decay)
        self.groups = group_patterns.check(groups)
        self.norm = checks.choice("norm", norm, ("l2", "l1"))
        self.bias = bool(bias)
        self.layer_weight = checks.choice(
            "layer_weight", layer_weight, (None, "sqrt")
        )
        # The layer that it acts on, once it is told.
        self.layer = None

    def for_layer(self, layer):
        return self._with(layer=layer) if self.bias else self

    def plain_value(self, w):
        rank = len(w.shape)
        axes = group_patterns.reduced_axes(self.groups, rank)
        kept = [axis for axis in range(rank) if axis not in axes]
        rows = math.prod(w.shape[axis] for axis in kept)
        p = ops.reshape(ops.transpose(w, (*kept, *axes)), (rows, -1))
        if self.bias:
            p = self._with_bias(p)
        if p.shape[0] > p.shape[1]:
            p = ops.transpose(p)
        # (`ops.matmul` rounds float64 to float32 on torch.)
        gram = p @ ops.transpose(p)
        gap = gram - ops.eye(gram.shape[0], dtype=gram.dtype)
        entry = ops.square(gap) if self.norm == "l2" else ops.abs(gap)
        weight = math.sqrt(rows) if self.layer_weight == "sqrt" else 1.0
        return self.strength * weight * ops.sum(entry)

    def _with_bias(self, p):
        """P with the biases of the layer as its last column."""
        if self.layer is None:
            raise ValueError(
                "OrthoReg with bias=True needs a ProximalModel, which tells it "
                f"the layer. Received: {self!r} in a stock model"
            )
        bias = getattr(self.layer, "bias", None)
        if bias is None:
            return p
        if tuple(bias.shape) != (p.shape[0],):
            raise ValueError(
                "Argument `bias` of OrthoReg must be False where groups are "
                f"not the filters. Received: bias=True, groups={self.groups!r}"
                f" in layer {self.layer.name!r}"
            )
        column = ops.cast(ops.convert_to_tensor(bias), p.dtype)
        return ops.concatenate([p, column[:, None]], axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "norm": self.norm,
            "bias": self.bias,
            "layer_weight": self.layer_weight,
        }
