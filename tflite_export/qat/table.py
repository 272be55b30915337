"""Keras 3 layer -> layers of `tf_keras` that compute the same.

Each function gets the description so far, the layer, and the indices of the
nodes that it reads; it adds nodes and returns the index of the last.
"""

import re

import keras
import numpy as np
from keras import activations
from keras import layers
from keras import ops

from keras_nonconvex import graph

_TWINS = {}
# Layers that change training images alone. A random crop has another size.
_AUGMENTATIONS = [
    getattr(layers, name)
    for name in dir(layers)
    if re.fullmatch("Rand(?!omCrop).*|AugMix|CutMix|MixUp", name)
]


def find(operation):
    """The function that describes a layer or operation, or None."""
    kind = type(operation)
    if kind not in _TWINS and graph.of_keras(kind):
        return _TWINS.get(kind.__name__)
    return _TWINS.get(kind)


def _named(name):
    return "Activation", {"activation": name}


ACTIVATIONS = {
    activations.relu: ("ReLU", {}),
    activations.relu6: ("ReLU", {"max_value": 6.0}),
    activations.leaky_relu: ("LeakyReLU", {"alpha": 0.2}),
    activations.softmax: ("Softmax", {}),
    activations.silu: _named("swish"),
    activations.hard_sigmoid: ("hard_sigmoid", {}),
    activations.hard_silu: ("hard_silu", {}),
    **{
        getattr(activations, name): _named(name)
        for name in (
            "elu exponential gelu selu sigmoid softplus softsign tanh"
        ).split()
    },
}


def _twin(*keys):
    """Decorator: the function describes exactly these layer types.

    A string names an operation that `keras.ops` leaves in a model.
    """

    def register(function):
        _TWINS.update(dict.fromkeys(keys, function))
        return function

    return register


# Arguments that Keras 2 lacks, and those of initial values and penalties.
_DROPPED = re.compile(
    "name|dtype|activation|quantization_config|synchronized|renorm.*"
    "|rms_scaling|.*_(initializer|regularizer|constraint)"
)


def _config(layer, **changes):
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not _DROPPED.fullmatch(key)
    }
    return {**config, **changes}


@_twin(layers.InputLayer)
def _input(twin, layer):
    _, *shape = layer.batch_shape
    if None in shape:
        raise ValueError(
            "The input size must be fixed. "
            f"Received: input '{layer.name}' of shape {tuple(shape)}"
        )
    return twin.add("Input", [], {"shape": shape})


@_twin(
    layers.AveragePooling2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.MaxPooling2D,
    layers.Permute,
    layers.Reshape,
    layers.SpatialDropout2D,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
)
def _same(twin, layer, x):
    return twin.add(type(layer).__name__, x, _config(layer))


@_twin(layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)
@_twin(layers.Dense)
def _weighted(twin, layer, x):
    x = twin.add(type(layer).__name__, x, _config(layer), layer.get_weights())
    return twin.activation(x, layer.activation)


@_twin(layers.SeparableConv2D)
def _separable(twin, layer, x):
    config = _config(layer)
    depthwise, pointwise, *bias = layer.get_weights()
    filters = config.pop("filters")
    config.pop("groups", None)
    x = twin.add(
        "DepthwiseConv2D", x, {**config, "use_bias": False}, [depthwise]
    )
    config = {
        "filters": filters,
        "kernel_size": 1,
        "use_bias": layer.use_bias,
        "trainable": layer.trainable,
    }
    x = twin.add("Conv2D", x, config, [pointwise, *bias])
    return twin.activation(x, layer.activation)


@_twin(layers.BatchNormalization)
def _batch_normalization(twin, layer, x):
    axis = layer.axis % twin.rank()
    if axis != twin.rank() - 1:
        raise ValueError(
            "Batch normalization must be over the last axis. "
            f"Received: layer '{graph.name(twin.call)}' with axis={layer.axis}"
        )
    if twin.rank() == 4 and not twin.follows(x, "Conv2D", "DepthwiseConv2D"):
        x = twin.affine(x, 1.0, 0.0)
    config = _config(layer, axis=axis)
    return twin.add("BatchNormalization", x, config, layer.get_weights())


@_twin(layers.LayerNormalization)
def _layer_normalization(twin, layer, x):
    if layer.rms_scaling:
        raise ValueError(
            "Layer normalization by root mean squares has no twin. "
            f"Received: layer '{graph.name(twin.call)}'"
        )
    config = _config(layer)
    return twin.add("LayerNormalization", x, config, layer.get_weights())


