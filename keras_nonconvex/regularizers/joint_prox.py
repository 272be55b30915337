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

from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.backends import compiled
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import VectorPenalty
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import maximum
from keras_nonconvex.tensors import minimum
from keras_nonconvex.tensors import tolerance

_MOST_ROUNDS = 60
# The walk through the local minima: it rests where a round moves by a smaller
# fraction than _REST, starts again at _BELOW times the lowest radius so far,
# looks into gaps wider than the factor _GAP, and ends after _MOST_WALKS rounds.
_REST, _BELOW, _GAP, _MOST_WALKS = 1e-3, 0.6, 1.1, 80


@functools.singledispatch
def prox(penalty, t, step, group_step, axes, strength=1.0):
    """The joint prox at magnitudes `t`: x >= 0, in the shape of `t`.

    In a TensorFlow graph each case is compiled by itself, when it is first
    reached: most trainings never leave the convex one.

    Args:
        penalty: The penalty r. A vector penalty brings its own joint prox.
        t: Tensor of magnitudes >= 0.
        step: The step times the strength of r: a number >= 0, or a tensor
            with one value per group.
        group_step: The step times the strength of the group norm, likewise.
        axes: Tuple of integers, the axes of `t` that one group spans.
        strength: The strength of r, a number or a scalar tensor, which sets
            the knots of r where they follow it.
    """
    rho = penalty.at(strength).weak_convexity

    def case(function):
        return function(
            t, step, group_step, strength, penalty=penalty, axes=axes
        )

    if isinstance(rho, float) and rho == 0.0:
        return case(_if_convex)
    if isinstance(rho, float) and rho == math.inf:
        return case(_best_basin)
    return ops.cond(
        ops.any(step * rho > 1.0),
        lambda: case(_best_basin),
        lambda: case(_if_convex),
    )


def in_cases(penalty):
    """Whether the joint prox is found case by case, not by one formula."""
    return prox.dispatch(type(penalty)) is prox.dispatch(object)


def composition(penalty, t, step, group_step, axes):
    """The penalty's prox, then block shrinkage: exact for L1 alone."""
    x = penalty.weights_prox(t, step, axes)
    return L1().norm_prox(x, group_step, axes)


@prox.register
def _(penalty: L1, t, step, group_step, axes, strength=1.0):
    return composition(penalty, t, step, group_step, axes)


@prox.register
def _(penalty: VectorPenalty, t, step, group_step, axes, strength=1.0):
    return penalty.joint_prox(t, step, group_step, axes)


def _at_radius(penalty, t, step, group_step, axes, radius):
    """x(R), and the R of the next round: ||x(R)|| / c - group_step.

    The round replaces r by its tangent at x(R) and solves exactly what is
    left (a block shrinkage), so it does not raise the objective.
    """
    c = radius / divisor(radius + group_step)
    x = penalty.prox(c * t, c * step)
    norm = group_patterns.norms(x, axes)
    larger = norm / divisor(c) - group_step
    return x, ops.where(norm > 0, maximum(larger, 0.0), 0.0 * radius)


def _settle(at, t, radius, largest):
    """Follows rounds from `radius` to their fixed point, by Aitken's method.

    It makes two rounds and goes to where they lead if each move is the same
    fraction of the one before, until that changes nothing but the rounding.
    Each turn of the loop is one round, so that `at` is compiled once.

    Args:
        at: A function of R: x(R), and the R of the next round.
        t: Magnitudes.
        radius: The R to start from.
        largest: The largest R that there can be.

    Returns:
        x at the fixed point, and its R.
    """
    slack = tolerance(radius.dtype) * largest

    def turn(second, going, settled, x, before, radius, at_x):
        x, new = at(radius)
        gap = radius - before
        close = ops.abs(gap) <= slack
        ratio = (new - radius) / ops.where(close, ops.ones_like(gap), gap)
        better = radius + (new - radius) / (1.0 - minimum(ratio, 0.999))
        # Zero is a fixed point of every group: stay off it.
        better = ops.clip(better, minimum(radius, new) / 4.0, largest)
        better = ops.where(close, new, better)
        still = ops.all(ops.abs(better - new) <= slack)
        return (
            ops.logical_not(second),
            ops.logical_not(settled),
            ops.logical_and(second, still),
            x,
            radius,
            ops.where(second, better, new),
            radius,
        )

    no, x = ops.zeros((), "bool"), ops.zeros_like(t)
    *_, x, _, _, radius = ops.while_loop(
        lambda second, going, *_: going,
        turn,
        (
            no,
            ops.ones((), "bool"),
            no,
            ops.zeros_like(t),
            radius,
            radius,
            radius,
        ),
        maximum_iterations=_MOST_ROUNDS + 1,
    )
    return x, radius


def _if_convex(t, step, group_step, strength, penalty, axes):
    """The joint prox for step * weak_convexity <= 1: one stationary point.

    x is zero iff the norm of the soft-thresholded group is at most
    `group_step`, which takes no iteration.
    """
    problem = (t, step, group_step, strength)
    x, start, once, rests = _first_round(*problem, penalty=penalty, axes=axes)
    return ops.cond(
        rests,
        lambda: x,
        lambda: _more_rounds(*problem, start, once, penalty=penalty, axes=axes),
    )


