"""The exact joint prox of the sparse group penalties.

    prox(t) = argmin_{x >= 0}  step sum_i r(x_i) + group_step ||x||_2
                               + ||x - t||_2^2 / 2     per group

Unless r is L1 this is not the composition of the two proxes (reference:
Bui et al. 2021 split the two terms for that reason). Here it is solved
through the radius R = ||x||: since ||x|| = min_R (||x||^2 / R + R) / 2, the
best x of a given R is the scalar prox of a shrunken magnitude,

    x(R) = prox_r(c t, c step),   c = R / (R + group_step),

and what remains is one unknown per group.
"""

import functools
import math

import keras
import numpy as np
from keras import ops

from keras_nonconvex import groups
from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import L1MinusL2
from keras_nonconvex.penalties import SquaredL1
from keras_nonconvex.penalties.vector import l1_minus_l2_prox

_STARTS = 12
_MOST_ROUNDS = 60


@functools.singledispatch
def prox(penalty, t, step, group_step, axes):
    """Joint prox of magnitudes `t` for one scalar penalty.

    Args:
        penalty: The scalar penalty r.
        t: Magnitudes, t >= 0.
        step: Step times strength of r; a number or one value per group.
        group_step: Step times strength of the group norm, likewise.
        axes: The axes of `t` that one group spans.
    """
    problem = (penalty, t, step, group_step, axes)
    rho = penalty.weak_convexity
    if isinstance(rho, float) and rho == 0.0:
        radius = _radius_if_convex(*problem)
    elif isinstance(rho, float) and rho == math.inf:
        radius = _radius_of_best_start(*problem)
    else:
        radius = ops.cond(
            ops.any(step * rho > 1.0),
            lambda: _radius_of_best_start(*problem),
            lambda: _radius_if_convex(*problem),
        )
    return _at_radius(*problem, radius)[0]


def composition(penalty, t, step, group_step, axes):
    """The penalty's prox, then block shrinkage: exact for L1 alone."""
    return shrink(penalty.weights_prox(t, step, axes), group_step, axes)


@prox.register
def _(penalty: L1, t, step, group_step, axes):
    return composition(penalty, t, step, group_step, axes)


@prox.register
def _(penalty: L1MinusL2, t, step, group_step, axes):
    # Two multiples of the same norm: one l1-l2 prox with their difference.
    bonus = penalty.alpha * step - group_step
    return l1_minus_l2_prox(t, step, bonus, axes)


@prox.register
def _(penalty: SquaredL1, t, step, group_step, axes):
    # x = shrink(soft(t, level)) with level = step ||x||_1, which falls as the
    # level rises: halve the bracket.
    def at(level):
        return shrink(ops.maximum(t - level, 0.0), group_step, axes)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2.0
        total = ops.sum(at(middle), axis=axes, keepdims=True)
        below = step * total > middle
        return ops.where(below, middle, low), ops.where(below, high, middle)

    high = ops.max(t, axis=axes, keepdims=True) + 0.0 * step
    rounds = 2 - round(math.log2(_tolerance(t.dtype)))
    low, _ = ops.fori_loop(0, rounds, halve, (ops.zeros_like(high), high))
    return at(low)


@prox.register
def _(penalty: L0, t, step, group_step, axes):
    # The best support of size k holds the k largest: compare all k.
    kept_axes = [axis for axis in range(t.ndim) if axis not in axes]
    order = (*kept_axes, *axes)
    rows = ops.transpose(t, order)
    shape = rows.shape
    spread = [*shape[: len(kept_axes)], -1]
    rows = ops.reshape(rows, spread)
    ranked = ops.argsort(-rows, axis=-1)
    descending = ops.take_along_axis(rows, ranked, axis=-1)
    top_norm = ops.sqrt(ops.cumsum(ops.square(descending), axis=-1))

    def per_group(x):
        x = ops.broadcast_to(x, groups.norms(t, axes).shape)
        return ops.reshape(ops.transpose(x, order), spread)

    count = ops.arange(1, rows.shape[-1] + 1, dtype=t.dtype)
    gain = ops.square(ops.maximum(top_norm - per_group(group_step), 0)) / 2
    gain = gain - per_group(step) * count
    best = ops.max(gain, axis=-1, keepdims=True)
    size = ops.where(best > 0, ops.argmax(gain, axis=-1, keepdims=True) + 1, 0)
    keep = ops.argsort(ranked, axis=-1) < size
    rows = ops.where(keep, rows, ops.zeros_like(rows))
    back = [order.index(axis) for axis in range(t.ndim)]
    top = ops.transpose(ops.reshape(rows, shape), back)
    return shrink(top, group_step, axes)


def shrink(t, group_step, axes):
    """Block soft thresholding: the prox of group_step ||.||_2."""
    norm = groups.norms(t, axes)
    left = ops.maximum(norm - group_step, 0.0)
    return t * (left / ops.where(norm > 0, norm, ops.ones_like(norm)))


