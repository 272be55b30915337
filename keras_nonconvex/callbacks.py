"""Callbacks for sparse training."""

import keras

from keras_nonconvex import counts


class SparsityMonitor(keras.callbacks.Callback):
    """Adds `zero_weights` and `zero_filters` to the logs of each epoch.

    Both count exact zeros in the kernels of dense and convolution layers.
    Put it before callbacks that write logs, such as `CSVLogger`.
    """

    def on_epoch_end(self, epoch, logs=None):
        found = [counts.zeros(layer) for layer in self.model.layers]
        for key in ("zero_weights", "zero_filters"):
            logs[key] = sum(count[key] for count in found)
