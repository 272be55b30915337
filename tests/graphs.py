"""Random graphs of every layer family, and what has to hold for their plans.

A graph grows block by block. A kind of block is a function `x, rng -> x`; to
add one, write it below its like under `@block(...)`, and say in
`test_random_graphs.py` if channels cannot be pruned through it.

    python tests/graphs.py SEED
"""

import contextlib
import dataclasses
import io
import math
import os
import pathlib
import signal
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from helpers import images
from helpers import run
from keras import layers
from keras import ops
from keras.utils import get_source_inputs

from keras_nonconvex import graph
from keras_nonconvex import pruning
from keras_nonconvex.pruning.channels.trace import Trace

# Ranks of the tensors that a kind takes, with the batch axis.
VECTOR, SEQUENCE, IMAGE, VOLUME = 2, 3, 4, 5
ANY = (VECTOR, SEQUENCE, IMAGE, VOLUME)
SPATIAL = (SEQUENCE, IMAGE, VOLUME)

# A block whose output has more values per sample is not taken.
MOST_VALUES = 1200

# Graphs are in float64: what is left of rounding is far below this, and what
# is above it is a mistake, however small. In float32, 1e-5 would both excuse
# some mistakes and accuse deep graphs of none.
TOLERANCE = 1e-9

KINDS = {}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of block: the function, the ranks it takes, if it makes anew."""

    build: callable
    ranks: tuple
    makes: bool


def block(*ranks, makes=False):
    """Decorator: a kind of block for tensors of these ranks.

    Args:
        ranks: See above.
        makes: Whether it makes new channels; such kinds are drawn more often.
    """

    def register(function):
        KINDS[function.__name__] = Kind(function, ranks, makes)
        return function

    return register


# Draws.


def coin(rng, p=0.5):
    return bool(rng.random() < p)


def whole(rng, low, high):
    """An integer from low to high, both included."""
    return int(rng.integers(low, high + 1))


def pick(rng, options):
    return options[whole(rng, 0, len(options) - 1)]


def width(rng):
    return whole(rng, 2, 8)


def window(x, rng, most=3):
    """A size per axis of positions, not larger than the tensor."""
    return tuple(whole(rng, 1, min(most, n)) for n in x.shape[1:-1])


def divisors(n):
    """Those above 1, or 1 alone."""
    return [d for d in range(2, n + 1) if n % d == 0] or [1]


def ranked(stem, x):
    """The layer type of this name for the tensor's positions."""
    return getattr(layers, f"{stem}{len(x.shape) - 2}D")


ACTIVATIONS = (
    "linear relu relu6 elu selu celu gelu silu mish tanh sigmoid softplus "
    "softsign hard_sigmoid hard_silu hard_tanh hard_shrink soft_shrink "
    "tanh_shrink leaky_relu log_sigmoid squareplus sparse_plus sparse_sigmoid"
).split()


def activation(rng):
    """None is as frequent as all the others."""
    return pick(rng, ACTIVATIONS) if coin(rng) else None


def usual(rng):
    """What layers with a kernel have in common."""
    return {"activation": activation(rng), "use_bias": coin(rng, 0.7)}


def pointwise(x, rng, filters, **options):
    """New channels at the same positions."""
    if len(x.shape) == VECTOR or coin(rng, 0.3):
        return layers.Dense(filters, **{**usual(rng), **options})(x)
    return ranked("Conv", x)(filters, 1, **{**usual(rng), **options})(x)


def like(x, rng, **options):
    """Other values of the same shape, from new channels."""
    if len(x.shape) == VECTOR or coin(rng):
        return pointwise(x, rng, x.shape[-1], **options)
    options = {**usual(rng), **options}
    size = window(x, rng)
    return ranked("Conv", x)(x.shape[-1], size, padding="same", **options)(x)


# Layers with kernels.


