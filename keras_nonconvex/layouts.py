"""How layers lay out their channels, and which weights are regularized.

To support a layer whose kernel is laid out in another way, add one row to
`SLOTS`.
"""

import collections
import fnmatch

import keras

from keras_nonconvex.group_patterns import STANDARD
from keras_nonconvex.group_patterns import Layout

TRANSPOSED = Layout((-2,), (-1,))
DEPTHWISE = Layout((-2, -1), (-2,))


def channels_first(layer):
    """Whether a layer takes axis 1 for channels, not the last one."""
    return getattr(layer, "data_format", None) == "channels_first"


def channel_axis(layer, rank):
    """The axis that a layer takes for channels.

    Args:
        layer: A Keras layer or operation.
        rank: How many axes its tensor has, the batch axis included.
    """
    return 1 if channels_first(layer) else rank - 1


def einsum_letters(layer, rank=None):
    """(input, kernel, output): the letters of the axes of an EinsumDense.

    Args:
        layer: A `keras.layers.EinsumDense`.
        rank: How many axes its input has, the batch axis included: "..." is
            written out as that many digits as it takes. With None it is the
            one digit "0".
    """
    left, output = layer.equation.replace(" ", "").split("->")
    given, kernel = left.split(",")
    if "..." in given:
        missing = 1 if rank is None else rank - len(given) + 3
        dots = "".join(chr(ord("0") + i) for i in range(missing))
        given, output = (s.replace("...", dots) for s in (given, output))
    return given, kernel, output


def _einsum(layer):
    """The kernel axes that its equation hands to the output are filters."""
    _, kernel, output = einsum_letters(layer)
    places = range(-len(kernel), 0)
    return Layout(
        tuple(i for i in places if kernel[i] in output),
        tuple(i for i in places if kernel[i] not in output),
    )


# layer type -> {regularizer attribute: (weight attribute, layout)}
_SEPARABLE = {
    "depthwise_regularizer": ("depthwise_kernel", DEPTHWISE),
    "pointwise_regularizer": ("pointwise_kernel", STANDARD),
}
_TRANSPOSED = {"kernel_regularizer": ("kernel", TRANSPOSED)}
_DEPTHWISE = {"depthwise_regularizer": ("kernel", DEPTHWISE)}
SLOTS = {
    keras.layers.Layer: {"kernel_regularizer": ("kernel", STANDARD)},
    keras.layers.Conv1DTranspose: _TRANSPOSED,
    keras.layers.Conv2DTranspose: _TRANSPOSED,
    keras.layers.Conv3DTranspose: _TRANSPOSED,
    keras.layers.DepthwiseConv1D: _DEPTHWISE,
    keras.layers.DepthwiseConv2D: _DEPTHWISE,
    keras.layers.SeparableConv1D: _SEPARABLE,
    keras.layers.SeparableConv2D: _SEPARABLE,
    keras.layers.EinsumDense: {"kernel_regularizer": ("kernel", _einsum)},
    keras.layers.Embedding: {
        "embeddings_regularizer": ("_embeddings", STANDARD)
    },
    # The layer inside a wrapper is visited by itself.
    keras.layers.Wrapper: {},
    keras.layers.BatchNormalization: {"gamma_regularizer": ("gamma", STANDARD)},
}

Slot = collections.namedtuple("Slot", "attribute variable layout")


def slots(layer):
    """Returns the `Slot`s of a built layer: what can carry a regularizer."""
    kind = next(cls for cls in type(layer).__mro__ if cls in SLOTS)
    known = []
    for attribute, (weight, layout) in SLOTS[kind].items():
        variable = getattr(layer, weight, None)
        if isinstance(variable, keras.Variable):
            layout = layout(layer) if callable(layout) else layout
            known.append(Slot(attribute, variable, layout))
    return known


def matches(key, layer, slot):
    """Whether the key of a rule means this weight of this layer.

    Args:
        key: A pattern of layer names (`"conv*"`), a pattern of layer and
            weight names (`"*/gamma"`), a layer class, or a function of a
            layer. Only a pattern of weights or the class
            `BatchNormalization` means the scales of batch normalization.
        layer: A Keras layer.
        slot: One of its `slots`.
    """
    if isinstance(key, str) and "/" in key:
        return fnmatch.fnmatchcase(f"{layer.name}/{slot.variable.name}", key)
    if slot.attribute == "gamma_regularizer":
        return (
            isinstance(key, type)
            and issubclass(key, keras.layers.BatchNormalization)
            and isinstance(layer, key)
        )
    if isinstance(key, str):
        return fnmatch.fnmatchcase(layer.name, key)
    if isinstance(key, type):
        return isinstance(layer, key)
    return key(layer)


def fitted(owner, slot):
    """Returns a regularizer or constraint with groups for a slot's layout."""
    if hasattr(owner, "for_layout"):
        return owner.for_layout(len(slot.variable.shape), slot.layout)
    return owner
