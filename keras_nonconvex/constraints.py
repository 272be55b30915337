"""Constraints: hard limits on how much of a kernel is nonzero.

Keras applies a constraint after every optimizer step. These two project the
kernel onto those with at most k nonzero groups or weights.
"""

import math

import keras
from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.tensors import in_full_precision
from keras_nonconvex.tensors import largest


class KeepLargest(keras.constraints.Constraint):
    """Keeps what has the k largest scores; where scores tie, the first ones.

    Args:
        k: Whole number above 0, or a percentage such as `"25%"`.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)

    def __init__(self, k):
        self.k = group_patterns.check_count(k, whole=True)

    def scores(self, w):
        """One score per unit that is kept or zeroed; they broadcast to `w`."""
        raise NotImplementedError

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        scores = self.scores(in_full_precision(w))
        k = int(group_patterns.count_of(self.k, math.prod(scores.shape)))
        # NaN stays NaN, so that a diverged kernel is not hidden.
        keep = ops.logical_or(largest(scores, k), ops.isnan(w))
        return ops.where(keep, w, ops.zeros_like(w))

    def get_config(self):
        return {"k": self.k}

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"


class MaxNonzero(KeepLargest):
    """At most k nonzero weights: the k of largest magnitude.

    Where magnitudes tie, the first ones stay.

    Args:
        k: Whole number above 0, or a percentage of the weights such as
            `"25%"`.

    Example:
    ```python
    layer = keras.layers.Dense(
        64, kernel_constraint=knc.constraints.MaxNonzero("10%")
    )
    ```
    """

    def scores(self, w):
        return ops.abs(w)


class MaxActiveGroups(KeepLargest):
    """At most k nonzero groups: the k of largest l2 norm.

    Where norms tie, the first groups stay.

    Args:
        k: Whole number above 0, or a percentage of the groups such as `"25%"`.
        groups: String, or tuple of integers: which weights form a group.
            `"filters"` for all weights of one output channel,
            `"input_channels"` for all that read one input channel, `"kernels"`
            for one 2-D kernel, `"positions"` for one position of the filter
            shape, `"layer"` for the whole kernel, `"weights"` for single
            weights; or the kernel axes that one group spans. Defaults to
            `"filters"`.

    Example:
    ```python
    layer = keras.layers.Conv2D(
        32, 3, kernel_constraint=knc.constraints.MaxActiveGroups(16)
    )
    ```
    """

    def __init__(self, k, groups="filters"):
        super().__init__(k)
        self.groups = group_patterns.check(groups)

    def scores(self, w):
        axes = group_patterns.reduced_axes(self.groups, len(w.shape))
        return group_patterns.norms(w, axes)

    def for_layout(self, rank, layout):
        """Returns the same constraint for a kernel laid out in another way."""
        groups = group_patterns.in_layout(self.groups, rank, layout)
        return self if groups == self.groups else type(self)(self.k, groups)

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}
