"""Dense layers, and normalizations alone."""

import math

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex import layouts
from keras_nonconvex.pruning.refitting.patches.base import Patches
from keras_nonconvex.pruning.refitting.patches.base import array
from keras_nonconvex.pruning.refitting.patches.base import at
from keras_nonconvex.pruning.refitting.patches.base import patches


@patches(layers.Dense)
class DensePatches(Patches):
    def axes(self, rank):
        return (rank - 1,)

    def given(self, x):
        return x

    def rows(self, x, picked):
        return at(x, picked)[None]

    def matrix(self, kernel):
        return kernel[None]

    def unfolded(self, matrix):
        return matrix[0]


@patches(layers.EinsumDense)
class EinsumPatches(Patches):
    """Letters that the input, the kernel and the output share are groups."""

    def __init__(self, layer):
        super().__init__(layer)
        rank = layer.input_spec.ndim
        given, kernel, made = layouts.einsum_letters(layer, rank)
        self._letters = given, kernel, made
        groups = [a for a in kernel if a in given and a in made]
        self._features = [a for a in kernel if a not in made]
        self._outputs = [a for a in kernel if a not in given]
        self._channels = groups + self._outputs
        self._groups = groups
        self._positions = [a for a in made if a not in kernel]
        self._sizes = dict(zip(kernel, layer.kernel.shape, strict=True))
        if self._positions[:1] != [given[0]] or not set(given) <= {
            *kernel,
            *made,
        }:
            self.obstacle = "its equation sums over positions"
        elif layer.bias is not None and math.prod(layer.bias.shape) != (
            self._count(self._channels)
        ):
            self.obstacle = "its bias is not one number per channel"
        elif layer.bias is None and self._channels != [made[-1]]:
            self.obstacle = "it has no bias and can be given none"

    def _count(self, letters):
        return math.prod(self._sizes[a] for a in letters)

    def axes(self, rank):
        _, _, made = self._letters
        return tuple(map(made.index, self._channels))

    def given(self, x):
        order = [*self._positions, *self._groups, *self._features]
        x = ops.transpose(x, list(map(self._letters[0].index, order)))
        return ops.reshape(x, (*x.shape[: len(self._positions)], -1))

    def made(self, y):
        order = [*self._positions, *self._channels]
        y = ops.transpose(y, list(map(self._letters[2].index, order)))
        return ops.reshape(y, (*y.shape[: len(self._positions)], -1))

    def rows(self, x, picked):
        found = at(x, picked)
        groups = self._count(self._groups)
        found = ops.reshape(found, (*found.shape[:2], groups, -1))
        return ops.moveaxis(found, 2, 0)

    def matrix(self, kernel):
        order = [*self._groups, *self._features, *self._outputs]
        kernel = kernel.transpose(list(map(self._letters[1].index, order)))
        groups, features = map(self._count, (self._groups, self._features))
        return kernel.reshape(groups, features, -1)

    def unfolded(self, matrix):
        order = [*self._groups, *self._features, *self._outputs]
        matrix = matrix.reshape([self._sizes[a] for a in order])
        return matrix.transpose(list(map(order.index, self._letters[1])))

    @property
    def bias(self):
        if self.layer.bias is None:
            return np.zeros(1)
        there = [a for a in self._letters[2] if a in self._channels]
        bias = array(self.layer.bias).reshape([self._sizes[a] for a in there])
        return bias.transpose(list(map(there.index, self._channels))).ravel()

    def set_bias(self, bias):
        there = [a for a in self._letters[2] if a in self._channels]
        bias = bias.reshape([self._sizes[a] for a in self._channels])
        bias = bias.transpose(list(map(self._channels.index, there)))
        self.layer.bias.assign(bias.reshape(self.layer.bias.shape))


@patches(layers.BatchNormalization)
class ScalePatches(Patches):
    """A normalization alone: each channel is multiplied and shifted."""

    def __init__(self, layer):
        self.layer = layer
        self.kernel = layer.gamma
        if not (layer.scale and layer.center):
            self.obstacle = "it has no scale or no shift"

    def axes(self, rank):
        return (self.layer.axis % rank,)

    def given(self, x):
        return ops.moveaxis(x, self.layer.axis, -1)

    def rows(self, x, picked):
        return ops.moveaxis(at(x, picked), -1, 0)[..., None]

    @property
    def old(self):
        return np.ones((self.layer.moving_mean.shape[0], 1, 1))
