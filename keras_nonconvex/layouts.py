"""How layers lay out their channels, and which weights are regularized.

To support a layer whose kernel is laid out in another way, add one row to
`SLOTS`. All other weights, such as biases, are `STANDARD`, and rules mean
them where they name the weight.
"""

import collections

import keras

from keras_nonconvex import graph
from keras_nonconvex import layer_names
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


# layer type -> {regularizer argument: (weight attribute, layout)}
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
        "embeddings_regularizer": ("embeddings", STANDARD)
    },
    # The layer inside a wrapper is visited by itself.
    keras.layers.Wrapper: {},
    keras.layers.BatchNormalization: {"gamma_regularizer": ("gamma", STANDARD)},
}

Slot = collections.namedtuple("Slot", "attribute variable layout by_weight")
Slot.__doc__ = """A weight of a layer that can carry a regularizer.

Attributes:
    attribute: The argument of the layer that holds the regularizer.
    variable: The weight.
    layout: Its `Layout`.
    by_weight: Whether only a pattern that names the weight means it.
"""

# A slot, and its layer after the models and layers around that layer.
Place = collections.namedtuple("Place", "layers slot")

# Where it is not the weight's name and "_regularizer".
_ARGUMENTS = {"recurrent_kernel": "recurrent_regularizer"}


def kernels(layer):
    """Returns the `Slot`s that the table above has for a built layer."""
    kind = next(cls for cls in type(layer).__mro__ if cls in SLOTS)
    known = []
    for attribute, (weight, layout) in SLOTS[kind].items():
        for name in (f"_{weight}", weight):
            # With LoRA the public one is a sum.
            variable = getattr(layer, name, None)
            if isinstance(variable, keras.Variable):
                layout = layout(layer) if callable(layout) else layout
                named = attribute == "gamma_regularizer"
                known.append(Slot(attribute, variable, layout, named))
                break
    return known


def slots(layer):
    """Returns the `Slot`s of a built layer: all of its trainable weights."""
    known = kernels(layer)
    taken = {id(slot.variable) for slot in known}
    # `SpectralNormalization` has the kernel of the layer inside, too.
    for inner in layer._flatten_layers(include_self=False):
        taken.update(map(id, inner.variables))
    for variable in layer._trainable_variables:
        # Factors of LoRA have no groups, and no argument of their own.
        if id(variable) not in taken and "lora_" not in variable.name:
            name = variable.name
            argument = _ARGUMENTS.get(name, f"{name}_regularizer")
            known.append(Slot(argument, variable, STANDARD, True))
    return known


def closed(layer):
    """Why no penalty can act on a layer's kernel, in words; None if it can."""
    mode = getattr(layer, "quantization_mode", None)
    if mode not in (None, "float8"):
        return f"is quantized ({mode}) and does not train"
    if getattr(layer, "lora_enabled", False):
        return "is frozen by enable_lora, and what LoRA adds to it has no zeros"
    return None


def places(model):
    """Returns a `Place` for each slot in a model, shared layers once.

    Args:
        model: A model, or a layer for the slots inside of it.
    """
    found, seen = [], set()
    for chain in graph.chains(model):
        if id(chain[-1]) not in seen:
            seen.add(id(chain[-1]))
            found += [Place(chain, slot) for slot in slots(chain[-1])]
    return found


def name(place):
    """The names of a place's layers, from the outermost on: "block/conv"."""
    return "/".join(layer.name for layer in place.layers)


def matches(key, place):
    """Whether the key of a rule means this weight of this layer.

    The name and the class of a layer mean those inside of it too; those of a
    nested model do not.

    Args:
        key: A pattern of layer names (`"conv*"`) or of the whole path of a
            layer (`"backbone/conv*"`), a pattern of layer and weight names
            (`"*/gamma"`), a layer class, or a function of a layer. Only a
            pattern that names the weight means others than kernels; the
            class `BatchNormalization` means its scales.
        place: One of the `places` of a model.
    """
    slot = place.slot
    owners = [v for v in place.layers if not isinstance(v, keras.Model)]
    if isinstance(key, str):
        names = [*(layer.name for layer in owners), name(place)]
        weights = [f"{path}/{slot.variable.name}" for path in names]
        if "/" in key and _any(weights, key):
            return not (slot.by_weight and key.endswith("/*"))
        return not slot.by_weight and _any(names, key)
    if slot.by_weight:
        return (
            slot.attribute == "gamma_regularizer"
            and isinstance(key, type)
            and issubclass(key, keras.layers.BatchNormalization)
            and isinstance(owners[-1], key)
        )
    if isinstance(key, type):
        return any(isinstance(layer, key) for layer in owners)
    return key(owners[-1])


def _any(names, pattern):
    return any(layer_names.matches(pattern, name) for name in names)


def fitted(owner, slot):
    """Returns a regularizer or constraint with groups for a slot's layout."""
    if hasattr(owner, "for_layout"):
        return owner.for_layout(len(slot.variable.shape), slot.layout)
    return owner
