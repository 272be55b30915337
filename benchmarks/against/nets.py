"""CIFAR-10 ResNets in Keras, of any widths, from their weights."""

import math

import keras
import numpy as np
from keras import layers
from keras import ops

from against.weights import blocks


def weights_of(model):
    """{layer name: its weights} of a Keras model, in the order of layers."""
    return {
        layer.name: layer.get_weights()
        for layer in model.layers
        if layer.weights
    }


def positions(model):
    """{name of a layer with a kernel: how many positions its output has}."""
    return {
        layer.name: math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if hasattr(layer, "kernel")
    }


def build(weights, name="resnet"):
    """The Keras model of weights with projections, as `weights.py` names them.

    Args:
        weights: {layer name: list of arrays}; the widths are read from them.
        name: The model's name.
    """
    x = entry = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU(name="bn1_relu")(_conv_bn(weights, x, "conv1", "bn1"))
    for block in blocks(weights):
        short = f"{block}short"
        stride = 2 if short in weights else 1
        y = _conv_bn(weights, x, f"{block}conv1", f"{block}bn1", stride)
        y = layers.ReLU(name=f"{block}bn1_relu")(y)
        y = _conv_bn(weights, y, f"{block}conv2", f"{block}bn2")
        if short in weights:
            x = _conv(weights, x, short, stride)
        x = layers.Add(name=f"{block}add")([x, y])
        x = layers.ReLU(name=f"{block}relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    units = weights["linear"][0].shape[-1]
    model = keras.Model(entry, layers.Dense(units, name="linear")(x), name=name)
    for layer, arrays in weights.items():
        model.get_layer(layer).set_weights(arrays)
    return model


def difference(a, b):
    """The greatest difference of logits, relative to the greatest one."""
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / np.abs(b).max())


def logits(model, x):
    """The model's outputs as a NumPy array."""
    return ops.convert_to_numpy(model(x, training=False))


def _conv_bn(weights, x, conv, bn, stride=1):
    x = _conv(weights, x, conv, stride)
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=bn)(x)


def _conv(weights, x, name, stride):
    size, _, _, filters = weights[name][0].shape
    padding = "same"
    if stride > 1:
        # PyTorch pads both sides alike, Keras' 'same' does not.
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return layers.Conv2D(
        filters, size, stride, padding, use_bias=False, name=name
    )(x)
