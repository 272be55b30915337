"""Blocks of layers with kernels."""

from keras import layers

from graphs.draws import ACTIVATIONS
from graphs.draws import ANY
from graphs.draws import IMAGE
from graphs.draws import SEQUENCE
from graphs.draws import SPATIAL
from graphs.draws import VECTOR
from graphs.draws import activation
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import divisors
from graphs.draws import pick
from graphs.draws import ranked
from graphs.draws import usual
from graphs.draws import whole
from graphs.draws import width
from graphs.draws import window


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


@block(*SPATIAL, makes=True)
def normed_convs(x, rng):
    """What networks are made of: convolutions that pad, norms with shifts.

    One sum of channels has one or two readers, that see other constants.
    """
    filters = whole(rng, 4, 8)
    conv = ranked("Conv", x)

    def padding(x, filters, groups=1):
        size = [whole(rng, 2, 3) for _ in x.shape[1:-1]]
        options = {"padding": "same", "groups": groups, **usual(rng)}
        return conv(filters, size, **options)(x)

    parts = [padding(x, filters) for _ in range(whole(rng, 1, 2))]
    y = layers.Add()(parts) if len(parts) > 1 else parts[0]
    if coin(rng, 0.3):
        y = layers.Concatenate()([y, padding(x, whole(rng, 1, 4))])
    ends = []
    for _ in range(whole(rng, 1, 2)):
        end = layers.BatchNormalization(scale=coin(rng))(y)
        end = layers.Activation(pick(rng, ACTIVATIONS))(end)
        # TensorFlow pools no volumes in float64.
        if len(x.shape) <= IMAGE and coin(rng, 0.3):
            kind = pick(rng, ["MaxPooling", "AveragePooling"])
            end = ranked(kind, x)(2, strides=1, padding="same")(end)
        groups = pick(rng, [1, 1, *divisors(end.shape[-1])])
        ends.append(padding(end, 6 * groups if groups > 1 else 6, groups))
    if len({tuple(end.shape) for end in ends}) > 1:
        return layers.Concatenate()(ends)
    return layers.Add()(ends) if len(ends) > 1 else ends[0]


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
