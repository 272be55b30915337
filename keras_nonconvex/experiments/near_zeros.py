"""Sparsity as papers count it: weights and neurons that are nearly zero."""

import keras
import numpy as np

from keras_nonconvex import graph

_DENSE = keras.layers.Dense
_CONV = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def near_zeros(model, tolerance=1e-5):
    """The shares of weights and of neurons that are zero or nearly so.

    A neuron is a filter of a convolution or an input unit of a dense layer
    with the weights that leave it. It counts as zero if the mean of their
    magnitudes is at most the tolerance. (Bui, Park, Zhang, Qi, Xin 2021.)

    Args:
        model: A built model.
        tolerance: A number >= 0, the largest magnitude that counts as zero; 0
            for exact zeros. Defaults to `1e-5`, the paper's.

    Returns:
        (weights, neurons): the share of all trainable weights, biases and
        scales included, and the share of the neurons.
    """
    weights = [np.asarray(w).ravel() for w in _trainable(model)]
    means = []
    for layer in graph.sublayers(model):
        if isinstance(layer, (_DENSE, *_CONV)):
            kernel = np.abs(keras.ops.convert_to_numpy(layer.kernel))
            of = -2 if isinstance(layer, _DENSE) else -1
            means.append(
                np.moveaxis(kernel, of, 0).reshape(kernel.shape[of], -1).mean(1)
            )
    weights, means = np.abs(np.concatenate(weights)), np.concatenate(means)
    return float((weights <= tolerance).mean()), float(
        (means <= tolerance).mean()
    )


def cleared(model, tolerance=1e-5):
    """Sets weights of kernels that are nearly zero exactly to zero.

    Args:
        model: A built model, changed in place.
        tolerance: As for `near_zeros`. Defaults to `1e-5`.

    Returns:
        The same model.
    """
    for layer in graph.sublayers(model):
        if isinstance(layer, (_DENSE, *_CONV)):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            small = np.abs(kernel) <= tolerance
            layer.kernel.assign(np.where(small, 0, kernel))
    return model


def _trainable(model):
    return map(keras.ops.convert_to_numpy, model.trainable_variables)