@compiled(any_shape=True)
def _first_round(t, step, group_step, strength, penalty, axes):
    penalty = penalty.at(strength)
    at_zero = maximum(t - step * penalty.slope_at_zero, 0.0)
    start = maximum(group_patterns.norms(t, axes) - group_step, 0.0)
    start = ops.where(
        group_patterns.norms(at_zero, axes) > group_step,
        start,
        ops.zeros_like(start),
    )
    # Training steps are so small that one round from the start is enough: an
    # error of R moves x by group_step / R of it, and more near the critical
    # step.
    x, once = _at_radius(penalty, t, step, group_step, axes, start)
    ease = (1.0 - step * penalty.weak_convexity) * start
    ease = ease / divisor(group_step)
    close = ops.abs(once - start) <= (
        tolerance(t.dtype) * start * maximum(ease, 1.0)
    )
    return x, start, once, ops.all(close)


@compiled(any_shape=True)
def _more_rounds(t, step, group_step, strength, start, once, penalty, axes):
    penalty = penalty.at(strength)

    def at(radius):
        return _at_radius(penalty, t, step, group_step, axes, radius)

    return _settle(at, t, once, start)[0]


@compiled(any_shape=True)
def _best_basin(t, step, group_step, strength, penalty, axes):
    """The joint prox beyond that: the best of all local minima and zero.

    From the largest possible radius, and then from ever smaller ones, the
    rounds are followed until they rest at a local minimum. The next R rises
    with R, so rounds that climb into radii already `known` prove that there
    is no other minimum in between, and end there. Only a minimum that lies
    within 10 % of another can be missed; it is then close in value too.

    With x(1) the prox without the group term and G its gain over zero, R is
    at most ||x(1)|| - group_step and G / group_step.

    The walk ends where no smaller radius can win: r is concave, so on
    magnitudes up to m it is at least k times them, k = r(m) / m, and a point
    of norm R, with m = min(R, max x(1)), gains at most
    R (||(t - step k)_+|| - group_step) - R^2 / 2.
    """
    penalty = penalty.at(strength)

    def at(radius):
        return _at_radius(penalty, t, step, group_step, axes, radius)

    def gain_of(x):
        """By how much x is better than zero, without the group term."""
        values = x * (t - x / 2.0) - step * penalty.value(x)
        return ops.sum(values, axis=axes, keepdims=True)

    def whole_gain(x):
        return gain_of(x) - group_step * group_patterns.norms(x, axes)

    free = penalty.prox(t, step)
    free_gain = gain_of(free)
    largest = maximum(group_patterns.norms(free, axes) - group_step, 0.0)
    largest = ops.where(
        largest * group_step > free_gain,
        free_gain / divisor(group_step),
        largest,
    )
    length = maximum(group_patterns.norms(t, axes) - group_step, 0.0)
    most = ops.max(free, axis=axes, keepdims=True)

    def possible(radius):
        highest = minimum(radius, most)
        alive = highest > 0
        highest = divisor(highest)
        chord = step * penalty.value(highest) / highest
        left = group_patterns.norms(maximum(t - chord, 0.0), axes) - group_step
        gain = radius * (left - minimum(radius, left) / 2.0)
        return ops.where(alive, gain, ops.zeros_like(gain))

    def unfinished(radius, start, known, floor, low, best, gain):
        return ops.any(possible(known) > gain)

    def walk(radius, start, known, floor, low, best, gain):
        """One round from `radius`; at the end of a climb, the next start.

        All minima above `known` have been seen, and those between `low` and
        `floor`; `floor` is 0 while nothing between is open.
        """
        x, new = at(radius)
        new_gain = whole_gain(x)
        better = new_gain > gain
        rests = ops.abs(new - radius) <= _REST * radius
        climbs = new >= known
        done = ops.logical_or(rests, climbs)
        low = ops.where(done, minimum(low, minimum(start, radius)), low)
        known = ops.where(climbs, start, known)
        new_minimum = ops.logical_and(rests, ops.logical_not(climbs))
        floor = ops.where(new_minimum, maximum(start, radius), floor)
        gap = known > floor * _GAP
        gap = ops.logical_and(floor > 0, gap)
        next_start = ops.where(gap, ops.sqrt(known * floor), _BELOW * low)
        shut = ops.logical_and(done, ops.logical_not(gap))
        start = ops.where(done, next_start, start)
        return (
            ops.where(done, start, new),
            start,
            ops.where(shut, low, known),
            ops.where(shut, nothing, floor),
            low,
            ops.where(better, new, best),
            ops.where(better, new_gain, gain),
        )

    nothing = ops.zeros_like(largest)
    *_, best, gain = ops.while_loop(
        unfinished,
        walk,
        (largest, largest, largest, nothing, largest, nothing, nothing),
        maximum_iterations=_MOST_WALKS,
    )
    x, radius = _settle(at, t, best, length)
    # An extrapolation that left the basin: back to where it started.
    lost = whole_gain(x) < gain * (1.0 - tolerance(t.dtype))
    return ops.cond(
        ops.any(lost), lambda: at(ops.where(lost, best, radius))[0], lambda: x
    )
