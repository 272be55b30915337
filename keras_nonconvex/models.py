"""The networks of the papers, as functional Keras models."""

import keras
from keras import layers


def lenet5(input_shape=(28, 28, 1), classes=10, name="lenet5"):
    """LeNet-5 in its Caffe form: 431,080 parameters on 28 x 28 grey images.

    conv 5x5 'valid' 20 - ReLU - maxpool 2 - conv 5x5 'valid' 50 - ReLU -
    maxpool 2 - dense 500 - ReLU - dense, softmax. Used by Bui, Park, Zhang,
    Qi, Xin 2021.
    """
    inputs = keras.Input(input_shape, name="image")
    x = layers.Conv2D(20, 5, activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(name="pool1")(x)
    x = layers.Conv2D(50, 5, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(500, activation="relu", name="dense1")(x)
    x = layers.Dense(classes, activation="softmax", name="dense2")(x)
    return keras.Model(inputs, x, name=name)


NETWORKS = {"lenet5": lenet5}


def get(name):
    """The function that builds a network, by its name."""
    if name not in NETWORKS:
        raise ValueError(
            f"Unknown network; known: {', '.join(NETWORKS)}, or the path of "
            f"a .keras file. Received: model={name!r}"
        )
    return NETWORKS[name]
