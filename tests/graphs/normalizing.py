"""Blocks that normalize."""

from keras import layers

from graphs.draws import ANY
from graphs.draws import SPATIAL
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import divisors
from graphs.draws import pick


@block(*ANY)
def batch_norm(x, rng):
    return layers.BatchNormalization(center=coin(rng), scale=coin(rng))(x)


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
