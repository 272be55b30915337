"""Small operations on tensors that `keras.ops` lacks.

`keras.ops.maximum` of two float64 tensors is float32 on the torch backend;
the two here keep the precision of their first argument.
"""

import keras
import numpy as np
from keras import ops


def maximum(x, bound):
    """The larger of a tensor and a bound, elementwise; NaN stays NaN."""
    bound = ops.convert_to_tensor(bound, x.dtype)
    return ops.where(bound > x, bound, x)


def minimum(x, bound):
    """The smaller of a tensor and a bound, elementwise; NaN stays NaN."""
    bound = ops.convert_to_tensor(bound, x.dtype)
    return ops.where(bound < x, bound, x)


def divisor(x):
    """`x` where it is above 0, and 1 elsewhere, so that one can divide by it.

    For quotients whose value at x = 0 is set, or multiplied by 0, afterwards.
    """
    return ops.where(x > 0, x, ops.ones_like(x))


def largest(scores, k):
    """A mask of the k largest of all scores; where they tie, the first ones.

    Args:
        scores: A tensor.
        k: A whole number from 0 to the number of scores, or an int32 tensor.
    """
    flat = ops.reshape(scores, (-1,))
    if isinstance(k, int):
        least = ops.top_k(flat, max(k, 1))[0][-1]
    else:
        place = ops.clip(k, 1, flat.shape[0]) - 1
        least = ops.take(ops.flip(ops.sort(flat)), place)
    above, tied = flat > least, ops.equal(flat, least)
    room = k - ops.sum(ops.cast(above, "int32"))
    first = ops.cumsum(ops.cast(tied, "int32")) <= room
    keep = ops.logical_or(above, ops.logical_and(tied, first))
    return ops.reshape(keep, scores.shape)


def whole(x):
    """A number or scalar tensor >= 0, rounded down: an int or int32 tensor."""
    if isinstance(x, (int, float)):
        return int(x)
    return ops.cast(ops.floor(x), "int32")


def tolerance(dtype):
    """Four roundings of 1 in this precision: where iterations end."""
    return 4 * float(np.finfo(keras.backend.standardize_dtype(dtype)).eps)


def in_full_precision(x):
    """`x` as a float32 or float64 tensor; all other types become float32."""
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return x if dtype in ("float32", "float64") else ops.cast(x, "float32")