@block(*SPATIAL, makes=True)
def conv(x, rng):
    size = window(x, rng)
    options = {"padding": pick(rng, ["same", "valid"])}
    if coin(rng, 0.3):
        options["strides"] = whole(rng, 1, 2)
    elif all(2 * k - 1 <= n for k, n in zip(size, x.shape[1:], strict=False)):
        options["dilation_rate"] = whole(rng, 1, 2)
    if len(x.shape) == SEQUENCE and coin(rng, 0.3):
        options["padding"] = "causal"
    return ranked("Conv", x)(width(rng), size, **options, **usual(rng))(x)


@block(*SPATIAL)
def grouped_conv(x, rng):
    groups = pick(rng, divisors(x.shape[-1]))
    filters = groups * whole(rng, 1, max(1, 8 // groups))
    options = {"padding": pick(rng, ["same", "valid"]), "groups": groups}
    size = window(x, rng)
    return ranked("Conv", x)(filters, size, **options, **usual(rng))(x)


@block(SEQUENCE, IMAGE)
def depthwise_conv(x, rng):
    options = {"padding": pick(rng, ["same", "valid"]), "strides": 1}
    options["depth_multiplier"] = whole(rng, 1, 2)
    if coin(rng, 0.3):
        options["strides"] = 2
    size = window(x, rng)
    return ranked("DepthwiseConv", x)(size, **options, **usual(rng))(x)


@block(SEQUENCE, IMAGE, makes=True)
def separable_conv(x, rng):
    options = {"padding": pick(rng, ["same", "valid"])}
    options["depth_multiplier"] = whole(rng, 1, 2)
    size = whole(rng, 1, min(3, *x.shape[1:-1]))
    layer = ranked("SeparableConv", x)
    return layer(width(rng), size, **options, **usual(rng))(x)


@block(*SPATIAL, makes=True)
def transposed_conv(x, rng):
    options = {"padding": pick(rng, ["same", "valid"])}
    options["strides"] = whole(rng, 1, 2)
    size = whole(rng, 1, 3)
    layer = ranked("Conv", x).__name__ + "Transpose"
    return getattr(layers, layer)(width(rng), size, **options, **usual(rng))(x)


@block(*ANY, makes=True)
def dense(x, rng):
    return layers.Dense(width(rng), **usual(rng))(x)


def einsum(x, rng, equation, shape, bias_axes):
    return layers.EinsumDense(
        equation,
        output_shape=shape,
        bias_axes=bias_axes if coin(rng) else None,
        activation=activation(rng),
    )(x)


@block(*ANY, makes=True)
def einsum_units(x, rng):
    units = width(rng)
    if len(x.shape) <= SEQUENCE and coin(rng, 0.3):
        # Keras 3.15 turns the order of several axes under "..." round.
        return einsum(x, rng, "...x,xy->...y", (units,), "y")
    given = "abcde"[: len(x.shape)]
    equation = f"{given},{given[-1]}z->{given[:-1]}z"
    return einsum(x, rng, equation, (*x.shape[1:-1], units), "z")


@block(VECTOR, SEQUENCE, IMAGE, makes=True)
def einsum_heads(x, rng):
    """Two new axes; the bias runs along one or both.

    Not along the first alone: Keras 3.15 adds a bias of shape (n, 1) to the
    last axis where that has size n.
    """
    shape = (*x.shape[1:-1], whole(rng, 2, 3), whole(rng, 2, 4))
    given = "abcd"[: len(x.shape)]
    equation = f"{given},{given[-1]}yz->{given[:-1]}yz"
    return einsum(x, rng, equation, shape, pick(rng, ["yz", "z"]))


@block(IMAGE, makes=True)
def einsum_joined(x, rng):
    """The last two axes become one."""
    shape = (x.shape[1], width(rng))
    return einsum(x, rng, "abcd,cdz->abz", shape, "z")


@block(*SPATIAL)
def einsum_scale(x, rng):
    """A value per channel, or per position and channel."""
    given = "abcde"[: len(x.shape)]
    kernel = given[-whole(rng, 1, 2) :]
    return einsum(x, rng, f"{given},{kernel}->{given}", x.shape[1:], given[-1])


@block(SEQUENCE, makes=True)
def einsum_positions(x, rng):
    """Channels stay; positions are mixed."""
    shape = (whole(rng, 2, 6), x.shape[2])
    return einsum(x, rng, "abc,bz->azc", shape, pick(rng, ["c", "zc"]))


# Normalizations.


@block(*ANY)
def batch_norm(x, rng):
    return layers.BatchNormalization(center=coin(rng), scale=coin(rng))(x)


@block(*SPATIAL)
def batch_norm_of_positions(x, rng):
    return layers.BatchNormalization(axis=1)(x)


@block(*ANY)
def layer_norm(x, rng):
    return layers.LayerNormalization(center=coin(rng), scale=coin(rng))(x)


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


# Value by value.


@block(*ANY)
def any_activation(x, rng):
    return layers.Activation(pick(rng, ACTIVATIONS))(x)


@block(*ANY)
def activation_layer(x, rng):
    return pick(
        rng,
        [
            layers.ReLU(max_value=4.0, negative_slope=0.1),
            layers.ReLU(threshold=0.5),
            layers.LeakyReLU(),
            layers.ELU(),
        ],
    )(x)


@block(*ANY)
def exponential(x, rng):
    """exp(0) is 1; the bound keeps it from towers of exponentials."""
    return layers.Activation("exponential")(layers.Activation("tanh")(x))


@block(*ANY)
def prelu(x, rng):
    axes = [a for a in range(1, len(x.shape)) if coin(rng)]
    return layers.PReLU(shared_axes=axes or None)(x)


@block(*ANY)
def softmax(x, rng):
    if coin(rng):
        return layers.Activation(pick(rng, ["softmax", "log_softmax"]))(x)
    return layers.Softmax()(x)


@block(*SPATIAL)
def softmax_over_positions(x, rng):
    axes = list(range(1, len(x.shape) - 1))
    return layers.Softmax(axis=pick(rng, [axes[0], axes]))(x)


@block(*ANY)
def dropout(x, rng):
    options = [
        layers.Dropout(0.3),
        layers.GaussianDropout(0.3),
        layers.GaussianNoise(0.3),
        layers.AlphaDropout(0.3),
        layers.ActivityRegularization(l2=0.1),
        layers.Identity(),
    ]
    if len(x.shape) > VECTOR:
        options.append(ranked("SpatialDropout", x)(0.3))
    return pick(rng, options)(x)


@block(*ANY)
def rescaling(x, rng):
    return layers.Rescaling(0.5, offset=pick(rng, [0.0, 0.3]))(x)


# Positions.


@block(*SPATIAL)
def pooling(x, rng):
    stem = pick(rng, ["MaxPooling", "AveragePooling"])
    size = min(2, *x.shape[1:-1])
    padding = pick(rng, ["same", "valid"])
    return pooled(x, stem, size, strides=pick(rng, [None, 1]), padding=padding)


def pooled(x, stem, size, **options):
    """TensorFlow pools volumes in float32 alone."""
    if len(x.shape) == VOLUME:
        options["dtype"] = "float32"
    return ranked(stem, x)(size, **options)(x)


@block(
    SEQUENCE, IMAGE
)  # In three dimensions it divides by zero (TensorFlow 2.21).
def adaptive_pooling(x, rng):
    stem = pick(rng, ["AdaptiveMaxPooling", "AdaptiveAveragePooling"])
    return pooled(x, stem, window(x, rng, 4))


@block(*SPATIAL)
def global_pooling(x, rng):
    stem = pick(rng, ["GlobalMaxPooling", "GlobalAveragePooling"])
    return ranked(stem, x)(keepdims=coin(rng))(x)


@block(*SPATIAL)
def zero_padding(x, rng):
    size = tuple((whole(rng, 0, 2), whole(rng, 0, 2)) for _ in x.shape[1:-1])
    size = size[0] if len(size) == 1 else size
    return ranked("ZeroPadding", x)(size)(x)


@block(*SPATIAL)
def cropping(x, rng):
    size = tuple((whole(rng, 0, n > 2), int(n > 3)) for n in x.shape[1:-1])
    size = size[0] if len(size) == 1 else size
    return ranked("Cropping", x)(size)(x)


@block(*SPATIAL)
def upsampling(x, rng):
    options = {}
    if len(x.shape) == IMAGE:
        options["interpolation"] = pick(rng, ["nearest", "bilinear"])
    return ranked("UpSampling", x)(2, **options)(x)


@block(IMAGE)
def resizing(x, rng):
    return layers.Resizing(whole(rng, 3, 7), whole(rng, 3, 7))(x)


@block(IMAGE)
def center_crop(x, rng):
    return layers.CenterCrop(*(max(1, n - 1) for n in x.shape[1:-1]))(x)


@block(VECTOR)
def repeat_vector(x, rng):
    return layers.RepeatVector(whole(rng, 2, 4))(x)


# Axes.


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
    groups = pick(rng, divisors(x.shape[-1]))
    y = layers.Reshape((*x.shape[1:-1], groups, x.shape[-1] // groups))(x)
    rank = len(x.shape)
    y = layers.Permute((*range(1, rank - 1), rank, rank - 1))(y)
    return layers.Reshape(x.shape[1:])(y)


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


# Several tensors.


@block(*ANY)
def merge(x, rng):
    kinds = "Add Subtract Multiply Average Maximum Minimum".split()
    count = whole(rng, 2, 3)
    layer = getattr(layers, pick(rng, kinds))
    if layer is layers.Subtract:
        count = 2
    return layer()([like(x, rng) for _ in range(count)])


@block(*ANY)
def residual(x, rng):
    y = like(x, rng)
    if coin(rng):
        y = layers.BatchNormalization()(y)
    y = like(y, rng, activation=None) if coin(rng) else y
    return layers.Add()([x, y])


@block(IMAGE)
def inverted_residual(x, rng):
    y = layers.Conv2D(2 * x.shape[-1], 1, use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.Conv2D(x.shape[-1], 1, use_bias=False)(y)
    return layers.Add()([x, layers.BatchNormalization()(y)])


@block(*ANY)
def preactivation(x, rng):
    """BN, ReLU, conv: what `select=True` is for."""
    y = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.Add()([x, like(y, rng, activation=None)])


@block(IMAGE, makes=True)
def option_a_shortcut(x, rng):
    """The parameter-free shortcut of the CIFAR residual networks."""
    more = whole(rng, 1, 3)
    filters = x.shape[-1] + 2 * more
    y = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
    x = layers.AveragePooling2D(2, padding="same")(x)
    x = layers.Permute((2, 1))(layers.Reshape((-1, x.shape[-1]))(x))
    x = layers.Permute((2, 1))(layers.ZeroPadding1D(more)(x))
    return layers.Add()([layers.Reshape(y.shape[1:])(x), y])


@block(*SPATIAL)
def squeeze_excite(x, rng):
    """A factor per channel: kept dimensions, a Reshape, or an expansion."""
    pool = ranked(pick(rng, ["GlobalAveragePooling", "GlobalMaxPooling"]), x)
    kept = coin(rng)
    y = pool(keepdims=kept)(x)
    y = layers.Dense(whole(rng, 1, 4), activation="relu")(y)
    y = layers.Dense(x.shape[-1], activation="sigmoid")(y)
    if not kept and coin(rng):
        y = layers.Reshape((*[1] * (len(x.shape) - 2), x.shape[-1]))(y)
    elif not kept:
        y = ops.expand_dims(y, axis=tuple(range(1, len(x.shape) - 1)))
    if coin(rng):
        return ops.multiply(x, y)
    return layers.Multiply()([x, y])


@block(*SPATIAL)
def spatial_attention(x, rng):
    """A factor per position."""
    y = pointwise(x, rng, 1, activation="sigmoid")
    return layers.Multiply()([x, y])


@block(*ANY, makes=True)
def inception(x, rng):
    branches = [x] if coin(rng) else []
    branches += [pointwise(x, rng, width(rng)) for _ in range(whole(rng, 1, 2))]
    if len(x.shape) > VECTOR and coin(rng):
        y = pooled(x, "MaxPooling", 2, strides=1, padding="same")
        branches.append(pointwise(y, rng, width(rng)))
    return layers.Concatenate()([*branches, like(x, rng)])


@block(*ANY, makes=True)
def dense_block(x, rng):
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, pointwise(y, rng, whole(rng, 1, 3))])
    return x


@block(*SPATIAL)
def concatenate_positions(x, rng):
    return layers.Concatenate(axis=1)([x, like(x, rng)])


@block(SEQUENCE)
def dot_of_channels(x, rng):
    """Positions by positions: the channels are summed over."""
    return layers.Dot(axes=2)([like(x, rng), like(x, rng)])


@block(SEQUENCE)
def dot_of_positions(x, rng):
    """Channels by channels, one sum over positions each."""
    return layers.Dot(axes=1)([like(x, rng), pointwise(x, rng, width(rng))])


@block(IMAGE)
def u_net(x, rng):
    y = layers.Conv2D(width(rng), 3, padding="same", **usual(rng))(x)
    z = layers.MaxPooling2D(2, padding="same")(y)
    z = layers.Conv2D(width(rng), 3, padding="same", **usual(rng))(z)
    if coin(rng):
        z = layers.UpSampling2D(2)(z)
    else:
        z = layers.Conv2DTranspose(width(rng), 2, strides=2)(z)
    z = layers.Cropping2D(((0, x.shape[1] % 2), (0, x.shape[2] % 2)))(z)
    return pointwise(layers.Concatenate()([y, z]), rng, width(rng))


# Sequences.


@block(SEQUENCE)
def self_attention(x, rng):
    return attention(rng, x, x)


@block(SEQUENCE)
def cross_attention(x, rng):
    y = pointwise(x, rng, width(rng))
    return attention(rng, x, layers.MaxPooling1D(2, padding="same")(y))


def attention(rng, query, value):
    layer = layers.MultiHeadAttention(
        whole(rng, 2, 4),
        key_dim=2,
        value_dim=pick(rng, [None, 3]),
        output_shape=pick(rng, [None, width(rng)]),
        use_bias=coin(rng),
    )
    if coin(rng):
        return layer(query, value)
    return layer(query, key=value, value=value)


def recurrent(rng):
    """A recurrent layer; without a sequence for an output in one of two."""
    layer = pick(rng, [layers.SimpleRNN, layers.LSTM, layers.GRU])
    options = {"return_sequences": coin(rng), "use_bias": coin(rng, 0.8)}
    if layer is layers.GRU:
        options["reset_after"] = coin(rng)
    if coin(rng, 0.3):
        options["activation"] = pick(rng, ["relu", "sigmoid"])
    return layer(whole(rng, 2, 5), **options)


@block(SEQUENCE, makes=True)
def rnn(x, rng):
    return recurrent(rng)(x)


@block(SEQUENCE, makes=True)
def bidirectional(x, rng):
    mode = pick(rng, ["concat", "sum", "mul", "ave"])
    return layers.Bidirectional(recurrent(rng), merge_mode=mode)(x)


@block(*SPATIAL, makes=True)
def time_distributed(x, rng):
    options = [layers.Dense(width(rng), **usual(rng))]
    if len(x.shape) > SEQUENCE:
        inner = getattr(layers, f"Conv{len(x.shape) - 3}D")
        options.append(inner(width(rng), 2, padding="same", **usual(rng)))
    return layers.TimeDistributed(pick(rng, options))(x)


# Operations.


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
    return pick(rng, [lambda: x * array, lambda: x + array])()


@block(*SPATIAL)
def op_reshape(x, rng):
    return ops.reshape(x, (-1, math.prod(x.shape[1:-1]), x.shape[-1]))


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


# Layers and models more than once.


@block(*SPATIAL)
def shared(x, rng):
    """A layer called twice, on itself or on two tensors."""
    filters = x.shape[-1]
    layer = ranked("Conv", x)(filters, 1, **usual(rng))
    if coin(rng):
        return layer(layer(x))
    return layers.Concatenate()([layer(x), layer(like(x, rng))])


def inner_inputs(x):
    return keras.Input(x.shape[1:])


def called(model, x, rng):
    """A nested model on this tensor, its further inputs on new ones."""
    others = [keras.Input(t.shape[1:]) for t in model.inputs[1:]]
    return model([x, *others]) if others else model(x)


@block(*ANY, makes=True)
def nested_functional(x, rng):
    inputs = inner_inputs(x)
    outputs = grow(inputs, rng, whole(rng, 1, 2))[-1]
    model = keras.Model(sources(inputs, outputs), outputs)
    y = called(model, x, rng)
    if coin(rng) and len(model.inputs) == 1:
        z = model(like(x, rng))
        return layers.Concatenate()([y, z])
    return y


@block(*ANY, makes=True)
def nested_of_two_outputs(x, rng):
    inputs = inner_inputs(x)
    y = like(inputs, rng)
    outputs = [like(y, rng), pointwise(y, rng, x.shape[-1])]
    y, z = keras.Model(inputs, outputs)(x)
    return layers.Add()([y, z])


@block(*ANY, makes=True)
def nested_sequential(x, rng):
    model = sequential(x.shape[1:], rng, whole(rng, 1, 3))
    return model(x)


@block(*ANY)
def another_input(x, rng):
    other = keras.Input(x.shape[1:])
    return layers.Add()([x, like(other, rng)])


@keras.saving.register_keras_serializable("graphs")
class Odd(layers.Layer):
    """A layer that no rule speaks of: each channel sees its neighbour."""

    def call(self, x):
        return x + 0.5 * ops.roll(x, 1, axis=-1)


@block(*ANY)
def unknown(x, rng):
    return Odd()(x)


# Graphs.


def grow(x, rng, steps, kinds=None):
    """The tensors that a chain of random blocks passes, the first given."""
    seen = [x]
    while steps > 0:
        steps -= 1
        makes = len(seen) == 1 or coin(rng, 0.4)
        names = [
            name
            for name, kind in (kinds or KINDS).items()
            if len(x.shape) in kind.ranks and (kind.makes or not makes)
        ]
        y = KINDS[pick(rng, names)].build(x, rng)
        if len(y.shape) not in ANY or math.prod(y.shape[1:]) > MOST_VALUES:
            continue
        x = y
        alike = [t for t in seen if tuple(t.shape) == tuple(x.shape)]
        if alike and coin(rng, 0.2):  # A connection over several blocks.
            layer = pick(rng, [layers.Add, layers.Concatenate, layers.Multiply])
            x = layer()([x, pick(rng, alike)])
        seen.append(x)
    return seen


def sources(first, outputs):
    """All inputs of a graph, this one first."""
    found = [first]
    for output in keras.tree.flatten(outputs):
        for tensor in get_source_inputs(output):
            if not any(tensor is known for known in found):
                found.append(tensor)
    return found if len(found) > 1 else first


def sequential(shape, rng, steps):
    """A Sequential model of the kinds that are one layer."""
    model = keras.Sequential([keras.Input(shape)])
    x = keras.Input(shape)
    while steps > 0 or not model.layers:
        steps -= 1
        names = [
            name
            for name, kind in KINDS.items()
            if len(x.shape) in kind.ranks
            and name not in ("nested_sequential", "another_input")
        ]
        y = KINDS[pick(rng, names)].build(x, rng)
        layer = y._keras_history.operation
        alone = isinstance(layer, layers.Layer) and layer.input is x
        if alone and math.prod(y.shape[1:]) <= MOST_VALUES:
            model.add(type(layer).from_config(layer.get_config()))
            x = inner_inputs(y)
    return model


def random_input(rng):
    shape = pick(
        rng,
        [
            (whole(rng, 3, 8),),
            (whole(rng, 4, 8), width(rng)),
            (whole(rng, 4, 8), width(rng)),
            *[(whole(rng, 6, 9), whole(rng, 6, 9), whole(rng, 1, 4))] * 4,
            (4, 4, whole(rng, 3, 4), whole(rng, 1, 3)),
        ],
    )
    return keras.Input(shape)


def head(x, rng):
    """An output of the model."""
    if len(x.shape) > VECTOR:
        pool = ranked("GlobalAveragePooling", x)()
        x = pick(rng, [layers.Flatten(), pool])(x)
    last = pick(rng, [None, "softmax", "sigmoid"])
    return layers.Dense(whole(rng, 1, 4), activation=last)(x)


def random_model(rng):
    """A small model with random layers and random weights.

    Args:
        rng: A `numpy.random.Generator`.
    """
    keras.utils.clear_session(free_memory=False)
    inputs = random_input(rng)
    if coin(rng, 0.1):
        model = sequential(inputs.shape[1:], rng, whole(rng, 3, 7))
        model.add(layers.Flatten())
        model.add(layers.Dense(3))
    else:
        seen = grow(inputs, rng, whole(rng, 2, 6))
        ends = [seen[-1]]
        if coin(rng, 0.25):
            ends.append(pick(rng, seen[1:] or seen))
        outputs = [x if coin(rng, 0.15) else head(x, rng) for x in ends]
        model = keras.Model(sources(inputs, outputs), outputs)
    randomize(model, rng)
    if coin(rng):
        # As in a process that did not build the model: names start anew.
        keras.utils.clear_session(free_memory=False)
    return model


def randomize(model, rng):
    """Random weights; some channels are made or read by zeros alone."""
    dead = {id(layer) for layer in model.layers if coin(rng, 0.04)}
    for layer in model.layers:
        for weight in layer.weights:
            name, shape = weight.name, tuple(weight.shape)
            if name in ("moving_variance", "gamma", "scale"):
                values = rng.uniform(0.3, 1.5, size=shape)
                if name != "moving_variance":
                    values[rng.random(shape) < 0.15] = 0
            elif "kernel" in name:
                size = math.prod(shape) / shape[-1]
                values = rng.normal(size=shape) * 1.2 / np.sqrt(size)
                for axis in range(max(0, len(shape) - 2), len(shape)):
                    zero = rng.random(shape[axis]) < 0.15
                    np.moveaxis(values, axis, 0)[zero] = 0
                values *= id(layer) not in dead
            else:
                values = rng.normal(size=shape) * 0.4
                values[rng.random(shape) < 0.3] = 0
                values *= id(layer) not in dead
            weight.assign(values)


@contextlib.contextmanager
def float64():
    """A scope in which Keras works in float64."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def within(seconds):
    """A scope that raises if it takes longer: no seed may hang a run."""

    def stop(*_):
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# What has to hold.


def random_options(rng):
    """Arguments of `pruning.plan`."""
    key = pick(rng, ["params", "params", "channels"])
    return {
        "budget": {key: float(rng.uniform(0.1, 0.9))},
        "round_to": pick(rng, [1, 1, 2, 3, 4]),
        "min_channels": whole(rng, 0, 2),
        "max_ratio": pick(rng, [1.0, 1.0, 0.7]),
        "ranking": pick(rng, ["global", "layer"]),
        "select": coin(rng, 0.3),
        "on_constant": "keep",
    }


def difference(first, second):
    """The greatest one, in units of the greatest value of each output."""
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-3))
        for a, b in zip(first, second, strict=True)
    )


def dropping(plan):
    return any(not all(layer.keep) for layer in plan.layers)


def assert_same(what, first, second, tolerance=TOLERANCE):
    found = difference(first, second)
    assert found <= tolerance, f"{what}: they differ by {found:.2g}"


def operations(model):
    """All layers and operations, those of nested models too."""
    for operation in graph.functional(model).operations:
        yield operation
        if graph.is_graph(operation):
            yield from operations(operation)


def check(seed):
    """One graph, three plans.

    Returns:
        {"lost": whether the plan with a budget drops channels,
        "edited": whether its edited form could be carried out,
        "zeros": whether there were superfluous channels}.
    """
    rng = np.random.default_rng(seed)
    with float64(), within(60):
        model = random_model(rng)
        return Check(model, rng).run()


# The sentences with which an edited plan may be refused.
REFUSALS = ("cannot be removed", "keeps no channel")


class Check:
    """What has to hold for every plan of one model."""

    def __init__(self, model, rng):
        self.model = model
        self.rng = rng
        self.x = images(model, 3, rng, "float64")
        self.before = [w.numpy().copy() for w in model.variables]
        self.outputs = run(model, self.x)
        for y in self.outputs:
            assert np.isfinite(y).all(), "the graph itself is not finite"

    def run(self):
        zeros = pruning.plan(self.model)
        if dropping(zeros):
            _, outputs = self.removed("no budget", zeros)
            assert_same("no budget, original", self.outputs, outputs)
        scores = self.rng.random(10**4)
        options = random_options(self.rng)
        plan = pruning.plan(
            self.model, lambda trace: scores[: len(trace)], **options
        )
        found = {"lost": dropping(plan), "zeros": dropping(zeros)}
        small, outputs = self.removed(f"{options}", plan)
        self.saved(small, outputs)
        found["edited"] = self.edited(plan)
        for w, old in zip(self.model.variables, self.before, strict=True):
            np.testing.assert_array_equal(w.numpy(), old)
        assert_same("original", self.outputs, run(self.model, self.x), 0)
        return found

    def removed(self, what, plan, edited=False):
        """The small model, which computes what the masked one does."""
        small, masked = plan.apply(self.model), plan.mask(self.model)
        outputs = run(small, self.x)
        assert_same(f"{what}: masked, small", run(masked, self.x), outputs)
        if not edited:
            count = small.count_params()
            assert count == plan.after["params"], (
                f"{what}: {count} parameters, plan {plan.after['params']}"
            )
        known = {op.name for op in operations(self.model)}
        more = [
            op.name
            for op in operations(small)
            if op.name not in known and type(op).__name__ not in ("Take", "Add")
        ]
        assert not more, f"{what}: new layers {more}"
        return small, outputs

    def saved(self, small, outputs):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "small.keras"
            small.save(path)
            loaded = keras.models.load_model(path)
        assert_same("saved, loaded", outputs, run(loaded, self.x), 0)

    def edited(self, plan):
        """A random keep mask of the user's own is exact, or refused."""
        trace = Trace(self.model, plan.select)
        keep = self.rng.random(len(trace)) < self.rng.uniform(0.3, 1.0)
        keep |= ~trace.free
        for layer in plan.layers:
            if layer.keep:
                ids = np.concatenate(trace.made[layer.name])
                layer.keep = keep[trace.root_of[ids]].tolist()
        try:
            self.removed("edited", plan, edited=True)
        except ValueError as error:
            if not any(text in str(error) for text in REFUSALS):
                raise
            return False
        return True


def summary(model):
    """The layers, one a line."""
    text = io.StringIO()
    model.summary(
        print_fn=lambda line: print(line, file=text), expand_nested=True
    )
    return text.getvalue()


def describe(seed):
    """The graph of a seed, for a message."""
    with float64():
        return summary(random_model(np.random.default_rng(seed)))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(describe(int(argument)))
        print(check(int(argument)))
