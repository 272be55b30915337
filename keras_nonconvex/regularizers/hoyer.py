"""Hoyer-square: a scale-free measure of sparsity (DeepHoyer).

Yang, Wen, Li, DeepHoyer: Learning Sparser Neural Network with Differentiable
Sparsity Measures, ICLR 2020. The measures have no prox: they train by their
gradient, which makes weights small, and pruning removes the small ones.
"""

from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.regularizers.base import Regularizer
from keras_nonconvex.tensors import divisor


def _scaled(w):
    """`w` scaled to a maximum of 1, so that squares cannot underflow.

    The measure does not change with the scale.
    """
    scale = ops.stop_gradient(ops.max(ops.abs(w)))
    return w / divisor(scale)


def _ratio(total, squares):
    ratio = ops.square(total) / divisor(squares)
    return ops.where(squares > 0, ratio, ops.zeros_like(ratio))


class HoyerSquare(Regularizer):
    """strength * (sum_i |w_i|)^2 / sum_i w_i^2, from 1 to the weight count.

    Its gradient shrinks the weights below ||w||_2^2 / ||w||_1 and grows the
    others. It has no prox.

    Args:
        strength: Number >= 0, the factor of the measure. Defaults to `1e-4`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `Group`. Defaults to `0.0`.
    """

    has_prox = False

    def __init__(self, strength=1e-4, decay=0.0):
        super().__init__(strength, decay)

    def plain_value(self, w):
        w = _scaled(w)
        return self.strength * _ratio(
            ops.sum(ops.abs(w)), ops.sum(ops.square(w))
        )


class GroupHoyerSquare(Regularizer):
    """strength * sum over groupings of (sum_g ||w_g||)^2 / sum_g ||w_g||^2.

    It has no prox.

    Args:
        strength: Number >= 0, the factor of the measure. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for `Group`; or a
            sequence of these, whose terms are added. Defaults to `("filters",
            "input_channels")`, as in the paper.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `Group`. Defaults to `0.0`.
    """

    has_prox = False

    def __init__(
        self, strength=1e-4, groups=("filters", "input_channels"), decay=0.0
    ):
        super().__init__(strength, decay)
        several = isinstance(groups, (list, tuple)) and not all(
            isinstance(g, int) for g in groups
        )
        self.groups = tuple(
            group_patterns.check(g) for g in (groups if several else [groups])
        )

    def plain_value(self, w):
        w, total = _scaled(w), 0.0
        for groups in self.groups:
            axes = group_patterns.reduced_axes(groups, len(w.shape))
            total = total + _ratio(
                ops.sum(group_patterns.norms(w, axes)),
                ops.sum(ops.square(w)),
            )
        return self.strength * total

    def for_layout(self, rank, layout):
        needed = tuple(
            group_patterns.in_layout(groups, rank, layout)
            for groups in self.groups
        )
        if needed == self.groups:
            return self
        return type(self).from_config({**self.get_config(), "groups": needed})

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}
