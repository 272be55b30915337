"""The optimizer that `fine_tune` uses where none is given."""

import math

import keras

from keras_nonconvex import graph

# Where batch normalization makes the loss insensitive to the sizes of kernels,
# and elsewhere.
SGD_RATE = 0.01
ADAM_RATE = 1e-3
MOMENTUM = 0.9


def usual_optimizer(model, learning_rate, steps, epochs):
    """SGD or Adam whose rate falls to zero by a cosine.

    Models with batch normalization get SGD with Nesterov momentum, others,
    such as transformers and recurrent ones, Adam.

    Args:
        model: A built model.
        learning_rate: The rate at the start, or None for the usual one.
        steps: The steps of an epoch, or None where they are not known.
        epochs: The epochs of the training.

    Returns:
        (optimizer, list of callbacks). The rate falls step by step, or from
        epoch to epoch by a callback where the steps are not known.
    """
    normalized = any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in graph.sublayers(model)
    )
    start = SGD_RATE if normalized else ADAM_RATE
    start = start if learning_rate is None else learning_rate
    rate, callbacks = start, []
    if steps is None:
        callbacks = [_ByEpoch(start, epochs)]
    else:
        # After the last step it begins anew, so that a later `fit` does not
        # train at a rate of zero.
        rate = keras.optimizers.schedules.CosineDecayRestarts(
            start, max(steps * epochs, 1), t_mul=1.0
        )
    if normalized:
        optimizer = keras.optimizers.SGD(rate, MOMENTUM, nesterov=True)
    else:
        optimizer = keras.optimizers.Adam(rate)
    return optimizer, callbacks


class _ByEpoch(keras.callbacks.Callback):
    """The rate that a cosine has in the middle of each epoch.

    Args:
        start: The rate at the start.
        epochs: The number of epochs from there to zero.
    """

    def __init__(self, start, epochs):
        super().__init__()
        self.start = start
        self.epochs = epochs
        self.done = 0

    def on_epoch_begin(self, epoch, logs=None):
        progress = (self.done + 0.5) / self.epochs
        self.done += 1
        self.model.optimizer.learning_rate = (
            self.start * (1.0 + math.cos(math.pi * progress)) / 2.0
        )

    def on_train_end(self, logs=None):
        self.model.optimizer.learning_rate = self.start
