"""What every row is measured on and with."""

import dataclasses
import functools
import pathlib

import keras
import numpy as np
from augmentation import BATCH
from augmentation import MEAN
from augmentation import STD
from rich.console import Console

import tflite_export
from against import nets
from against import weights
from keras_nonconvex import datasets
from keras_nonconvex import terminal

# The one recipe of both sides: SGD with Nesterov momentum, a cosine per step.
# The rate is that of Torch-Pruning's own experiments on CIFAR; rows that end
# in "_fast" try the other.
RATE = 0.01
FAST = 0.05
MOMENTUM = 0.9
# What may be looked at before training: criteria, repair, recalibration.
CHOSEN = 2000
GRADIENT_SAMPLES = 1024
TOLERANCE = 1e-4


@functools.cache
def images(limit):
    """(x_train, y_train, x_test, y_test), normalised; `limit` of each."""
    found = datasets.load("cifar10")
    splits = []
    for x, y in (
        (found.x_train, found.y_train),
        (found.x_test, found.y_test),
    ):
        splits += [(x[:limit] - MEAN) / STD, y[:limit]]
    return splits


@dataclasses.dataclass
class Bench:
    """A dense network, its data, and how a row is measured.

    Attributes:
        dense: The trained Keras model.
        limit: How many training and test images to use, None for all.
        epochs: How many epochs of training follow; with 0 there are none.
        runs: Timed inferences per file.
        folder: A folder for files in between.
        torch_python: The interpreter that has Torch-Pruning.
        console: A rich console.
    """

    dense: keras.Model
    limit: int | None
    epochs: int
    runs: int
    folder: pathlib.Path
    torch_python: str
    console: Console

    @property
    def steps(self):
        """How many batches an epoch has."""
        return len(images(self.limit)[0]) // BATCH

    def chosen(self, seed):
        """The indices of the training images that are looked at."""
        count = len(images(self.limit)[0])
        return np.random.default_rng(seed).permutation(count)[:CHOSEN]

    def optimizer(self, method=""):
        """The recipe, for `epochs` epochs."""
        return keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(
                rate(method), self.steps * self.epochs
            ),
            momentum=MOMENTUM,
            nesterov=True,
        )

    def accuracy(self, model):
        """The part of the test images that a Keras model gets right."""
        _, _, x, y = images(self.limit)
        found = model.predict(x, batch_size=500, verbose=0)
        return float((found.argmax(-1) == y).mean())

    def litert(self, model):
        """Median milliseconds of a model's file and of the dense one's."""
        paths = []
        for name, given in (("small", model), ("dense", self.dense)):
            paths.append(self.folder / f"{name}.tflite")
            tflite_export.convert(given, paths[-1], "float32")
        small, dense = tflite_export.benchmark(
            paths[0], [paths[1]], runs=self.runs
        )
        return {
            "litert_ms": small.median_ms,
            "dense_litert_ms": dense.median_ms,
        }

    def tell(self, text):
        """One line on the console."""
        terminal.say(self.console, f"  {text}")


def rate(method):
    """The learning rate that a row's training begins with."""
    return FAST if method.endswith("_fast") else RATE


def counts(model):
    """Parameters and multiply-adds of a Keras model, by the one counter."""
    return weights.counted(nets.weights_of(model), nets.positions(model))
