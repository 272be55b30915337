"""`Rise`: how much the loss rises by what a removal takes away."""

import keras
import numpy as np

from keras_nonconvex import data_loss
from keras_nonconvex import samples
from keras_nonconvex.pruning.removal.removal import Removal

# How many samples the loss is measured on, and how many are run at once.
SAMPLES = 1024
BATCH_SIZE = 256


class Rise:
    """The mean loss of the small model on samples, less that of the whole one.

    Args:
        trace: A `Trace`.
        superfluous: The `Superfluous` of the trace.
        criterion: As in `plan`; its own samples and loss count if it has any.
        data: As in `plan`, for criteria without samples of their own.
    """

    def __init__(self, trace, superfluous, criterion, data):
        self.trace = trace
        self.superfluous = superfluous
        if not isinstance(criterion, type):
            data = getattr(criterion, "data", data)
        if data is None:
            raise ValueError(
                "Argument `max_rise` needs samples to measure the loss on: "
                "give data=(x, y). Received: data=None"
            )
        x, y = samples.read(
            trace.model, *samples.pair(data), SAMPLES, name="data"
        )
        if y is None:
            raise ValueError(
                "Argument `max_rise` needs samples with targets in `data`. "
                "Received: inputs alone"
            )
        self.x = x
        self.loss, self.y = data_loss.per_sample(
            trace.given, getattr(criterion, "loss", None), y
        )
        self.before = self._loss(trace.model)

    def __call__(self, keep):
        """The rise of the loss for a choice; infinite if no model is left.

        Args:
            keep: One bool per channel id, read at the class roots.
        """
        removal = Removal(self.trace, keep, self.superfluous)
        if removal.branches.emptied:
            return np.inf
        return self._loss(removal.small()) - self.before

    def _loss(self, model):
        count = len(keras.tree.flatten(self.x)[0])
        losses = []
        for start in range(0, count, BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            x = keras.tree.map_structure(lambda a, part=part: a[part], self.x)
            y = [None if a is None else a[part] for a in self.y]
            outputs = keras.tree.flatten(model(x, training=False))
            losses.append(self.loss(outputs, y))
        return float(np.concatenate(losses).mean())
