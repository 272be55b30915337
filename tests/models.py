"""A zoo of small graphs with random weights, for the pruning tests."""

import keras
import numpy as np
from keras import layers
from keras import ops


def randomize(model, seed, zero_fraction=0.0):
    """Random weights; `zero_fraction` of the filters exactly zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            values = rng.normal(size=weight.shape) * 0.4
            if weight.name in ("moving_variance", "gamma"):
                values = rng.uniform(0.3, 1.5, size=weight.shape)
            if weight.name == "kernel":
                zero = rng.random(weight.shape[-1]) < zero_fraction
                values[..., zero] = 0
            weight.assign(values)
    return model


def chain(seed=0, **options):
    """conv - BN - ReLU - pool - conv - flatten - dense."""
    inputs = keras.Input((12, 12, 2))
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(8, 3, activation="relu", name="b")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(7, activation="tanh", name="c")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(3, activation="softmax", name="d")(x)
    return randomize(keras.Model(inputs, x, name="chain"), seed, **options)


def residual(seed=0, **options):
    """Two residual blocks: tied channels, BN without scale."""
    inputs = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    for block in ("one", "two"):
        y = layers.Conv2D(5, 3, padding="same", name=f"{block}_in")(x)
        y = layers.BatchNormalization(scale=False)(y)
        y = layers.LeakyReLU()(y)
        y = layers.Conv2D(8, 1, use_bias=False, name=f"{block}_out")(y)
        x = layers.Add()([x, y])
        x = layers.Activation("relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(4, name="head")(x)
    return randomize(keras.Model(inputs, x, name="residual"), seed, **options)


def shared(seed=0, **options):
    """One convolution used twice, and two outputs."""
    inputs = keras.Input((9, 9, 4))
    conv = layers.Conv2D(4, 3, padding="same", name="shared")
    x = conv(inputs)
    x = layers.ELU()(x)
    x = conv(x)
    y = layers.Conv2D(6, 1, activation="sigmoid", name="side")(x)
    y = layers.AveragePooling2D(2)(y)
    y = layers.Conv2D(5, 2, name="after")(y)
    first = layers.Dense(2, name="p")(layers.GlobalMaxPooling2D()(y))
    second = layers.Dense(3, name="q")(layers.Flatten()(y))
    model = keras.Model(inputs, [first, second], name="shared_net")
    return randomize(model, seed, **options)


def sequential(seed=0, **options):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, activation="relu", name="a"),
            layers.SpatialDropout2D(0.1),
            layers.Conv2D(4, 3, activation="gelu", use_bias=False, name="b"),
            layers.Flatten(),
            layers.Dense(3, name="c"),
        ],
        name="sequential",
    )
    return randomize(model, seed, **options)


ZOO = {f.__name__: f for f in (chain, residual, shared, sequential)}


class Cell(layers.Layer):
    """A recurrent cell of a class that is not registered."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x, states):
        y = ops.matmul(x, self.kernel) + states[0]
        return y, [y]