def _tolerance(dtype):
    return 4 * float(np.finfo(keras.backend.standardize_dtype(dtype)).eps)


def _shrinkage(radius, group_step):
    alive = radius > 0
    total = ops.where(alive, radius + group_step, ops.ones_like(radius))
    return ops.where(alive, radius / total, ops.zeros_like(radius))


def _at_radius(penalty, t, step, group_step, axes, radius):
    """x(R), and the R of the next round: ||x(R)|| / c - group_step.

    The round replaces r by its tangent at x(R) and solves exactly what is
    left (a block shrinkage), so it does not raise the objective.
    """
    c = _shrinkage(radius, group_step)
    x = penalty.prox(c * t, c * step)
    norm = groups.norms(x, axes)
    c = ops.where(radius > 0, c, ops.ones_like(c))
    larger = ops.maximum(norm / c - group_step, 0.0)
    return x, ops.where(norm > 0, larger, ops.zeros_like(norm))


def _radius_if_convex(penalty, t, step, group_step, axes):
    """step * weak_convexity <= 1: one stationary point, found from above.

    Zero iff the soft-thresholded group is within `group_step`: no iteration.
    Else the rounds lead onto R, and Aitken's extrapolation makes them few
    even near the critical step.
    """
    at_zero = ops.maximum(t - step * penalty.slope_at_zero, 0.0)
    start = ops.maximum(groups.norms(t, axes) - group_step, 0.0)
    start = ops.where(
        groups.norms(at_zero, axes) > group_step, start, ops.zeros_like(start)
    )
    tolerance = _tolerance(t.dtype) * start

    def advance(radius):
        return _at_radius(penalty, t, step, group_step, axes, radius)[1]

    def unfinished(radius, change):
        return ops.any(change > tolerance)

    def improve(radius, change):
        once = advance(radius)
        better = _extrapolated(radius, once, advance(once), start)
        return better, ops.abs(radius - better)

    radius, _ = ops.while_loop(
        unfinished,
        improve,
        (start, start),
        maximum_iterations=_MOST_ROUNDS // 2,
    )
    return radius


def _extrapolated(radius, once, twice, largest):
    """Aitken: where a fixed point of radius -> once -> twice must lie."""
    gap = once - radius
    ratio = (twice - once) / ops.where(gap == 0, ops.ones_like(gap), gap)
    better = once + (twice - once) / (1.0 - ops.minimum(ratio, 0.999))
    # Zero is a fixed point of every group: stay off it.
    floor = ops.minimum(once, twice) / 4.0
    return ops.clip(better, floor, largest)


def _radius_of_best_start(penalty, t, step, group_step, axes):
    """Beyond the convex regime: several starts, the best, against zero.

    The starts go down from the largest radius. A point of norm R gains at
    most R L - R^2 / 2 over zero, with L the largest radius; once that is less
    than what every group has found, no smaller one can win.
    """
    largest = ops.maximum(groups.norms(t, axes) - group_step, 0.0)

    def start(j):
        fraction = 1.0 - ops.cast(j, t.dtype) / _STARTS
        return largest * fraction * fraction

    def advance(radius):
        """One round, and the gain over zero of the point it went through."""
        x, larger = _at_radius(penalty, t, step, group_step, axes, radius)
        gain = ops.sum(x * (t - x / 2.0), axis=axes, keepdims=True)
        values = ops.sum(penalty.value(x), axis=axes, keepdims=True)
        gain = gain - step * values
        return larger, gain - group_step * groups.norms(x, axes)

    def unfinished(j, radius, gain):
        below = start(j)
        possible = below * (largest - below / 2.0)
        return ops.logical_and(j < _STARTS, ops.any(possible > gain))

    def try_start(j, radius, gain):
        new_radius, _ = advance(start(j))
        new_radius, new_gain = advance(new_radius)
        better = new_gain > gain
        return (
            j + 1,
            ops.where(better, new_radius, radius),
            ops.where(better, new_gain, gain),
        )

    nothing = ops.zeros_like(largest)
    _, best, _ = ops.while_loop(
        unfinished, try_start, (ops.zeros((), "int32"), nothing, nothing)
    )
    tolerance = _tolerance(t.dtype) * largest

    def unsettled(radius, change, gain):
        return ops.any(change > tolerance)

    def settle(radius, change, gain):
        once, _ = advance(radius)
        twice, plain_gain = advance(once)
        better = _extrapolated(radius, once, twice, largest)
        _, better_gain = advance(better)
        wins = better_gain >= plain_gain
        new = ops.where(wins, better, twice)
        gain = ops.maximum(better_gain, plain_gain)
        return new, ops.abs(new - radius), gain

    radius, _, gain = ops.while_loop(
        unsettled,
        settle,
        (best, best, nothing),
        maximum_iterations=_MOST_ROUNDS // 3,
    )
    return ops.where(gain > 0, radius, ops.zeros_like(radius))
