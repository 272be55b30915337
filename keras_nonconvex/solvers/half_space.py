"""The half-space step: groups that an update turns too far become zero.

Per group: <new, old> < epsilon ||old||^2. Chen et al., HSPG, 2020.
"""

import math

import numpy as np
from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.backends import compiled
from keras_nonconvex.solvers.state import read
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import in_full_precision
from keras_nonconvex.tensors import largest
from keras_nonconvex.tensors import minimum

# Epsilon grows where fewer of the groups than this became zero in an epoch,
# and up to the largest value: as in the authors' code.
STALLED = 0.01
LARGEST_EPSILON = 0.999


def add_epsilon(state, epsilon):
    """Makes the variables of an epsilon that adapts.

    Args:
        state: The `State` of a model.
        epsilon: A number in [0, 1), its first value.
    """
    state.epsilon = state.scalar("epsilon", epsilon)
    state.zero_groups = state.scalar("zero_groups")


def epsilon(state, fixed):
    """The epsilon of now.

    Args:
        state: The `State` of a model.
        fixed: The one that counts where none adapts.
    """
    adapts = getattr(state, "epsilon", None)
    return fixed if adapts is None else read(adapts)


def adapt_epsilon(model, targets, growth):
    """Raises epsilon where the last epoch brought few new zeros.

    Args:
        model: The model in training.
        targets: What `Solver.targets` gives.
        growth: A number > 0, by how much.
    """
    state = model.solver_state
    norms = [
        group_patterns.norms(read(v), reg.group_axes(len(v.shape)))
        for v, reg in targets
    ]
    if model.coupled is not None:
        values = [read(v) for v in model.coupled.variables]
        norms.append(model.coupled.norms(values))
    zero = [np.ravel(ops.convert_to_numpy(norm) == 0) for norm in norms]
    share = np.concatenate(zero).mean() if zero else 0.0
    if share - ops.convert_to_numpy(state.zero_groups) <= STALLED:
        raised = ops.convert_to_numpy(state.epsilon) + growth
        state.epsilon.assign(min(raised, LARGEST_EPSILON))
    state.zero_groups.assign(share)


@compiled
def held(point, old, turned, regularizer):
    """`point` with the groups zero that were so, where `turned` is true.

    The prox is taken there: of a penalty that fixes a count, it must not give
    a place to groups that then stay zero.

    Args:
        point: A weight after the update, where its prox is taken.
        old: The weight before the update.
        turned: Whether the half-space step is taken at all.
        regularizer: Says what a group is.
    """
    axes = regularizer.group_axes(len(old.shape))
    was = _sum(ops.cast(ops.not_equal(old, 0), "float32"), axes) > 0
    dead = ops.logical_and(turned, ops.logical_not(was))
    return ops.where(dead, ops.zeros_like(point), point)


@compiled
def taken(
    new,
    old,
    step,
    strength,
    spare,
    turned,
    epsilon,
    regularizer,
    keep,
    revive,
):
    """`new` with the groups zero that die, where `turned` is true.

    Args:
        new, old: A weight after the update and its prox, and before.
        step: The step of the prox.
        strength, spare: As for `Regularizer.at`.
        turned: Whether the half-space step is taken at all.
        epsilon: A number in [0, 1).
        regularizer: Says what a group is.
        keep, revive: As for `alive`.
    """
    x = in_full_precision(new)
    now = regularizer.at(ops.cast(strength, x.dtype), ops.cast(spare, x.dtype))
    step = ops.cast(step, x.dtype)
    lives = alive(x, in_full_precision(old), now, step, epsilon, keep, revive)
    dies = ops.logical_and(turned, ops.logical_not(lives))
    return ops.where(dies, ops.zeros_like(new), new)


def alive(new, old, regularizer, step, epsilon, keep, revive=False):
    """Which groups the step leaves, broadcastable to `new`.

    At least `keep` of those that are not zero
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
        revive: Whether groups that were zero may live again. Defaults to
            `False`: they stay zero.

    Returns:
        A boolean tensor with one entry per group.
    """
    axes = regularizer.group_axes(len(new.shape))
    total = math.prod(n for i, n in enumerate(new.shape) if i not in axes)
    if keep is None:
        keep = regularizer.floor(total)
    else:
        keep = int(group_patterns.count_of(keep, total))
    return standing(
        _sum(new * old, axes),
        _sum(old * old, axes),
        _sum(new * new, axes),
        regularizer.half_space_limit(new, step),
        epsilon,
        keep,
        revive,
    )


def standing(product, old_square, new_square, limit, epsilon, keep, revive):
    """`alive` for groups of any kind, by the sums over each.

    Args:
        product: <new, old> of each group.
        old_square: ||old||^2 of each.
        new_square: ||new||^2 of each.
        limit: The largest epsilon that spares groups, for each or all.
        epsilon: A number in [0, 1).
        keep: A whole number >= 0, or an int32 tensor: how many stay alive at
            least.
        revive: As for `alive`.
    """
    was, now = old_square > 0, new_square > 0
    ratio = product / divisor(old_square)
    standing = ops.logical_and(was, now)
    epsilon = ops.cast(epsilon, ratio.dtype)
    spared = ratio >= minimum(ops.ones_like(ratio) * limit, epsilon)
    ranked = ops.where(standing, ratio, -ops.ones_like(ratio) * math.inf)
    spared = ops.logical_or(spared, largest(ranked, keep))
    lives = ops.logical_and(standing, spared)
    if revive:
        lives = ops.logical_or(lives, ops.logical_and(now, ~was))
    return lives


def _sum(x, axes):
    return ops.sum(x, axis=axes, keepdims=True) if axes else x
