"""`SparsityMonitor`: exact zeros in the logs."""

import keras

from keras_nonconvex import sparsity
from keras_nonconvex.callbacks.state import finished


class SparsityMonitor(keras.callbacks.Callback):
    """Adds counts of exact zeros to the logs of each epoch.

    The logs get `zero_weights` and `zero_filters`, counted in dense and
    convolution kernels, where a filter that the batch normalization right
    after scales by zero is zero, too; `zero_groups`, counted over all group
    regularizers and penalised scales; and, for models that can be pruned,
    `macs_left`, the fraction of multiply-adds that remains when zero filters
    are removed.
    Where a solver sets zeros at the end of `fit` only, the counts are those
    that it would leave now.

    Put it before callbacks that write logs, such as `CSVLogger` and
    `TensorBoard`.

    Args:
        per_layer: True or False, whether the logs also get the fraction of
            zero weights and of zero filters of every layer, as
            `zero_weights/NAME` and `zero_filters/NAME`. Defaults to `False`.

    Example:
    ```python
    monitor = knc.callbacks.SparsityMonitor()
    log = keras.callbacks.CSVLogger("training.csv")
    model.fit(x, y, epochs=20, callbacks=[monitor, log])
    ```
    """

    def __init__(self, per_layer=False):
        super().__init__()
        self.per_layer = per_layer

    def on_epoch_end(self, epoch, logs=None):
        with finished(self.model):
            logs.update(sparsity.sparsity(self.model, self.per_layer))
