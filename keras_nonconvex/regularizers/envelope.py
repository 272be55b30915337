"""The weighted group sparse envelope, for k groups that stay.

    Theta_k(w) = min_u sum_j d_j ||w_j||^2 / (2 u_j),
                 0 <= u_j <= 1, sum_j u_j <= k

is the largest convex function below "sum_j d_j ||w_j||^2 / 2 where at most k
groups are nonzero, infinity elsewhere" (Refael, Arbel, Huleihel, Learning
k-Level Structured Sparse Neural Networks Using Group Envelope Regularization,
2023; Beck & Refael 2022 for single weights). On k groups or fewer it is a
weight decay, elsewhere more. With d_j = 1 it is half the squared k-support
norm of the group norms.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.regularizers.base import Regularizer
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import in_full_precision
from keras_nonconvex.tensors import largest
from keras_nonconvex.tensors import maximum
from keras_nonconvex.tensors import minimum
from keras_nonconvex.tensors import whole


class GroupSparseEnvelope(Regularizer):
    """strength * Theta_k(w): k groups stay, the others can become zero.

    At least k groups stay in training; one proximal step rarely leaves exactly
    k. At the end of `fit` those stay that the prox of ever larger steps would
    keep, the largest ||w_j|| / sqrt(d_j), and all others are exactly zero. The
    prox shrinks those that stay by 1 / (1 + step strength d_j), so leave other
    weight decay off these kernels. `CountSchedule` lets k fall through
    training; `strength_max` finds the strength from which on the k groups that
    are the largest now stay alone.

    The prox is A.4 of the derivation: u_j = clip(t b_j - l_j, 0, 1) with
    b_j = sqrt(d_j) ||w_j||, l_j = step strength d_j and the one t at which
    sum u = k; then w_j u_j / (u_j + l_j). One step per group gives the prox
    in a metric with one curvature per group. Cost O(number of weights).

    Args:
        k: Number above 0 (not necessarily whole), or a percentage of the
            groups of the kernel such as `"25%"`: how many groups stay,
            rounded down at the end of training. Defaults to `"50%"`.
        strength: Number >= 0, the factor of the envelope. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for `Group`.
            Defaults to `"filters"`.
        group_weights: None for d_j = 1, `"sqrt_size"` for d_j = sqrt(size of
            j), or a sequence of numbers above 0, one per group. Defaults to
            `None`.
        debiased: Boolean, whether strength * sum_j d_j ||w_j||^2 / 2 is
            subtracted. The penalty is then zero on k groups or fewer, so the
            groups that stay are not shrunk (the quadratic envelope of Larsson
            & Olsson 2016, Carlsson 2019). It is weakly convex: where step *
            strength * d_j >= 1 for some j, the prox keeps the k groups with
            the largest ||w_j||^2 / step (and shrinks the last one if k is not
            whole). That is exact for equal d_j, unless the groups have steps
            of their own and the condition holds for some groups only.
            Defaults to `False`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `Group`. Defaults to `0.0`.

    Example:
    ```python
    layer = keras.layers.Conv2D(
        64, 3, kernel_regularizer=knc.GroupSparseEnvelope("25%", 1e-3)
    )
    ```
    """

    counts = True
    # What `CountSchedule` has left of the groups beyond k.
    spare = 0.0

    def __init__(
        self,
        k="50%",
        strength=1e-4,
        groups="filters",
        group_weights=None,
        debiased=False,
        decay=0.0,
    ):
        super().__init__(strength, decay)
        self.k = group_patterns.check_count(k)
        self.groups = group_patterns.check(groups)
        self.group_weights = group_patterns.check_weights(group_weights)
        self.debiased = bool(debiased)

    def group_axes(self, rank):
        return group_patterns.reduced_axes(self.groups, rank)

    def at(self, strength, spare):
        return self.scaled(strength)._with(spare=spare)

    def _count(self, total):
        """k, as a number of groups, at this moment of training."""
        k = group_patterns.count_of(self.k, total)
        return k + self.spare * (total - k)

    def _parts(self, w):
        """The axes of a group, the norms, the weights d_j, and k."""
        axes = self.group_axes(len(w.shape))
        norms = group_patterns.norms(w, axes)
        weights = group_patterns.weights_of(
            self.group_weights, w.shape, axes, w.dtype
        )
        weights = ops.ones_like(norms) * weights
        total = int(np.prod(norms.shape))
        return axes, norms, weights, self._count(total)

    def plain_value(self, w):
        axes, norms, weights, k = self._parts(w)
        b = ops.stop_gradient(ops.sqrt(weights) * norms)
        u = ops.stop_gradient(saturation(b, ops.zeros_like(b), k))
        # At the best u the gradient is the one with u held (envelope
        # theorem): exact, and without a root of the squares at zero.
        squares = ops.sum(ops.square(w), axis=axes, keepdims=True)
        factor = 1.0 / divisor(u)
        if self.debiased:
            factor = factor - 1.0
        return self.strength * ops.sum(weights * squares * factor) / 2.0

    def magnitude_prox(self, t, step):
        _, norms, weights, k = self._parts(t)
        level = step * self.strength * weights
        b = ops.sqrt(weights) * norms
        if not self.debiased:
            u = saturation(b, level, k)
            total = u + level
        else:
            # The subtracted part leaves a curvature of 1 - level.
            slack = 1.0 - level
            safe = maximum(slack, _LEAST_SLACK)
            u = ops.cond(
                ops.any(slack < _LEAST_SLACK),
                # A group that goes costs ||t_j||^2 / (2 step).
                lambda: _share_of_largest(norms / ops.sqrt(step), k),
                lambda: saturation(b / safe, level / safe, k),
            )
            total = u * slack + level
        return t * (u / divisor(total))

    def floor(self, total):
        k = whole(self._count(total))
        return max(k, 1) if isinstance(k, int) else maximum(k, 1)

    def last(self, w):
        return self._with_largest(w, self.floor)

    def resting(self, w):
        """The kernel with the k largest groups alone, k rounded up.

        Args:
            w: Tensor, the kernel.
        """
        return self._with_largest(w, lambda n: math.ceil(self._count(n)))

    def _with_largest(self, w, count):
        _, norms, weights, _ = self._parts(in_full_precision(w))
        total = int(np.prod(norms.shape))
        # The order in which the prox of ever larger steps lets them go.
        stays = largest(norms / ops.sqrt(weights), count(total))
        return ops.where(stays, w, ops.zeros_like(w))

    def holding_strength(self, w, gradient):
        """The strength from which on the groups that are zero stay so.

        Where at least k groups live, the subgradients of the envelope at a
        zero group j are all vectors up to the norm sqrt(d_j) tau, where tau
        is the least sqrt(d_i) ||w_i|| / u_i.

        Args:
            w: Tensor, the kernel: the value of `resting`.
            gradient: Tensor in its shape, the gradient of the data loss.

        Returns:
            A scalar; infinite if all is zero.
        """
        axes, norms, weights, k = self._parts(w)
        b = ops.sqrt(weights) * norms
        u = saturation(b, ops.zeros_like(b), k)
        taus = ops.where(b > 0, b / divisor(u), math.inf * ops.ones_like(b))
        push = group_patterns.norms(gradient, axes) / ops.sqrt(weights)
        push = ops.max(ops.where(b > 0, ops.zeros_like(push), push))
        alive = ops.any(b > 0)
        return ops.where(alive, push / ops.min(taus), math.inf)

    def half_space_limit(self, w, step):
        if self.debiased:
            return super().half_space_limit(w, step)
        # Saturated groups are shrunk by 1 / (1 + step strength d_j).
        _, _, weights, _ = self._parts(w)
        return 0.95 / (1.0 + step * (self.strength * weights + self.decay))

    @property
    def decays(self):
        return super().decays or not self.debiased

    @property
    def exact(self):
        return not (self.debiased and isinstance(self.group_weights, tuple))

    def get_config(self):
        return {
            "k": self.k,
            **super().get_config(),
            "groups": self.groups,
            "group_weights": self.group_weights,
            "debiased": self.debiased,
        }


# With less slack, rounding would decide which groups stay: such a `level`
# counts as 1.
_LEAST_SLACK = 1e-4


def _share_of_largest(norms, k):
    """u = 1 for the largest groups; the next one gets the rest of k."""
    count, total = whole(k), math.prod(norms.shape)
    following = minimum(ops.convert_to_tensor(count + 1), total)
    rest = ops.cast(k - ops.cast(count, norms.dtype), norms.dtype)
    u = ops.where(largest(norms, following), rest, ops.zeros_like(norms))
    return ops.where(largest(norms, count), ops.ones_like(norms), u)


def saturation(b, level, k):
    """u_j = clip(t b_j - level_j, 0, 1) with the t at which sum_j u_j = k.

    If no more than k of the b_j are above 0, all u_j are 1. The sum rises with
    t and is piecewise linear. A fixed number of halvings of the logarithm of
    a bracket finds the piece, and on it t has a closed form: no sort.
    """
    alive = b > 0
    safe = divisor(b)
    few = ops.sum(ops.cast(alive, b.dtype)) <= k
    # sum_j u_j <= t sum_j b_j, and below the least start all u_j are 0.
    limits = np.finfo(keras.backend.standardize_dtype(b.dtype))
    large = float(limits.max) ** 0.5
    start = ops.min(ops.where(alive, level / safe, large))
    end = ops.max(ops.where(alive, (1.0 + level) / safe, 0.0))
    total = ops.sum(b)
    low = maximum(start, k / divisor(total))
    high = maximum(minimum(end, large), low)

    def halve(_, bracket):
        low, high = bracket
        middle = ops.sqrt(low) * ops.sqrt(high)
        short = ops.sum(ops.clip(middle * b - level, 0.0, 1.0)) < k
        return ops.where(short, middle, low), ops.where(short, high, middle)

    # ln(high / low) starts below 2^9 and ends at a rounding of t.
    rounds = 9 - round(math.log2(limits.eps))
    low, high = ops.fori_loop(0, rounds, halve, (low, high))
    middle = ops.sqrt(low) * ops.sqrt(high)
    raw = middle * b - level
    linear = ops.cast(ops.logical_and(raw > 0, raw < 1), b.dtype)
    slope = ops.sum(linear * b)
    count = ops.sum(ops.cast(raw >= 1, b.dtype))
    solved = (k - count + ops.sum(linear * level)) / divisor(slope)
    # The bracket is exact up to rounding, so t may leave it by that much.
    margin = 64.0 * float(limits.eps)
    solved = ops.clip(solved, low * (1.0 - margin), high * (1.0 + margin))
    u = ops.clip(ops.where(slope > 0, solved, middle) * b - level, 0.0, 1.0)
    return ops.where(few, ops.ones_like(u), u)
