"""Blocks of Keras operations."""

import math

import keras
import numpy as np
from keras import layers
from keras import ops

from graphs.draws import ANY
from graphs.draws import IMAGE
from graphs.draws import SEQUENCE
from graphs.draws import SPATIAL
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import like
from graphs.draws import pick
from graphs.draws import pointwise
from graphs.draws import whole
from graphs.draws import width


@block(*ANY)
def op_arithmetic(x, rng):
    return pick(
        rng,
        [
            lambda: x * 2 + 1,
            lambda: 1.5 - x,
            lambda: x / 3,
            lambda: -x,
            lambda: ops.square(ops.tanh(x)),
            lambda: ops.abs(x),
            lambda: ops.sin(x),
            lambda: ops.clip(x, -0.5, 2.0),
        ],
    )()


@block(*ANY)
def op_activation(x, rng):
    return getattr(ops, pick(rng, ["relu", "gelu", "sigmoid", "silu"]))(x)


@block(*ANY)
def op_merge(x, rng):
    op = pick(rng, [ops.add, ops.subtract, ops.multiply, ops.maximum])
    return op(x, like(x, rng))


@block(*ANY)
def op_array(x, rng):
    """An array with a value per channel."""
    array = rng.normal(size=x.shape[-1])
    y = pick(rng, [lambda: x * array, lambda: x + array])()
    # Keras 3.15 takes the product for sparse, which own layers do not take.
    y._sparse = False
    return y


@block(*SPATIAL)
def op_reshape(x, rng):
    """Some with the batch of three that all graphs are run with."""
    batch = pick(rng, [-1, -1, 3])
    return ops.reshape(x, (batch, math.prod(x.shape[1:-1]), x.shape[-1]))


@block(*SPATIAL)
def op_mean(x, rng):
    axis = pick(rng, [1, tuple(range(1, len(x.shape) - 1))])
    op = pick(rng, [ops.mean, ops.max, ops.sum])
    return op(x, axis=axis, keepdims=coin(rng))


@block(*SPATIAL)
def op_mean_of_channels(x, rng):
    return ops.mean(x, axis=-1, keepdims=True)


@block(*ANY)
def op_concatenate(x, rng):
    return ops.concatenate([x, like(x, rng)], axis=-1)


@block(*ANY)
def op_split(x, rng):
    """A part of the channels goes another way."""
    place = whole(rng, 1, max(1, x.shape[-1] - 1))
    if x.shape[-1] == 1:
        return x
    first, second = ops.split(x, [place], axis=-1)
    second = pointwise(second, rng, width(rng))
    return ops.concatenate([first, second], axis=-1)


@block(*SPATIAL)
def op_pad(x, rng):
    more = [(0, 0) for _ in x.shape]
    axis = whole(rng, 1, len(x.shape) - 1)
    more[axis] = (whole(rng, 0, 2), 1)
    return ops.pad(x, more)


@block(*SPATIAL)
def op_transpose(x, rng):
    order = [0, *rng.permutation(np.arange(1, len(x.shape))).tolist()]
    return ops.transpose(x, order)


@block(*ANY)
def op_expand_and_squeeze(x, rng):
    axis = whole(rng, 1, len(x.shape))
    y = ops.relu(ops.expand_dims(x, axis))
    return ops.squeeze(y, axis)


@block(SEQUENCE)
def op_matmul(x, rng):
    """Attention by hand, over positions."""
    query, key = (pointwise(x, rng, 3, activation=None) for _ in range(2))
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
    return ops.matmul(layers.Softmax()(scores), like(x, rng))


@block(*ANY)
def op_slices(x, rng):
    """Channels part and come back in another order."""
    place = whole(rng, 0, x.shape[-1] - 1)
    first, second = x[..., :place], x[..., place:]
    if coin(rng):
        second = pointwise(second, rng, width(rng))
    parts = [second, first] if place else [second]
    step = pick(rng, [-1, 1, 2])
    return ops.concatenate(parts, axis=-1)[..., ::step]


@block(*ANY)
def op_select(x, rng):
    """Channels are chosen, repeated or turned round."""
    count = x.shape[-1]
    return pick(
        rng,
        [
            lambda: ops.take(x, rng.integers(0, count, size=3), axis=-1),
            lambda: ops.repeat(x, 2, axis=-1),
            lambda: ops.tile(x, (*[1] * (len(x.shape) - 1), 2)),
            lambda: ops.flip(x, axis=-1),
            lambda: ops.roll(x, 1, axis=-1),
        ],
    )()


@block(*SPATIAL)
def op_slice_positions(x, rng):
    return x[:, whole(rng, 0, 1) :, ..., : max(1, x.shape[-1] - 1)]


@block(IMAGE)
def op_image(x, rng):
    # Reflection needs two positions; of free axes nothing is known.
    least = min(n or 1 for n in x.shape[1:3])
    mirror = "reflect" if least > 1 else "symmetric"
    return pick(
        rng,
        [
            lambda: ops.image.resize(x, (whole(rng, 3, 6), 5)),
            lambda: ops.average_pool(x, 2, 1, "same"),
            lambda: ops.max_pool(x, 2, 2, "same"),
            lambda: ops.nn.space_to_depth(x[:, :2, :2], 2),
            lambda: ops.pad(x, ((0, 0), (1, 1), (0, 1), (0, 0)), mirror),
        ],
    )()


@block(IMAGE)
def op_depth_to_space(x, rng):
    x = pointwise(x, rng, 4 * whole(rng, 1, 3))
    return ops.nn.depth_to_space(x, 2)


def typed(x):
    """Keras 3.15 says that a normalized tensor is of float32, always."""
    return ops.cast(x, keras.config.floatx())


@block(*ANY)
def op_norm(x, rng):
    """Not added: with as many samples as channels, Keras 3.15 takes what is
    added for a bias.
    """
    order = pick(rng, [1, 2, 3])
    return pick(
        rng,
        [
            lambda: typed(ops.normalize(x, axis=-1, order=order)),
            lambda: typed(ops.normalize(x, axis=1, order=order)),
            lambda: x - ops.norm(x, ord=2, axis=-1, keepdims=True),
            lambda: x - ops.sum(x, axis=-1, keepdims=True),
        ],
    )()


@block(*ANY)
def op_glu(x, rng):
    return ops.glu(pointwise(x, rng, 2 * width(rng)), axis=-1)


@block(*ANY)
def op_where(x, rng):
    y = like(x, rng)
    return ops.where(ops.logical_and(x > 0.1, y < 1.0), x, 0.3 * y)


@block(*ANY)
def op_einsum(x, rng):
    """By a constant matrix, and by other channels."""
    matrix = rng.normal(size=(x.shape[-1], width(rng)))
    y = ops.einsum("...c,cd->...d", x, matrix)
    return ops.einsum("...c,...c->...c", y, like(y, rng))
