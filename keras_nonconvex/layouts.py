"""How layers lay out their channels, and which weights are regularized.

To teach the package a layer whose kernel is laid out in its own way, add one
row to `SLOTS`.
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
    # What a wrapper wraps is a layer of its own.
    keras.layers.Wrapper: {},
    keras.layers.BatchNormalization: {"gamma_regularizer": ("gamma", STANDARD)},
}

Slot = collections.namedtuple("Slot", "attribute variable layout")


def slots(layer):
    """The `Slot`s of a built layer: its weights that can be regularized."""
    kind = next(cls for cls in type(layer).__mro__ if cls in SLOTS)
    found = []
    for attribute, (weight, layout) in SLOTS[kind].items():
        variable = getattr(layer, weight, None)
        if isinstance(variable, keras.Variable):
            layout = layout(layer) if callable(layout) else layout
            found.append(Slot(attribute, variable, layout))
    return found


def matches(key, layer, slot):
    """Whether a rule's key means this weight of this layer.

    Args:
        key: A layer name pattern ("conv*"), a weight pattern with a slash
            ("*/gamma"), a layer type, or a function of a layer. The scales of
            batch normalization are meant by that layer type or by a weight
            pattern alone.
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
    """A regularizer or constraint whose groups suit the slot's layout."""
    if hasattr(owner, "for_layout"):
        return owner.for_layout(len(slot.variable.shape), slot.layout)
    return owner
