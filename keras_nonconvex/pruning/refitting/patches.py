"""Layers as linear maps: what each output position is computed from.

A `Patches` reads a layer whose output, before its activation, is linear in
its input. At one output position this is `row @ matrix + intercept`, where
the row holds the input values that the position sees. Groups of channels
that do not meet have a row and a matrix each.
"""

import math

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex.layouts import channel_axis

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

    Attributes:
        layer: The layer.
        kernel: The variable that holds the matrices.

    Args:
        layer: A built layer of a registered type.
    """

    def __init__(self, layer):
        self.layer = layer
        self.kernel = layer.kernel

    def axis(self, rank):
        """The axis of the channels of a tensor of this rank."""
        return channel_axis(self.layer, rank)

    def rows(self, x, picked):
        """The input values that some output positions see.

        Args:
            x: A batch of inputs, channels last, (samples, *positions, depth).
            picked: The output positions, an int array of shape (samples,
                count, axes of positions).

        Returns:
            An array of shape (groups, samples * count, features).
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


def array(variable):
    """A variable's values in float64."""
    return ops.convert_to_numpy(variable).astype("float64")


def at(x, picked):
    """The channels at some positions: (samples, count, depth)."""
    samples = np.arange(len(x))[:, None]
    return x[(samples, *np.moveaxis(picked, -1, 0))]


@patches(layers.Dense)
class DensePatches(Patches):
    def axis(self, rank):
        return rank - 1

    def rows(self, x, picked):
        return at(x, picked).reshape(1, -1, x.shape[-1])

    def matrix(self, kernel):
        return kernel[None]

    def unfolded(self, matrix):
        return matrix[0]


class _Windows(Patches):
    """Layers that see a window of the input around each position."""

    def sources(self, axis, size, out):
        """Which input index each tap of the kernel reads, and if it does.

        Args:
            axis: The axis of positions, 0 for the first.
            size: The input's length on it.
            out: Output indices, an int array.

        Returns:
            (indices, valid), arrays of shape (*out.shape, taps).
        """
        layer = self.layer
        taps = np.arange(layer.kernel_size[axis]) * layer.dilation_rate[axis]
        stride = layer.strides[axis]
        reach = int(taps[-1]) + 1
        before = {
            "valid": 0,
            "causal": reach - 1,
            "same": max((-(-size // stride) - 1) * stride + reach - size, 0)
            // 2,
        }[layer.padding]
        index = out[..., None] * stride - before + taps
        return index, (index >= 0) & (index < size)

    def windows(self, x, picked):
        """(samples, count, taps, depth): zeros where nothing is read."""
        sizes = x.shape[1:-1]
        index = np.zeros((*picked.shape[:2], 1), int)
        valid = np.ones(index.shape, bool)
        for axis, size in enumerate(sizes):
            here, inside = self.sources(axis, size, picked[..., axis])
            shape = (*index.shape[:2], -1)
            index = (
                index[..., :, None] * size
                + np.clip(here, 0, size - 1)[..., None, :]
            ).reshape(shape)
            valid = (valid[..., :, None] & inside[..., None, :]).reshape(shape)
        flat = x.reshape(len(x), math.prod(sizes), x.shape[-1])
        found = flat[np.arange(len(x))[:, None, None], index]
        return found * valid[..., None]


@patches(layers.Conv1D, layers.Conv2D, layers.Conv3D)
class ConvolutionPatches(_Windows):
    def rows(self, x, picked):
        found = self.windows(x, picked)
        taps, groups = found.shape[2], self.layer.groups
        found = found.reshape(-1, taps, groups, x.shape[-1] // groups)
        return np.moveaxis(found, 2, 0).reshape(groups, len(found), -1)

    def matrix(self, kernel):
        groups = self.layer.groups
        flat = kernel.reshape(-1, groups, kernel.shape[-1] // groups)
        return np.moveaxis(flat, 1, 0)

    def unfolded(self, matrix):
        return np.moveaxis(matrix, 0, 1).reshape(self.kernel.shape)


@patches(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
class DepthwisePatches(_Windows):
    """Each input channel is a group of its own."""

    def rows(self, x, picked):
        found = self.windows(x, picked)
        return np.moveaxis(found, 3, 0).reshape(x.shape[-1], -1, found.shape[2])

    def matrix(self, kernel):
        return np.moveaxis(kernel.reshape(-1, *kernel.shape[-2:]), 1, 0)

    def unfolded(self, matrix):
        return np.moveaxis(matrix, 0, 1).reshape(self.kernel.shape)


@patches(layers.SeparableConv1D, layers.SeparableConv2D)
class SeparablePatches(_Windows):
    """The pointwise half; what the depthwise half gives are its features."""

    def __init__(self, layer):
        self.layer = layer
        self.kernel = layer.pointwise_kernel

    def rows(self, x, picked):
        found = self.windows(x, picked)
        depthwise = array(self.layer.depthwise_kernel)
        taps = depthwise.reshape(-1, *depthwise.shape[-2:])
        features = np.einsum("nptc,tcm->npcm", found, taps)
        return features.reshape(1, -1, taps.shape[1] * taps.shape[2])

    def matrix(self, kernel):
        return kernel.reshape(1, *kernel.shape[-2:])

    def unfolded(self, matrix):
        return matrix.reshape(self.kernel.shape)


@patches(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
class TransposedPatches(_Windows):
    """Output o sees the input i through tap k where o = stride i + k - crop."""

    def sources(self, axis, size, out):
        layer = self.layer
        stride = layer.strides[axis]
        taps = np.arange(layer.kernel_size[axis]) * layer.dilation_rate[axis]
        crop = 0
        if layer.padding == "same":
            crop = max(int(taps[-1]) + 1 - stride, 0) // 2
        index, rest = np.divmod(out[..., None] + crop - taps, stride)
        return index, (rest == 0) & (index >= 0) & (index < size)

    def rows(self, x, picked):
        found = self.windows(x, picked)
        return found.reshape(1, -1, found.shape[2] * x.shape[-1])

    def matrix(self, kernel):
        kernel = np.moveaxis(kernel, -1, -2)
        return kernel.reshape(1, -1, kernel.shape[-1])

    def unfolded(self, matrix):
        *taps, filters, depth = self.kernel.shape
        return np.moveaxis(matrix.reshape(*taps, depth, filters), -1, -2)


@patches(layers.BatchNormalization)
class ScalePatches(Patches):
    """A normalization alone: each channel is multiplied and shifted."""

    def __init__(self, layer):
        self.layer = layer
        self.kernel = layer.gamma

    def axis(self, rank):
        return self.layer.axis % rank

    def rows(self, x, picked):
        return np.moveaxis(at(x, picked), -1, 0).reshape(x.shape[-1], -1, 1)

    @property
    def old(self):
        return np.ones((self.layer.moving_mean.shape[0], 1, 1))
