"""The half-space step: groups that an update turns too far become zero.

Per group: <new, old> < epsilon ||old||^2. Chen et al., HSPG, 2020.
"""

import math

from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.backends import compiled
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import in_full_precision
from keras_nonconvex.tensors import largest
from keras_nonconvex.tensors import minimum


@compiled
def taken(new, old, step, strength, turned, regularizer, epsilon, keep):
    """`new` with the groups zero that die, where `turned` is true.

    Args:
        new, old: A weight after the update and its prox, and before.
        step: The step of the prox.
        strength: The multiplier of the regularizer's strengths.
        turned: Whether the half-space step is taken at all.
        regularizer: Says what a group is.
        epsilon: A number in [0, 1).
        keep: As for `alive`.
    """
    x = in_full_precision(new)
    scaled = regularizer.scaled(ops.cast(strength, x.dtype))
    step = ops.cast(step, x.dtype)
    lives = alive(x, in_full_precision(old), scaled, step, epsilon, keep)
    dies = ops.logical_and(turned, ops.logical_not(lives))
    return ops.where(dies, ops.zeros_like(new), new)


def alive(new, old, regularizer, step, epsilon, keep):
    """Which groups the step leaves, broadcastable to `new`.

    Groups that were zero stay so. At least `keep` of those that are not zero
    in `new` stay alive, the ones that turned least.

    Args:
        new: The value of a weight after the update and the prox.
        old: Its value before the update.
        regularizer: Its regularizer, which says what a group is.
        step: The step of its prox: a scalar, or one number per group.
        epsilon: A number in [0, 1); see the formula above.
        keep: The least number of groups that stay alive, as
            `group_patterns.check_count` stores it, or None for the
            regularizer's own.

    Returns:
        A boolean tensor with one entry per group.
    """
    axes = regularizer.group_axes(len(new.shape))
    total = math.prod(n for i, n in enumerate(new.shape) if i not in axes)
    keep = regularizer.floor(total) if keep is None else keep
    return standing(
        _sum(new * old, axes),
        _sum(old * old, axes),
        _sum(new * new, axes),
        regularizer.half_space_limit(new, step),
        epsilon,
        int(group_patterns.count_of(keep, total)),
    )


def standing(product, old_square, new_square, limit, epsilon, keep):
    """`alive` for groups of any kind, by the sums over each.

    Args:
        product: <new, old> of each group.
        old_square: ||old||^2 of each.
        new_square: ||new||^2 of each.
        limit: The largest epsilon that spares groups, for each or all.
        epsilon: A number in [0, 1).
        keep: A whole number >= 0, how many stay alive at least.
    """
    was, now = old_square > 0, new_square > 0
    ratio = product / divisor(old_square)
    standing = ops.logical_and(was, now)
    spared = ratio >= minimum(ops.ones_like(ratio) * limit, epsilon)
    if keep:
        ranked = ops.where(standing, ratio, -ops.ones_like(ratio) * math.inf)
        spared = ops.logical_or(spared, largest(ranked, keep))
    return ops.logical_and(standing, spared)


def _sum(x, axes):
    return ops.sum(x, axis=axes, keepdims=True) if axes else x
