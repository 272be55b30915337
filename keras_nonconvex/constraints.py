"""Constraints: hard limits on how much of a kernel lives.

`kernel_constraint=MaxActiveGroups(16)` projects the kernel after every
optimizer step onto those with at most 16 nonzero groups.
"""

import math

import keras
from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.tensors import in_full_precision
from keras_nonconvex.tensors import largest


class KeepLargest(keras.constraints.Constraint):
    """Keeps the k largest of some scores, the first ones where scores tie."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)

    def __init__(self, k):
        self.k = group_patterns.check_count(k, whole=True)

    def scores(self, w):
        """One score per unit that is kept or dropped, broadcastable to w."""
        raise NotImplementedError

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        scores = self.scores(in_full_precision(w))
        k = int(group_patterns.count_of(self.k, math.prod(scores.shape)))
        # What is not a number stays so: a diverged kernel is not hidden.
        keep = ops.logical_or(largest(scores, k), ops.isnan(w))
        return ops.where(keep, w, ops.zeros_like(w))

    def get_config(self):
        return {"k": self.k}

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"


class MaxNonzero(KeepLargest):
    """At most k nonzero weights: the k of largest magnitude.

    Args:
        k: A whole number above 0, or a percentage such as "25%".
    """

    def scores(self, w):
        return ops.abs(w)


class MaxActiveGroups(KeepLargest):
    """At most k nonzero groups: the k of largest l2 norm.

    Args:
        k: A whole number above 0, or a percentage such as "25%".
        groups: A group pattern or the kernel axes that a group spans.
    """

    def __init__(self, k, groups="filters"):
        super().__init__(k)
        self.groups = group_patterns.check(groups)

    def scores(self, w):
        axes = group_patterns.reduced_axes(self.groups, len(w.shape))
        return group_patterns.norms(w, axes)

    def for_layout(self, rank, layout):
        """The same, for a kernel with another layout than Dense's."""
        groups = group_patterns.in_layout(self.groups, rank, layout)
        return self if groups == self.groups else type(self)(self.k, groups)

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}
