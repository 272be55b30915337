"""How many groups of a network live."""

import keras
import numpy as np

from keras_nonconvex import regularizers


def convolutions(model):
    """The layers of a model that are `Conv2D`, not depthwise.

    Args:
        model: A functional model.
    """
    return [v for v in model.layers if type(v) is keras.layers.Conv2D]


def living(model, groups):
    """How many groups are not zero in each convolution, and of how many.

    Args:
        model: A functional `ProximalModel`. If it is compiled with coupled
            groups, these are counted, those of the whole network as one.
        groups: A group pattern, as `GroupSparseEnvelope` takes it.

    Returns:
        An integer array of shape (2, number of convolutions).
    """
    axes = regularizers.GroupSparseEnvelope(groups=groups).group_axes(4)
    weights = [layer.kernel for layer in convolutions(model)]
    if model.coupled is not None:
        axes, weights = (), [model.coupled.norms(model.coupled.variables)]
    alive = [keras.ops.convert_to_numpy(w) != 0 for w in weights]
    alive = [a.any(axis=axes) for a in alive]
    return np.array([(a.sum(), a.size) for a in alive]).T


class Living(keras.callbacks.Callback):
    """Keeps what `living` gave after the last epoch, before `fit` ends.

    Attributes:
        found: An integer array, or None before the first epoch.

    Args:
        groups: As for `living`.
    """

    def __init__(self, groups):
        super().__init__()
        self.groups = groups
        self.found = None

    def on_epoch_end(self, epoch, logs=None):
        self.found = living(self.model, self.groups)
