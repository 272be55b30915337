"""Groups: which weights of a kernel stand and fall together.

A group pattern is stored as the kernel axes that are reduced: summing the
squares over them leaves one number per group.
"""

import math

import keras
from keras import ops

# name -> reduced axes of a kernel of rank n, in Keras' layout
# (spatial..., input channels, filters).
PATTERNS = {
    "filters": lambda n: tuple(range(n - 1)),
    "input_channels": lambda n: (*range(n - 2), n - 1),
    "kernels": lambda n: tuple(range(n - 2)),
    "positions": lambda n: (n - 1,),
    "layer": lambda n: tuple(range(n)),
    "weights": lambda n: (),
}
_MIN_RANK = {"filters": 1, "input_channels": 2, "kernels": 3, "positions": 1}


def check(groups):
    """Returns `groups` in its stored form, or says what is legal."""
    if isinstance(groups, str) and groups in PATTERNS:
        return groups
    if (
        isinstance(groups, (list, tuple))
        and all(isinstance(axis, int) for axis in groups)
        and len(set(groups)) == len(groups)
    ):
        return tuple(groups)
    raise ValueError(
        "Argument `groups` must be one of "
        f"{', '.join(map(repr, PATTERNS))} or a tuple of kernel axes to "
        f"reduce. Received: groups={groups!r}"
    )


def reduced_axes(groups, rank):
    """The axes that `groups` reduces in a kernel with `rank` axes."""
    if isinstance(groups, str):
        if rank < _MIN_RANK.get(groups, 0):
            raise ValueError(
                f"Groups '{groups}' need a kernel with at least "
                f"{_MIN_RANK[groups]} axes. Received: a kernel with {rank}"
            )
        return PATTERNS[groups](rank)
    if any(not -rank <= axis < rank for axis in groups):
        raise ValueError(
            "Argument `groups` names an axis that the kernel does not have. "
            f"Received: groups={groups!r} for a kernel with {rank} axes"
        )
    return tuple(sorted(axis % rank for axis in groups))


def size(shape, axes):
    """The number of weights in one group."""
    return math.prod(shape[axis] for axis in axes)


def norms(w, axes):
    """L2 norm per group, axes kept; its gradient at a zero group is zero."""
    squares = ops.sum(ops.square(w), axis=axes, keepdims=True)
    zero = ops.equal(squares, 0)
    root = ops.sqrt(ops.where(zero, ops.ones_like(squares), squares))
    return ops.where(zero, ops.zeros_like(squares), root)


# Layer type -> kernel axes that index its filters. The last axis elsewhere.
_FILTER_AXES = {
    keras.layers.Dense: (-1,),
    keras.layers.Conv1D: (-1,),
    keras.layers.Conv2D: (-1,),
    keras.layers.Conv3D: (-1,),
    keras.layers.Conv1DTranspose: (-2,),
    keras.layers.Conv2DTranspose: (-2,),
    keras.layers.Conv3DTranspose: (-2,),
    keras.layers.DepthwiseConv1D: (-2, -1),
    keras.layers.DepthwiseConv2D: (-2, -1),
}


def for_layer(groups, layer, rank):
    """`groups` as the kernel layout of `layer` needs it.

    "filters" becomes explicit axes where the filters are not on the last
    axis (transposed and depthwise convolutions).
    """
    filter_axes = _FILTER_AXES.get(type(layer), (-1,))
    if groups != "filters" or filter_axes == (-1,):
        return groups
    kept = {axis % rank for axis in filter_axes}
    return tuple(axis for axis in range(rank) if axis not in kept)
