"""Callbacks for sparse training."""

import keras

from keras_nonconvex import counts
from keras_nonconvex import graph


class SparsityMonitor(keras.callbacks.Callback):
    """Adds `zero_weights` and `zero_filters` to the logs of each epoch.

    Both count exact zeros in the kernels of dense and convolution layers.
    Put it before callbacks that write logs, such as `CSVLogger`.
    """

    def on_epoch_end(self, epoch, logs=None):
        found = [counts.zeros(layer) for layer in graph.layers(self.model)]
        for key in ("zero_weights", "zero_filters"):
            logs[key] = sum(count[key] for count in found)


class Freeze(keras.callbacks.Callback):
    """Kernel weights that are zero when training begins stay exactly zero."""

    def on_train_begin(self, logs=None):
        self._before = []
        for layer in graph.layers(self.model):
            kernel = getattr(layer, "kernel", None)
            if kernel is None or not kernel.trainable:
                continue
            self._before.append((kernel, kernel.constraint))
            kernel.constraint = _Mask(kernel, kernel.constraint)
        self._retrace()

    def on_train_end(self, logs=None):
        for kernel, constraint in self._before:
            kernel.constraint = constraint
        self._retrace()

    def _retrace(self):
        # A step compiled before would not know the constraint.
        self.model.make_train_function(force=True)


class _Mask(keras.constraints.Constraint):
    def __init__(self, kernel, inner):
        self.mask = keras.ops.convert_to_numpy(kernel) != 0
        self.inner = inner

    def __call__(self, w):
        w = w if self.inner is None else self.inner(w)
        return w * keras.ops.cast(self.mask, w.dtype)
