"""What the first epoch costs above the later ones: tracing and compiling.

    python benchmarks/first_step.py [--rounds 3] [--networks ...]

Each training is a process of its own, so that nothing is compiled yet: three
epochs of 16 steps on random images, in which all times are about compiling
and none about learning. The figures are minima over the rounds.
"""

import argparse
import json
import subprocess
import sys
import time

import keras
import numpy as np
from keras import layers
from rich.console import Console
from rich.table import Table

import keras_nonconvex as knc

STEPS, EPOCHS = 16, 3


def mobilenet():
    """MobileNetV2 as a layer, 53 kernels with a penalty."""
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(96, 96, 3)
    )
    inputs = keras.Input((96, 96, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = base(layers.Rescaling(2.0, -1.0)(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x)), 8


def resnet():
    """Nine convolutions in three residual blocks."""

    def conv(x, filters, size=3, strides=1):
        x = layers.Conv2D(
            filters, size, strides=strides, padding="same", use_bias=False
        )(x)
        return layers.BatchNormalization()(x)

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(conv(inputs, 16))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(conv(x, filters, strides=strides))
        y = conv(y, filters)
        if strides > 1:
            x = conv(x, filters, 1, strides)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x)), 32


NETWORKS = {"MobileNetV2": mobilenet, "ResNet, 9 convolutions": resnet}
OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(1e-3),
}
MODELS = ("keras.Model", "SparseGroupTL1")


class Clock(keras.callbacks.Callback):
    """[[seconds, processor seconds] of each epoch]."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter(), time.process_time()
        self.epochs.append(
            [b - a for a, b in zip(self._start, now, strict=True)]
        )


def train(network, model_name, optimizer):
    """Trains in this process and prints its times as JSON."""
    model, batch = NETWORKS[network]()
    if model_name != "keras.Model":
        reg = knc.SparseGroupTL1(1e-5, group_strength=1e-4)
        model = knc.attach(model, reg)
    model.compile(OPTIMIZERS[optimizer](), "sparse_categorical_crossentropy")
    rng, count = np.random.default_rng(0), STEPS * batch
    x = rng.random((count, *model.input_shape[1:]), "float32")
    y = rng.integers(0, 10, count)
    clock = Clock()
    model.fit(x, y, batch, EPOCHS, verbose=0, callbacks=[clock])
    print(json.dumps(clock.epochs))


def measured(case):
    """The least [first epoch], [later epoch] of one more process."""
    child = subprocess.run(
        [sys.executable, __file__, "--train", *case],
        check=True,
        capture_output=True,
        text=True,
    )
    first, *later = json.loads(child.stdout.splitlines()[-1])
    return [first, [min(times) for times in zip(*later, strict=True)]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--train", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        return train(*options.train)
    table = Table(title=f"Seconds of an epoch of {STEPS} steps")
    for column in ("network", "optimizer", "model"):
        table.add_column(column)
    for column in ("first", "later", "first, CPU", "later, CPU"):
        table.add_column(column, justify="right")
    for network in options.networks:
        for optimizer in options.optimizers:
            for model in options.models:
                case = network, model, optimizer
                rounds = [measured(case) for _ in range(options.rounds)]
                first, later = np.min(rounds, axis=0)
                table.add_row(
                    network,
                    optimizer,
                    model,
                    *(f"{s:.1f}" for s in (first[0], later[0])),
                    *(f"{s:.1f}" for s in (first[1], later[1])),
                )
    Console().print(table)


if __name__ == "__main__":
    main()
