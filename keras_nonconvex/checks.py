"""Checks of arguments: each returns a legal value, or says what is legal.

Every error says what the argument must be and ends `Received: name=value`.
"""

import math
import operator

import numpy as np


def number(
    name,
    value,
    expected="a finite number >= 0",
    legal=lambda number: number >= 0,
):
    """Returns `value` as a float.

    Args:
        name: String, the name of the argument.
        value: What the caller received for it.
        expected: String, what the argument must be, such as
            `"a number in [0, 1)"`. Defaults to `"a finite number >= 0"`.
        legal: Function of the float that says whether it is legal. It is
            asked of finite numbers only; all others are illegal. Defaults to
            `number >= 0`.
    """
    try:
        converted = float(value)
        if math.isfinite(converted) and legal(converted):
            return converted
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"Argument `{name}` must be {expected}. Received: {name}={value!r}"
    )


def whole(name, value, least, unit=""):
    """Returns `value` as an int.

    Args:
        name: String, the name of the argument.
        value: What the caller received for it. Booleans and floats are
            illegal.
        least: Integer, the smallest legal value.
        unit: String, what is counted, such as `" of epochs"`, for the
            message. Defaults to `""`.
    """
    try:
        if not isinstance(value, bool) and operator.index(value) >= least:
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(
        f"Argument `{name}` must be a whole number{unit} >= {least}. "
        f"Received: {name}={value!r}"
    )


def choice(name, value, choices):
    """Returns `value`, which must be one of `choices`."""
    if value not in list(choices):
        raise ValueError(
            f"Argument `{name}` must be one of "
            f"{', '.join(map(repr, choices))}. Received: {name}={value!r}"
        )
    return value


def samples(name, value, shape, expected="inputs"):
    """Returns `value` as an array of at least one sample, all finite numbers.

    Args:
        name: String, the name of the argument.
        value: Array-like of shape (n, *shape).
        shape: Tuple of integers, the shape of one sample; None is any size.
        expected: String, what the samples must be, for the message. Defaults
            to `"inputs"`.
    """
    received = np.shape(value)
    fits = len(received) == len(shape) + 1 and all(
        wanted in (None, size)
        for wanted, size in zip(shape, received[1:], strict=True)
    )
    if not fits or not received[0]:
        raise ValueError(
            f"Argument `{name}` must be {expected} of shape "
            f"(n, {', '.join(map(str, shape))}), with n >= 1. "
            f"Received: {'None' if value is None else f'shape {received}'}"
        )
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"Argument `{name}` must be numbers. Received: dtype {array.dtype}"
        )
    # Networks compute in float32, where a large float64 is infinite.
    if array.dtype.kind == "f" and not np.all(
        np.isfinite(array.astype("float32", copy=False))
    ):
        raise ValueError(
            f"Argument `{name}` must be finite. Received: NaN or infinite "
            "values"
        )
    return array
