"""Groups of equal size and penalty, as the columns of one matrix.

A network has tens of kernels but few sizes of groups. XLA compiles one prox
per size, not per kernel, which is most of the time that the first step takes.
"""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import group_patterns
from keras_nonconvex.backends import compiled
from keras_nonconvex.tensors import in_full_precision


def proximal(regularizers, kernels, steps, strength, spare=0.0):
    """The prox of each kernel.

    Args:
        regularizers: One per kernel.
        kernels: List of tensors.
        steps: One tensor per kernel, as `Regularizer.proximal` takes it; of
            kernels with equal regularizers the scalar ones are equal.
        strength: Scalar tensor, the multiplier of all strengths.
        spare: A number or scalar tensor, as for `Regularizer.at`. Defaults to
            `0.0`.

    Returns:
        A list of tensors, in the shapes and data types of the kernels.
    """
    results = [None] * len(kernels)
    for regularizer, places in _alike(regularizers, kernels):
        call = _plain_proximal if regularizer.compiles else _proximal
        step = steps[places[0]]
        if len(step.shape):
            step = _joined(regularizers, steps, places)
        matrix = _joined(regularizers, kernels, places)
        new = call(matrix, step, strength, spare, regularizer=regularizer)
        new = ops.reshape(new, matrix.shape)
        parts = [new]
        if len(places) > 1:
            ends = np.cumsum(
                [_columns(regularizers[i], kernels[i]) for i in places]
            )
            parts = ops.split(new, ends[:-1].tolist(), axis=1)
        for place, part in zip(places, parts, strict=True):
            results[place] = _kernel(
                regularizers[place], part, kernels[place].shape
            )
    return results


def value(regularizers, kernels, strength, spare=0.0):
    """The sum of the regularizers' values: a scalar.

    Args:
        regularizers: One per kernel.
        kernels: List of tensors.
        strength: Scalar tensor, the multiplier of all strengths.
        spare: As for `proximal`. Defaults to `0.0`.
    """
    return sum(
        _value(
            _joined(regularizers, kernels, places),
            strength,
            spare,
            regularizer=regularizer,
        )
        for regularizer, places in _alike(regularizers, kernels)
    )


def _plain_proximal(w, step, strength, spare, regularizer):
    dtype = in_full_precision(w).dtype
    now = regularizer.at(ops.cast(strength, dtype), ops.cast(spare, dtype))
    return now.proximal(w, ops.cast(step, dtype))


_proximal = compiled(_plain_proximal)


@compiled
def _value(w, strength, spare, regularizer):
    w = in_full_precision(w)
    now = regularizer.at(ops.cast(strength, w.dtype), ops.cast(spare, w.dtype))
    return ops.cast(now.value(w), keras.config.floatx())


def _alike(regularizers, kernels):
    """[(a regularizer, the places of the kernels that it takes at once)]."""
    alike = {}
    for place, (reg, w) in enumerate(zip(regularizers, kernels, strict=True)):
        of_columns = reg.of_columns()
        key, taken = place, reg
        if of_columns is not None:
            size = group_patterns.size(w.shape, _axes(reg, w))
            dtype = keras.backend.standardize_dtype(w.dtype)
            key, taken = (of_columns, size, dtype), of_columns
        alike.setdefault(key, (taken, []))[1].append(place)
    return list(alike.values())


def _axes(regularizer, x):
    return regularizer.group_axes(len(x.shape))


def _columns(regularizer, w):
    size = group_patterns.size(w.shape, _axes(regularizer, w))
    return int(np.prod(w.shape)) // size


def _joined(regularizers, tensors, places):
    """The matrix of these kernels, or of their steps."""
    if regularizers[places[0]].of_columns() is None:
        return tensors[places[0]]
    matrices = [_matrix(regularizers[i], tensors[i]) for i in places]
    return matrices[0] if len(places) == 1 else ops.concatenate(matrices, 1)


def _order(regularizer, rank):
    axes = regularizer.group_axes(rank)
    return [*axes, *(i for i in range(rank) if i not in axes)]


def _matrix(regularizer, x):
    rows = group_patterns.size(x.shape, _axes(regularizer, x))
    order = _order(regularizer, len(x.shape))
    return ops.reshape(ops.transpose(x, order), (rows, -1))


def _kernel(regularizer, matrix, shape):
    if regularizer.of_columns() is None:
        return matrix
    order = _order(regularizer, len(shape))
    x = ops.reshape(matrix, [shape[i] for i in order])
    return ops.transpose(x, np.argsort(order).tolist())
