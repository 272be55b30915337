"""Penalties of a whole vector: one value per group of weights.

`Group(penalty, ...)` applies them to each group's weights, where a scalar
penalty is applied to the group's norm; in `SparseGroup` they stand for the
elementwise term. Like scalar ones they register themselves.
"""

import dataclasses
import math

from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.penalties.base import Penalty
from keras_nonconvex.penalties.base import parameter
from keras_nonconvex.tensors import maximum


@dataclasses.dataclass(frozen=True)
class VectorPenalty(Penalty, abstract=True):
    """A penalty r(t) on vectors of magnitudes; the axes of one are given."""

    def value(self, t, axes):
        """r of each vector, with axes kept."""
        raise NotImplementedError

    def prox(self, t, step, axes):
        """argmin_{x >= 0} step * r(x) + ||x - t||^2 / 2 for each vector."""
        raise NotImplementedError

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
        step = ops.convert_to_tensor(step, t.dtype)
        return l1_minus_l2_prox(t, step, self.alpha * step, axes)


def l1_minus_l2_prox(t, step, bonus, axes):
    """The prox of step ||.||_1 - bonus ||.||_2, bonus of either sign."""
    largest = ops.max(t, axis=axes, keepdims=True)
    soft = maximum(t - step, 0.0)
    norm = group_patterns.norms(soft, axes)
    several = group_patterns.rescaled(soft, norm, maximum(norm + bonus, 0.0))
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
    """r(t) = ||t||_1^2 / 2: the weights of a group compete.

    The exclusive lasso (Zhou, Jin, Hoi 2010). Prox: soft thresholding at the
    level theta = step * sum (t - theta)_+, found by Newton's method from
    below: it ends at the exact level after finitely many rounds, few in
    practice, without a sort.
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