@_twin(layers.Normalization)
def _normalization(twin, layer, x):
    mean, variance = (
        ops.convert_to_numpy(v).reshape(-1)
        for v in (layer.mean, layer.variance)
    )
    if mean.size not in (1, twin.call.inputs[0].shape[-1]):
        raise ValueError(
            "Normalization must be over the last axis. Received: layer "
            f"'{graph.name(twin.call)}' with {mean.size} means"
        )
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        return twin.affine(x, deviation, mean)
    return twin.affine(x, 1 / deviation, -mean / deviation)


@_twin(layers.Rescaling)
def _rescaling(twin, layer, x):
    return twin.affine(x, layer.scale, layer.offset)


@_twin(layers.Activation)
def _activation(twin, layer, x):
    return twin.activation(x, layer.activation)


@_twin(layers.ReLU)
def _relu(twin, layer, x):
    usual = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}
    config = {name: getattr(layer, name) for name in usual}
    changed = {k: v for k, v in config.items() if v != usual[k]}
    return twin.relu(x, changed)


@_twin(layers.LeakyReLU)
def _leaky_relu(twin, layer, x):
    return twin.add("LeakyReLU", x, {"alpha": layer.negative_slope})


@_twin(layers.ELU)
def _elu(twin, layer, x):
    return twin.add("ELU", x, {"alpha": layer.alpha})


@_twin(layers.Softmax)
def _softmax(twin, layer, x):
    return twin.add("Softmax", x, {"axis": layer.axis})


@_twin(
    *_AUGMENTATIONS,
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    "Identity",
)
def _nothing(twin, layer, x):
    return x


@_twin(layers.Add, layers.Multiply, layers.Maximum, layers.Minimum)
@_twin(layers.Subtract, layers.Average)
def _merged(twin, layer, *inputs):
    kind = type(layer).__name__
    if kind == "Average" and len(inputs) != 2:
        raise ValueError(
            "An average is taken of two tensors. Received: layer "
            f"'{graph.name(twin.call)}' with {len(inputs)}"
        )
    x, *others = inputs
    for y in others:
        x = twin.add(kind, [x, y])
    return x


@_twin("Add", "Multiply", "Subtract", "Maximum", "Minimum")
def _operator(twin, operation, *inputs):
    kind = type(operation).__name__
    if len(inputs) == 2:
        return twin.add(kind, list(inputs))
    args = twin.call.node.arguments.args
    constants = [a for a in args if not isinstance(a, keras.KerasTensor)]
    (value,) = (np.asarray(ops.convert_to_numpy(a)) for a in constants)
    (x,) = inputs
    first = isinstance(args[0], keras.KerasTensor)
    per_channel = value.size in (1, np.shape(value)[-1] if value.ndim else 1)
    if per_channel and kind == "Add":
        return twin.affine(x, 1.0, value.reshape(-1))
    if per_channel and kind == "Multiply":
        return twin.affine(x, value.reshape(-1), 0.0)
    if per_channel and kind == "Subtract" and first:
        return twin.affine(x, 1.0, -value.reshape(-1))
    if per_channel and kind == "Subtract":
        return twin.affine(x, -1.0, value.reshape(-1))
    if kind == "Add":
        return twin.add("add_constant", x, {"value": value.tolist()})
    raise ValueError(
        "Quantization-aware training knows no twin of this operation with a "
        f"constant. Received: operation '{graph.name(twin.call)}' ({kind})"
    )


def _argument(twin, place, name, default=None):
    arguments = twin.call.node.arguments
    if len(arguments.args) > place:
        return arguments.args[place]
    return arguments.kwargs.get(name, default)


@_twin("Pad")
def _pad(twin, operation, x):
    value = _argument(twin, 1, "constant_values")
    if operation.mode != "constant" or (value is not None and np.any(value)):
        raise ValueError(
            "Only padding with zeros has a twin. "
            f"Received: operation '{graph.name(twin.call)}'"
        )
    width = np.broadcast_to(operation.pad_width, (twin.rank(), 2)).tolist()
    return twin.add("pad", x, {"width": width})


@_twin("Take")
def _take(twin, operation, x):
    indices = np.asarray(_argument(twin, 1, "indices")).tolist()
    axis = operation.axis % twin.rank()
    return twin.add("take", x, {"indices": indices, "axis": axis})


@_twin("Relu", "Relu6", "Silu", "Sigmoid", "Tanh")
def _function(twin, operation, x):
    function = getattr(activations, type(operation).__name__.lower())
    return twin.activation(x, function)


@_twin(layers.Concatenate, "Concatenate")
def _concatenate(twin, operation, *inputs):
    # tf_keras' own layer would not do: TFMOT drops the ranges of the tensors
    # that it joins, which other layers may need.
    axis = operation.axis % twin.rank()
    return twin.add("concatenate", list(inputs), {"axis": axis})
