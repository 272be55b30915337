"""Layers that treat every channel by itself."""

import numpy as np
from keras import layers

from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import rule
from keras_nonconvex.pruning.rules.weighted import freeze_if_mixed


@rule(
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
    layers.Identity,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
)
class Passing(Rule):
    def channels(self, layer, inputs, space):
        (x,) = inputs
        return x.ids


@rule(layers.Activation)
class ActivationRule(Passing):
    def channels(self, layer, inputs, space):
        ids = super().channels(layer, inputs, space)
        freeze_if_mixed(layer.activation, ids, layer, space)
        return ids


@rule(layers.BatchNormalization)
class BatchNormalizationRule(Rule):
    def channels(self, layer, inputs, space):
        (x,) = inputs
        if layer.axis not in (-1, len(x.shape) - 1):
            return space.freeze_all(
                layer, inputs, f"'{layer.name}' normalises another axis"
            )
        if layer.scale:
            space.use(layer, "gamma", 0, x.ids, "scale")
        if layer.center:
            space.use(layer, "beta", 0, x.ids, "shift")
        space.use(layer, "moving_mean", 0, x.ids, "state")
        space.use(layer, "moving_variance", 0, x.ids, "state")
        return x.ids


@rule(layers.Flatten)
class FlattenRule(Rule):
    def channels(self, layer, inputs, space):
        (x,) = inputs
        return np.tile(x.ids, int(np.prod(x.shape[1:-1])))
