"""Blocks that normalize."""

import keras
from keras import layers

from graphs.draws import ACTIVATIONS
from graphs.draws import ANY
from graphs.draws import SPATIAL
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import divisors
from graphs.draws import inner_inputs
from graphs.draws import pick


@block(*ANY)
def batch_norm(x, rng):
    return layers.BatchNormalization(center=coin(rng), scale=coin(rng))(x)


@block(*ANY)
def batch_norm_in_training(x, rng):
    """By what the batch at hand has, in inference too; alone or nested."""
    layer = layers.BatchNormalization()
    if coin(rng):
        return layer(x, training=True)
    inputs = inner_inputs(x)
    outputs = layer(layers.Activation(pick(rng, ACTIVATIONS))(inputs))
    return keras.Model(inputs, outputs)(x, training=True)


@block(*SPATIAL)
def batch_norm_of_positions(x, rng):
    return layers.BatchNormalization(axis=1)(x)


@block(*ANY)
def layer_norm(x, rng):
    scale = coin(rng, 0.8)
    return layers.LayerNormalization(center=scale and coin(rng), scale=scale)(x)


@block(*SPATIAL)
def layer_norm_of_positions(x, rng):
    axes = list(range(1, len(x.shape) - 1))
    return layers.LayerNormalization(axis=axes, scale=coin(rng))(x)


@block(*SPATIAL)
def group_norm(x, rng):
    groups = pick(rng, divisors(x.shape[-1]))
    return layers.GroupNormalization(groups, center=coin(rng), scale=coin(rng))(
        x
    )


@block(*SPATIAL)
def group_norm_of_all(x, rng):
    return layers.GroupNormalization(1)(x)


@block(*ANY)
def unit_norm(x, rng):
    return layers.UnitNormalization()(x)


@block(*ANY)
def rms_norm(x, rng):
    return layers.RMSNormalization()(x)
