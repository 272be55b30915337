"""Vector penalties: one value per group of weights.

`Group(penalty, ...)` applies a vector penalty to the weights of each group,
where it applies a scalar penalty to their norm. In `SparseGroup` it takes the
place of the elementwise term. To add one, write one frozen dataclass here and
name it in `__all__`; `docs/add-a-penalty.md` says what it must state.
"""

import dataclasses
import math

from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.penalties.base import BasePenalty
from keras_nonconvex.penalties.base import parameter
from keras_nonconvex.penalties.scalar import L1
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import maximum
from keras_nonconvex.tensors import tolerance

__all__ = ["L1MinusL2", "SquaredL1", "VectorPenalty"]


@dataclasses.dataclass(frozen=True)
class VectorPenalty(BasePenalty, abstract=True):
    """A penalty r(t) of a vector of magnitudes t >= 0, with r(0) = 0.

    Subclasses state `value`, `prox`, `joint_prox`, `slope_at_zero` and
    `weak_convexity`. A tensor holds many vectors: `axes` says which of its
    axes one vector spans, and a value keeps these axes, with length 1.
    """

    def value(self, t, axes):
        """r of each vector.

        Args:
            t: Tensor of magnitudes >= 0.
            axes: Tuple of integers, the axes that one vector spans.
        """
        raise NotImplementedError

    def prox(self, t, step, axes):
        """argmin_{x >= 0} step * r(x) + ||x - t||^2 / 2, for each vector.

        Args:
            t: Tensor of magnitudes >= 0.
            step: Number >= 0, or a tensor with one value per vector. Step 0
                is the identity.
            axes: Tuple of integers, the axes that one vector spans.
        """
        raise NotImplementedError

    def joint_prox(self, t, step, group_step, axes):
        """The prox of step * r(x) + group_step * ||x||_2, for each vector.

        This is what `SparseGroup` applies. A penalty without it works in
        `Group`, and in `SparseGroup` with `exact=False`.

        Args:
            t: Tensor of magnitudes >= 0.
            step: Number >= 0, or a tensor with one value per vector.
            group_step: Likewise, for the norm.
            axes: Tuple of integers, the axes that one vector spans.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no joint prox with a group norm. Use "
            "SparseGroup(..., exact=False), which applies the two proxes one "
            f"after the other. Received: penalty={self!r}"
        )

    def weights_value(self, t, axes):
        return self.value(t, axes)

    def weights_prox(self, t, step, axes):
        return self.prox(t, step, axes)

    def norm_value(self, t, axes):
        return self.value(t, axes)

    def norm_prox(self, t, step, axes):
        return self.prox(t, step, axes)


@dataclasses.dataclass(frozen=True)
class L1MinusL2(VectorPenalty):
    """r(t) = ||t||_1 - alpha ||t||_2 (Lou & Yan 2018).

    Prox, with m the largest magnitude and z = (t - step)_+: for m > step,
    z (||z|| + alpha step) / ||z||; for (1 - alpha) step < m <= step, the
    first largest entry alone, as m + (alpha - 1) step; else 0.

    Args:
        alpha: Number from 0 to 1, how much of the l2 norm is subtracted; 0 is
            L1. Defaults to `1.0`.
    """

    alpha: float = parameter(1.0, above=0.0, below=1.0, closed=True)

    weak_convexity = math.inf

    @property
    def slope_at_zero(self):
        return 1.0 - self.alpha

    def value(self, t, axes):
        total = ops.sum(t, axis=axes, keepdims=True)
        return total - self.alpha * group_patterns.norms(t, axes)

    def prox(self, t, step, axes):
        return self.joint_prox(t, step, 0.0, axes)

    def joint_prox(self, t, step, group_step, axes):
        step = ops.convert_to_tensor(step, t.dtype)
        # Both l2 terms are multiples of one norm. What is subtracted of it in
        # the end may be of either sign.
        bonus = self.alpha * step - group_step
        largest = ops.max(t, axis=axes, keepdims=True)
        soft = maximum(t - step, 0.0)
        norm = group_patterns.norms(soft, axes)
        several = group_patterns.rescaled(
            soft, norm, maximum(norm + bonus, 0.0)
        )
        alone = maximum(largest - step + bonus, 0.0)
        return ops.where(
            largest > step,
            several,
            ops.where(_first(ops.equal(t, largest), axes), alone, 0.0 * t),
        )


def _first(mask, axes):
    """The first True of each group alone, in row-major order."""
    spread = [mask.shape[i] if i in axes else 1 for i in range(mask.ndim)]
    index = ops.reshape(ops.arange(math.prod(spread), dtype="int32"), spread)
    past = ops.full_like(index, math.prod(spread))
    index = ops.where(mask, index, past)
    return ops.equal(index, ops.min(index, axis=axes, keepdims=True))


@dataclasses.dataclass(frozen=True)
class SquaredL1(VectorPenalty):
    """r(t) = ||t||_1^2 / 2, the exclusive lasso (Zhou, Jin, Hoi 2010).

    The weights of a group compete. Prox: soft thresholding at the level
    theta = step * sum (t - theta)_+, found by Newton's method from below. It
    ends at the exact level after finitely many rounds, few in practice, and
    needs no sort.
    """

    slope_at_zero = 0.0
    weak_convexity = 0.0

    def value(self, t, axes):
        return ops.square(ops.sum(t, axis=axes, keepdims=True)) / 2.0

    def prox(self, t, step, axes):
        step = ops.convert_to_tensor(step, t.dtype)

        def improve(theta, moved):
            alive = ops.cast(t > theta, t.dtype)
            count = ops.sum(alive, axis=axes, keepdims=True)
            total = ops.sum(t * alive, axis=axes, keepdims=True)
            new = maximum(step * total / (1.0 + step * count), theta)
            return new, new > theta

        below = ops.zeros_like(ops.sum(t, axis=axes, keepdims=True)) - 1.0
        theta, _ = ops.while_loop(
            lambda theta, moved: ops.any(moved),
            improve,
            (below + 0.0 * step, ops.ones_like(below + step, dtype="bool")),
            maximum_iterations=100,
        )
        return maximum(t - theta, 0.0)

    def joint_prox(self, t, step, group_step, axes):
        # x is soft(t, level), then shrunk as a block, with level = step *
        # ||x||_1, which falls as the level rises: Newton's method on the gap,
        # kept inside a bracket.
        def newton(low, high, level, moved):
            soft = maximum(t - level, 0.0)
            count = ops.cast(soft > 0, t.dtype)
            count = ops.sum(count, axis=axes, keepdims=True)
            total = ops.sum(soft, axis=axes, keepdims=True)
            norm = maximum(group_patterns.norms(soft, axes), group_step)
            norm = divisor(norm)
            left = 1.0 - group_step / norm
            gap = step * total * left - level
            bend = group_step * ops.square(total / norm) / norm
            slope = -1.0 - step * (count * left + bend)
            low = ops.where(gap > 0, level, low)
            high = ops.where(gap > 0, high, level)
            new = level - gap / slope
            inside = ops.logical_and(new >= low, new <= high)
            new = ops.where(inside, new, (low + high) / 2.0)
            return low, high, new, ops.abs(new - level)

        high = ops.max(t, axis=axes, keepdims=True) + 0.0 * step
        low = ops.zeros_like(high)
        slack = tolerance(t.dtype) * high
        *_, level, _ = ops.while_loop(
            lambda low, high, level, moved: ops.any(moved > slack),
            newton,
            (low, high, low, high),
            maximum_iterations=60,
        )
        return L1().norm_prox(maximum(t - level, 0.0), group_step, axes)
