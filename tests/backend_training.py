"""Run by `test_backends.py` under one backend: trains on real images.

KERAS_BACKEND=jax python backend_training.py in.npz out.npz

in.npz holds the images, the labels and the initial weights.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import keras_nonconvex as knc

BATCH = 32


def network():
    """Four layers."""
    keras.utils.set_random_seed(0)
    reg = knc.SparseGroupTL1(1e-4, group_strength=1.5e-2)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 5, activation="relu", kernel_regularizer=reg)(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(32, 5, activation="relu", kernel_regularizer=reg)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(100, activation="relu", kernel_regularizer=reg)(x)
    return knc.ProximalModel(inputs, layers.Dense(10, "softmax")(x))


def main(given, out):
    given = np.load(given)
    model = network()
    model.set_weights([given[f"w{i}"] for i in range(len(model.weights))])
    model.compile(
        # At larger rates the last bits of a weight decide which of two equal
        # units dies, on one and the same backend too.
        keras.optimizers.SGD(0.002, momentum=0.9),
        "sparse_categorical_crossentropy",
    )
    history = model.fit(
        given["x"], given["y"], batch_size=BATCH, shuffle=False, verbose=0
    )
    alive = [
        np.any(
            keras.ops.convert_to_numpy(layer.kernel) != 0,
            axis=tuple(range(len(layer.kernel.shape) - 1)),
        )
        for layer in model.layers
        if hasattr(layer, "kernel")
    ]
    np.savez(out, alive=np.concatenate(alive), loss=history.history["loss"][0])


if __name__ == "__main__":
    main(*sys.argv[1:])
