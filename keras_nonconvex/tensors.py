"""Maximum and minimum that keep the precision of their first argument.

`keras.ops.maximum` of two float64 tensors is float32 on the torch backend.
"""

from keras import ops


def maximum(x, bound):
    """The larger of a tensor and a bound, elementwise; NaN stays NaN."""
    bound = ops.convert_to_tensor(bound, x.dtype)
    return ops.where(bound > x, bound, x)


def minimum(x, bound):
    """The smaller of a tensor and a bound, elementwise; NaN stays NaN."""
    bound = ops.convert_to_tensor(bound, x.dtype)
    return ops.where(bound < x, bound, x)
