"""Constraints: hard limits on what a kernel may be.

Keras applies a constraint after every optimizer step. These project the kernel
onto those with at most k nonzero groups or weights, or with few values. The
solver `ADMM` pulls a kernel towards such a projection.
"""

import math

import keras
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import in_full_precision
from keras_nonconvex.tensors import largest


class Projection(keras.constraints.Constraint):
    """A constraint of this package: the base of all of them."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"


class KeepLargest(Projection):
    """Keeps what has the k largest scores; where scores tie, the first ones.

    Args:
        k: Whole number above 0, or a percentage such as `"25%"`.
    """

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


class Levels(Projection):
    """2^bits values that the nonzero weights of a kernel may have.

    They are s q with q = -2^(bits - 1), ..., -1, 1, ..., 2^(bits - 1) and one
    scale s > 0 per kernel. Weights that are zero stay zero. The scale is
    found by alternating least squares from several starts: q is the nearest
    level of each weight, then s = <w, q> / <q, q>.

    Args:
        bits: A whole number from 1 to 16.

    Example:
    ```python
    solver = knc.solvers.ADMM({"conv*": knc.constraints.Levels(4), "*": None})
    ```

    Reference: Ren et al., ADMM-NN, 2019.
    """

    def __init__(self, bits):
        self.bits = checks.whole("bits", bits, 1)
        if self.bits > 16:
            raise ValueError(
                "Argument `bits` must be a whole number from 1 to 16. "
                f"Received: bits={bits!r}"
            )

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        t = ops.abs(in_full_precision(w))
        largest_level = 2 ** (self.bits - 1)
        starts = [ops.max(t) / (largest_level * part) for part in _STARTS]
        found = [self._fitted(t, start) for start in starts]
        errors = ops.stack([ops.sum(ops.square(t - x)) for x in found])
        best = ops.take(ops.stack(found), ops.argmin(errors), axis=0)
        # NaN stays NaN, so that a diverged kernel is not hidden.
        best = ops.where(ops.isnan(w), w, ops.cast(best, w.dtype))
        return ops.sign(w) * best

    def _nearest(self, t, scale):
        """The level of each magnitude, as a whole number; 0 for zero."""
        level = ops.clip(ops.round(t / scale), 1, 2 ** (self.bits - 1))
        return ops.where(t > 0, level, ops.zeros_like(t))

    def _fitted(self, t, scale):
        """The magnitudes on levels, by alternating least squares."""

        def refit(_, scale):
            level = self._nearest(t, divisor(scale))
            return ops.sum(t * level) / divisor(ops.sum(level * level))

        scale = ops.fori_loop(0, _ROUNDS, refit, scale)
        return scale * self._nearest(t, divisor(scale))

    def get_config(self):
        return {"bits": self.bits}


# The least squares has local minima, so it starts with the largest level at the
# largest magnitude divided by each of these. Measured: the error is within 2 %
# of the best scale's up to 4 bits, and within 1.6 times it at 8.
_STARTS = tuple(6.0 ** (i / 15.0) for i in range(16))
_ROUNDS = 20
