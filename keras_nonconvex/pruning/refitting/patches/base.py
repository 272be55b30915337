"""Layers as linear maps: what each output position is computed from.

A `Patches` reads a layer whose output, before its activation, is linear in
its input. At one output position this is `row @ matrix + intercept`, where
the row holds the input values that the position sees. Groups of channels
that do not meet have a row and a matrix each.
"""

import math

import numpy as np
from keras import ops

from keras_nonconvex import layouts

REGISTRY = {}


def patches(*kinds):
    """Class decorator: how layers of these types are read as linear maps."""

    def register(cls):
        REGISTRY.update(dict.fromkeys(kinds, cls))
        return cls

    return register


def find(layer):
    """The `Patches` of a layer, or None where it is no linear map."""
    kind = REGISTRY.get(type(layer))
    return kind(layer) if kind else None


class Patches:
    """A layer that computes each output position from its inputs linearly.

    Inputs and outputs come as `given` and `made` turn them: (samples,
    *positions, channels).

    Attributes:
        layer: The layer.
        kernel: The variable that holds the matrices.

    Args:
        layer: A built layer of a registered type.
    """

    # Why this layer cannot be read so after all, in words.
    obstacle = ""

    def __init__(self, layer):
        self.layer = layer
        self.kernel = layer.kernel

    def axes(self, rank):
        """The axes of an output of this rank that hold its channels."""
        return (layouts.channel_axis(self.layer, rank),)

    def given(self, x):
        """A batch of inputs with its channels last."""
        axis = layouts.channel_axis(self.layer, len(x.shape))
        return ops.moveaxis(x, axis, -1)

    def made(self, y):
        """A batch of outputs with its channels last."""
        return ops.moveaxis(y, *self.axes(len(y.shape)), -1)

    def sizes(self, shape):
        """The axes of positions of an output.

        Args:
            shape: The shape of the output.
        """
        others = {0, *self.axes(len(shape))}
        return [n for i, n in enumerate(shape) if i not in others]

    def rows(self, x, picked):
        """The input values that some output positions see.

        Args:
            x: A batch of inputs, as `given` turns them.
            picked: The output positions, an int tensor of shape (samples,
                count, axes of positions).

        Returns:
            A tensor of shape (groups, samples, count, features).
        """
        raise NotImplementedError

    def matrix(self, kernel):
        """A kernel as an array of shape (groups, features, outputs)."""
        raise NotImplementedError

    def unfolded(self, matrix):
        """The kernel that `matrix` was made from."""
        raise NotImplementedError

    @property
    def old(self):
        """The layer's own kernel as a matrix."""
        return self.matrix(array(self.kernel))

    @property
    def bias(self):
        """The layer's bias as a flat array, 0 where it has none."""
        bias = getattr(self.layer, "bias", None)
        return np.zeros(1) if bias is None else array(bias).reshape(-1)

    def set_bias(self, bias):
        """Gives the layer another bias.

        Args:
            bias: A flat array.
        """
        self.layer.bias.assign(bias)


def array(variable):
    """A variable's values in float64."""
    return ops.convert_to_numpy(variable).astype("float64")


def at(x, picked):
    """The channels at some positions: (samples, count, depth).

    Args:
        x: A tensor of shape (samples, *positions, depth).
        picked: As in `Patches.rows`.
    """
    sizes = x.shape[1:-1]
    index = ops.zeros(picked.shape[:2], "int32")
    for axis, size in enumerate(sizes):
        index = index * size + picked[..., axis]
    return at_flat(x, index, math.prod(sizes))


def at_flat(x, index, total):
    """Channels at flat positions: (*index.shape, depth)."""
    start = np.arange(index.shape[0], dtype="int32") * total
    start = start.reshape(-1, *[1] * (len(index.shape) - 1))
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), index + start, axis=0)
