"""Groups: which weights of a kernel become zero together.

A group pattern is a name or a tuple of kernel axes. Either way it means the
axes that are reduced: the sum of squares over them has one entry per group.
"""

import collections
import contextlib
import math
import operator

import numpy as np
from keras import ops

from keras_nonconvex.tensors import divisor

# The kernel axes that index filters and input channels; the rest is spatial.
Layout = collections.namedtuple("Layout", "filters inputs")
STANDARD = Layout((-1,), (-2,))

# name -> (function of the sets of all axes, filter axes and input axes that
# returns the reduced ones; the least number of axes a kernel must have)
PATTERNS = {
    "filters": (lambda all_, filters, inputs: all_ - filters, 1),
    "input_channels": (lambda all_, filters, inputs: all_ - inputs, 2),
    "kernels": (lambda all_, filters, inputs: all_ - filters - inputs, 3),
    "positions": (lambda all_, filters, inputs: filters, 1),
    "layer": (lambda all_, filters, inputs: all_, 0),
    "weights": (lambda all_, filters, inputs: set(), 0),
}


def check(groups):
    """Returns `groups` as a name or a tuple of ints, if it is legal."""
    if isinstance(groups, str) and groups in PATTERNS:
        return groups
    if isinstance(groups, (list, tuple)):
        with contextlib.suppress(TypeError):
            axes = tuple(operator.index(axis) for axis in groups)
            if len(set(axes)) == len(axes):
                return axes
    raise ValueError(
        "Argument `groups` must be one of "
        f"{', '.join(map(repr, PATTERNS))} or a tuple of kernel axes to "
        f"reduce. Received: groups={groups!r}"
    )


def reduced_axes(groups, rank, layout=STANDARD):
    """Returns the sorted axes that `groups` reduces in a kernel.

    Args:
        groups: A checked group pattern.
        rank: Integer, the number of axes of the kernel.
        layout: `Layout`, which axes of the kernel index filters and input
            channels. Defaults to that of Dense and Conv.
    """
    if isinstance(groups, str):
        pattern, least_rank = PATTERNS[groups]
        if rank < least_rank:
            raise ValueError(
                f"Argument `groups` needs a kernel with at least {least_rank} "
                f"axes. Received: groups={groups!r} for a kernel with {rank}"
            )
        filters, inputs = ({axis % rank for axis in part} for part in layout)
        return tuple(sorted(pattern(set(range(rank)), filters, inputs)))
    if any(not -rank <= axis < rank for axis in groups):
        raise ValueError(
            "Argument `groups` names an axis that the kernel does not have. "
            f"Received: groups={groups!r} for a kernel with {rank} axes"
        )
    axes = tuple(sorted({axis % rank for axis in groups}))
    if len(axes) < len(groups):
        raise ValueError(
            "Argument `groups` names an axis of the kernel twice. "
            f"Received: groups={groups!r} for a kernel with {rank} axes"
        )
    return axes


def in_layout(groups, rank, layout):
    """Returns `groups` for a kernel that is not laid out as Dense and Conv.

    A name becomes a tuple of axes where the layout changes its axes.
    """
    needed = reduced_axes(groups, rank, layout)
    return groups if needed == reduced_axes(groups, rank) else needed


def size(shape, axes):
    """The number of weights in one group."""
    return math.prod(shape[axis] for axis in axes)


def norms(w, axes):
    """L2 norm per group, with axes kept; its gradient at zero is zero."""
    squares = ops.sum(ops.square(w), axis=axes, keepdims=True)
    zero = ops.equal(squares, 0)
    root = ops.sqrt(ops.where(zero, ops.ones_like(squares), squares))
    return ops.where(zero, ops.zeros_like(squares), root)


def rescaled(t, norms, new_norms):
    """`t` with other norms of its groups; zero groups stay zero."""
    return t * (new_norms / divisor(norms))


def check_weights(weights, names=("sqrt_size",)):
    """Returns group weights as None, a name or a tuple of floats.

    Args:
        weights: What the caller received.
        names: The legal names. Defaults to `("sqrt_size",)`.
    """
    if weights is None or (isinstance(weights, str) and weights in names):
        return weights
    try:
        if isinstance(weights, (str, dict, set)):
            raise TypeError
        numbers = tuple(float(weight) for weight in weights)
        legal = numbers and all(0.0 < n < math.inf for n in numbers)
    except (TypeError, ValueError):
        legal = False
    if not legal:
        raise ValueError(
            f"Argument `group_weights` must be {', '.join(map(repr, names))}, "
            "None or a sequence of finite numbers above 0, one per group. "
            f"Received: group_weights={weights!r}"
        )
    return numbers


def weights_of(weights, shape, axes, dtype):
    """Returns group weights as a number or as a tensor with one per group.

    Args:
        weights: Checked group weights.
        shape: The shape of the kernel.
        axes: The axes that one group spans.
        dtype: The dtype of the tensor.
    """
    if weights is None:
        return 1.0
    if weights == "sqrt_size":
        return math.sqrt(size(shape, axes))
    shape = [1 if i in axes else n for i, n in enumerate(shape)]
    if len(weights) != math.prod(shape):
        raise ValueError(
            "Argument `group_weights` must have one number per group, here "
            f"{math.prod(shape)}. Received: group_weights={weights!r}"
        )
    return ops.convert_to_tensor(np.reshape(weights, shape), dtype)


def check_count(k, whole=False):
    """Returns `k` as a number or a percentage such as "25%", if it is legal.

    Args:
        k: What the caller received.
        whole: Whether a number must be whole.
    """
    kind = "whole number" if whole else "number"
    try:
        if isinstance(k, str):
            legal = k.endswith("%") and 0.0 < float(k[:-1]) <= 100.0
        else:
            legal = 0.0 < float(k) < math.inf
            legal &= not whole or float(k).is_integer()
    except (TypeError, ValueError):
        legal = False
    if not legal:
        raise ValueError(
            f"Argument `k` must be a {kind} above 0, or a percentage such as "
            f"'25%'. Received: k={k!r}"
        )
    return k if isinstance(k, str) else int(k) if whole else float(k)


def count_of(k, total):
    """How many of `total` a checked `k` means."""
    if isinstance(k, str):
        return max(round(float(k[:-1]) * total / 100.0, 6), 1.0)
    return min(k, total)
