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

import keras
import numpy as np
from keras import ops

from keras_nonconvex import groups
from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1

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
    jumps = ops.any(step * penalty.weak_convexity > 1.0)
    radius = ops.cond(
        jumps,
        lambda: _radius_of_best_start(penalty, t, step, group_step, axes),
        lambda: _radius_if_convex(penalty, t, step, group_step, axes),
    )
    return _at_radius(penalty, t, step, group_step, radius)


@prox.register
def _(penalty: L1, t, step, group_step, axes):
    return shrink(penalty.prox(t, step), group_step, axes)


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


def _at_radius(penalty, t, step, group_step, radius):
    c = _shrinkage(radius, group_step)
    return penalty.prox(c * t, c * step)


def _next_radius(penalty, t, step, group_step, axes, radius):
    """One round of R <- ||x(R)|| / c - group_step.

    It replaces r by its tangent at x(R) and solves exactly what is left (a
    block shrinkage), so no round raises the objective.
    """
    c = _shrinkage(radius, group_step)
    norm = groups.norms(penalty.prox(c * t, c * step), axes)
    c = ops.where(radius > 0, c, ops.ones_like(c))
    return ops.where(
        norm > 0,
        ops.maximum(norm / c - group_step, 0.0),
        ops.zeros_like(norm),
    )


def _radius_if_convex(penalty, t, step, group_step, axes):
    """step * weak_convexity <= 1: one stationary point, found from above.

    Zero iff the soft-thresholded group is within `group_step`: no iteration.
    Else the rounds fall monotonically onto R, and Aitken's extrapolation
    makes them few even near the critical step.
    """
    at_zero = ops.maximum(t - step * penalty.slope_at_zero, 0.0)
    lowest = ops.maximum(groups.norms(at_zero, axes) - group_step, 0.0)
    start = ops.maximum(groups.norms(t, axes) - group_step, 0.0)
    start = ops.where(lowest > 0, start, ops.zeros_like(start))
    tolerance = _tolerance(t.dtype) * start

    def unfinished(radius, change):
        return ops.any(change > tolerance)

    def improve(radius, change):
        once = _next_radius(penalty, t, step, group_step, axes, radius)
        twice = _next_radius(penalty, t, step, group_step, axes, once)
        gap = ops.where(radius > once, radius - once, ops.ones_like(radius))
        ratio = ops.clip((once - twice) / gap, 0.0, 0.999)
        better = once - ops.maximum(once - twice, 0.0) / (1.0 - ratio)
        better = ops.minimum(ops.maximum(better, lowest), once)
        return better, radius - better

    radius, _ = ops.while_loop(
        unfinished,
        improve,
        (start, start),
        maximum_iterations=_MOST_ROUNDS // 2,
    )
    return radius


def _radius_of_best_start(penalty, t, step, group_step, axes):
    """Beyond the convex regime: several starts, the best, against zero."""

    def gain(radius):
        # The objective at zero minus the objective at x(R), per group.
        x = _at_radius(penalty, t, step, group_step, radius)
        terms = x * (t - x / 2) - step * penalty.value(x)
        total = ops.sum(terms, axis=axes, keepdims=True)
        return total - group_step * groups.norms(x, axes)

    def advance(radius):
        return _next_radius(penalty, t, step, group_step, axes, radius)

    largest = ops.maximum(groups.norms(t, axes) - group_step, 0.0)

    def try_start(j, best):
        best_radius, best_gain = best
        fraction = 1.0 - ops.cast(j, t.dtype) / _STARTS
        radius = advance(advance(largest * ops.square(fraction)))
        new_gain = gain(radius)
        better = new_gain > best_gain
        return (
            ops.where(better, radius, best_radius),
            ops.where(better, new_gain, best_gain),
        )

    nothing = ops.zeros_like(largest)
    best, _ = ops.fori_loop(0, _STARTS, try_start, (nothing, nothing))
    tolerance = _tolerance(t.dtype) * largest

    def unfinished(radius, change):
        return ops.any(change > tolerance)

    def improve(radius, change):
        new = advance(radius)
        return new, ops.abs(new - radius)

    radius, _ = ops.while_loop(
        unfinished, improve, (best, best), maximum_iterations=_MOST_ROUNDS
    )
    return ops.where(gain(radius) > 0, radius, ops.zeros_like(radius))
