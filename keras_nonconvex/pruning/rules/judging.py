"""Functions judged by what they do, whatever their name."""

import functools

import keras
import numpy as np
from keras import ops

_SIZES = (4, 3, 5, 2, 3, 2, 2)


def at_zero(function, shape, dtypes):
    """What a function gives for zeros, if it works value by value.

    This is tried, not proved: on values in another order, which must come out
    in that order, and with half of the values changed, of which the others
    must not hear. The values have another shape than in the model, which has
    to make no difference to such a function.

    Args:
        function: Takes tensors of one shape.
        shape: The shape that they have in the model, a tuple.
        dtypes: The type of each tensor, a list.

    Returns:
        A number, which may be infinite or NaN; None if the function does not
        work value by value.
    """
    shape = _stand_in(shape)
    rng = np.random.default_rng(0)
    order = rng.permutation(np.prod(shape))
    changed = rng.random(shape) < 0.5
    kinds = [keras.backend.standardize_dtype(dtype) for dtype in dtypes]
    first, other = (
        [_values(rng, shape, kind) for kind in kinds] for _ in range(2)
    )

    def called(change, *arrays):
        given = map(ops.convert_to_tensor, map(change, *arrays))
        return ops.convert_to_numpy(function(*given))

    def shuffled(x):
        return x.ravel()[order].reshape(shape)

    def half(x, y):
        return np.where(changed, x, y)

    try:
        with keras.StatelessScope():
            y = called(np.copy, first)
            if y.shape != shape:
                return None
            mixed = called(half, other, first)
            same = _same(mixed[~changed], y[~changed]) and _same(
                called(shuffled, first), shuffled(y)
            )
            return float(called(np.zeros_like, first).flat[0]) if same else None
    except Exception:
        # It cannot take other sizes than its own.
        return None


def _values(rng, shape, kind):
    if kind == "bool":
        return rng.random(shape) < 0.5
    scale = rng.choice([0.1, 1.0, 10.0], size=shape)
    return np.round(rng.normal(size=shape) * scale, 3).astype(kind)


def _same(first, second):
    # Vectorized and single values may be rounded differently.
    return np.allclose(
        np.asarray(first, "float64"),
        np.asarray(second, "float64"),
        rtol=1e-4,
        atol=1e-6,
        equal_nan=True,
    )


def _stand_in(shape):
    """A small shape of the same rank, of other sizes than this one."""
    return tuple(
        size + (size == n) for size, n in zip(_SIZES, shape, strict=False)
    )


@functools.lru_cache(maxsize=256)
def activation_at_zero(function, shape):
    """As `at_zero`, of an activation function.

    Args:
        function: An activation, not a layer.
        shape: The shape of what it gets, a tuple.
    """
    return at_zero(function, shape, [keras.config.floatx()])
