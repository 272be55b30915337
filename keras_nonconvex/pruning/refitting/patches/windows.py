"""Convolutions: each output position sees a window of the input."""

import math

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex.pruning.refitting.patches.base import Patches
from keras_nonconvex.pruning.refitting.patches.base import at_flat
from keras_nonconvex.pruning.refitting.patches.base import patches


class _Windows(Patches):
    """Layers that see a window of the input around each position."""

    def sources(self, axis, size, out):
        """Which input index each tap of the kernel reads, and if it does.

        Args:
            axis: The axis of positions, 0 for the first.
            size: The input's length on it.
            out: Output indices, an int tensor.

        Returns:
            (indices, valid), tensors of shape (*out.shape, taps).
        """
        layer = self.layer
        taps = self.taps(axis)
        stride = layer.strides[axis]
        reach = int(taps[-1]) + 1
        before = {
            "valid": 0,
            "causal": reach - 1,
            "same": max((-(-size // stride) - 1) * stride + reach - size, 0)
            // 2,
        }[layer.padding]
        index = out[..., None] * stride - before + taps
        return index, ops.logical_and(index >= 0, index < size)

    def taps(self, axis):
        """Where the taps of the kernel lie on an axis of positions."""
        layer = self.layer
        taps = np.arange(layer.kernel_size[axis]) * layer.dilation_rate[axis]
        return taps.astype("int32")

    def windows(self, x, picked):
        """(samples, count, taps, depth): zeros where nothing is read."""
        sizes = x.shape[1:-1]
        index = ops.zeros((*picked.shape[:2], 1), "int32")
        valid = ops.ones(index.shape, "bool")
        for axis, size in enumerate(sizes):
            here, inside = self.sources(axis, size, picked[..., axis])
            shape = (*index.shape[:2], -1)
            index = ops.reshape(
                index[..., :, None] * size
                + ops.clip(here, 0, size - 1)[..., None, :],
                shape,
            )
            valid = ops.reshape(
                ops.logical_and(valid[..., :, None], inside[..., None, :]),
                shape,
            )
        found = at_flat(x, index, math.prod(sizes))
        return found * ops.cast(valid, found.dtype)[..., None]


@patches(layers.Conv1D, layers.Conv2D, layers.Conv3D)
class ConvolutionPatches(_Windows):
    def rows(self, x, picked):
        found = self.windows(x, picked)
        *shape, depth = found.shape
        groups = self.layer.groups
        found = ops.reshape(found, (*shape, groups, depth // groups))
        found = ops.moveaxis(found, 3, 0)
        return ops.reshape(found, (groups, *shape[:2], -1))

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
        return ops.moveaxis(self.windows(x, picked), 3, 0)

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
        taps = ops.convert_to_tensor(self.layer.depthwise_kernel)
        taps = ops.reshape(taps, (-1, *taps.shape[-2:]))
        features = ops.einsum("nptc,tcm->npcm", found, taps)
        return ops.reshape(features, (1, *found.shape[:2], -1))

    def matrix(self, kernel):
        return kernel.reshape(1, *kernel.shape[-2:])

    def unfolded(self, matrix):
        return matrix.reshape(self.kernel.shape)


@patches(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
class TransposedPatches(_Windows):
    """Output o sees the input i through tap k where o = stride i + k - crop."""

    def sources(self, axis, size, out):
        stride, taps = self.layer.strides[axis], self.taps(axis)
        crop = 0
        if self.layer.padding == "same":
            crop = max(int(taps[-1]) + 1 - stride, 0) // 2
        reached = out[..., None] + crop - taps
        index = ops.floor_divide(reached, stride)
        there = ops.logical_and(index >= 0, index < size)
        return index, ops.logical_and(index * stride == reached, there)

    def rows(self, x, picked):
        found = self.windows(x, picked)
        return ops.reshape(found, (1, *found.shape[:2], -1))

    def matrix(self, kernel):
        kernel = np.moveaxis(kernel, -1, -2)
        return kernel.reshape(1, -1, kernel.shape[-1])

    def unfolded(self, matrix):
        *taps, filters, depth = self.kernel.shape
        return np.moveaxis(matrix.reshape(*taps, depth, filters), -1, -2)
