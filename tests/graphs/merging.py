"""Blocks of several tensors."""

from keras import layers
from keras import ops

from graphs.draws import ANY
from graphs.draws import IMAGE
from graphs.draws import SEQUENCE
from graphs.draws import SPATIAL
from graphs.draws import VECTOR
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import like
from graphs.draws import pick
from graphs.draws import pointwise
from graphs.draws import ranked
from graphs.draws import usual
from graphs.draws import whole
from graphs.draws import width
from graphs.positions import pooled


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
    dot = layers.Dot(axes=2, normalize=coin(rng))
    return dot([like(x, rng), like(x, rng)])


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
