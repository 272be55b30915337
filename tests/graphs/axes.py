"""Blocks that change the axes."""

import math

import numpy as np
from keras import layers

from graphs.draws import ACTIVATIONS
from graphs.draws import IMAGE
from graphs.draws import SEQUENCE
from graphs.draws import SPATIAL
from graphs.draws import VECTOR
from graphs.draws import VOLUME
from graphs.draws import block
from graphs.draws import divisors
from graphs.draws import pick
from graphs.draws import ranked
from graphs.draws import usual
from graphs.draws import whole
from graphs.draws import width


@block(*SPATIAL)
def flatten(x, rng):
    return layers.Dense(width(rng), **usual(rng))(layers.Flatten()(x))


@block(IMAGE, VOLUME)
def reshape_to_sequence(x, rng):
    return layers.Reshape((-1, x.shape[-1]))(x)


@block(SEQUENCE, IMAGE)
def reshape_to_more(x, rng):
    """Positions get an axis of one; channels stay whole."""
    return layers.Reshape((*x.shape[1:-1], 1, x.shape[-1]))(x)


@block(VECTOR, SEQUENCE, IMAGE)
def reshape_channels(x, rng):
    """An axis of channels becomes two."""
    first = pick(rng, divisors(x.shape[-1]))
    return layers.Reshape((*x.shape[1:-1], first, x.shape[-1] // first))(x)


@block(SEQUENCE, IMAGE)
def channel_shuffle(x, rng):
    return shuffled(x, pick(rng, divisors(x.shape[-1])))


def shuffled(x, groups):
    y = layers.Reshape((*x.shape[1:-1], groups, x.shape[-1] // groups))(x)
    rank = len(x.shape)
    y = layers.Permute((*range(1, rank - 1), rank, rank - 1))(y)
    return layers.Reshape(x.shape[1:])(y)


@block(SEQUENCE, IMAGE)
def shuffled_groups(x, rng):
    """Convolutions in as many groups on both sides of a shuffle."""
    size = x.shape[-1]
    groups = pick(rng, [d for d in divisors(size) if 2 * d <= size] or [1])
    for i in range(2):
        filters = groups * whole(rng, 2, 3)
        x = ranked("Conv", x)(filters, 1, groups=groups, **usual(rng))(x)
        x = shuffled(x, groups) if i == 0 else x
    return x


@block(VECTOR, makes=True)
def dense_to_image(x, rng):
    shape = (whole(rng, 2, 3), whole(rng, 2, 3), whole(rng, 2, 4))
    x = layers.Dense(math.prod(shape), **usual(rng))(x)
    return layers.Reshape(shape)(x)


@block(*SPATIAL)
def permute(x, rng):
    order = rng.permutation(np.arange(1, len(x.shape))).tolist()
    return layers.Permute(order)(x)


@block(*SPATIAL)
def permute_and_back(x, rng):
    order = rng.permutation(np.arange(1, len(x.shape)))
    y = layers.Permute(order.tolist())(x)
    y = layers.Activation(pick(rng, ACTIVATIONS))(y)
    return layers.Permute((np.argsort(order) + 1).tolist())(y)
