"""A wanted share of zero filters, and what is kept of a training to it."""

import math

import keras
import numpy as np
from keras import ops

from keras_nonconvex import files
from keras_nonconvex.callbacks.state import set_strength
from keras_nonconvex.callbacks.state import synced

# By which part of the training the filters are zero, and how often some
# become so until then.
DEADLINE = 0.5
_LOOKS = 60


class Reach(keras.callbacks.Callback):
    """Makes a share of the filters zero by the middle of a training.

    A strength that grows until filters are zero destroys the network: the
    filters of a layer shrink together, and are all small before the first is
    zero. So the strength stays as it is and decides which filters are small.
    At a part p of the way to the middle, count (1 - (1 - p)^3) filters are
    zero: those that are the smallest in comparison with their layer. They
    stay zero. From the middle on the strength is 0, and the others recover.

    The best weights by validation of the epochs that end with so many zero
    filters are kept. All of this depends on the part of the training that is
    done, and not on the steps of an epoch.

    Args:
        count: An integer: how many filters are to be zero.
        steps: An integer: the steps of an epoch.
        path: A `pathlib.Path`: the file for the best weights.
        value: A function of the logs of an epoch to a number that is the
            greater the better. `SparsityMonitor` adds to these logs before.
        rows: The logs of the epochs before, when a training goes on.
    """

    def __init__(self, count, steps, path, value, rows=()):
        super().__init__()
        self.count = count
        self.steps = steps
        self.path = path
        self.value = value
        self.rows = rows

    def on_train_begin(self, logs=None):
        self.kernels = kernels(self.model, self.model.solver)
        self._best = max(
            (self.value(row) for row in self.rows if row["reached"]),
            default=-math.inf,
        )

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        middle = max(int(DEADLINE * self.steps * self.params["epochs"]), 1)
        done = self._epoch * self.steps + batch + 1
        # A training that goes on begins with an epoch.
        if not batch or done == middle or done % max(middle // _LOOKS, 1) == 0:
            self._look(min(done / middle, 1.0))
        synced(self.model)
        for (kernel, _), mask in zip(self.kernels, self.masks, strict=True):
            kernel.assign(kernel * mask)

    def on_epoch_end(self, epoch, logs=None):
        model = synced(self.model)
        logs["reached"] = float(logs["zero_filters"] >= self.count)
        if logs["reached"] and self.value(logs) >= self._best:
            self._best = self.value(logs)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(self.path) as path, path.open("wb") as file:
                np.savez(file, *model.get_weights())

    def restore(self, model):
        """Gives a model the best weights, if any epoch had the whole share.

        Args:
            model: The model that was trained.
        """
        if self.path.exists():
            with np.load(self.path) as kept:
                model.set_weights([kept[f"arr_{i}"] for i in range(len(kept))])

    def _look(self, part):
        """Chooses the filters that are zero from now on.

        Args:
            part: How much of the way to the middle is done, in [0, 1].
        """
        model = synced(self.model)
        set_strength(model, float(part < 1.0))
        norms = [
            np.sqrt(np.square(ops.convert_to_numpy(kernel)).sum(axis=axes))
            for kernel, axes in self.kernels
        ]
        ranked = []
        for norm in norms:
            one = norm / max(norm.mean(), 1e-30)
            # A layer without filters lets nothing through.
            one.flat[np.argmax(one)] = np.inf
            ranked.append(one.ravel())
        ranked = np.concatenate(ranked)
        count = math.ceil(self.count * (1.0 - (1.0 - part) ** 3))
        gone = np.zeros(len(ranked), bool)
        gone[np.argsort(ranked, kind="stable")[:count]] = True
        gone &= np.isfinite(ranked)
        self.masks, first = [], 0
        for norm, (kernel, axes) in zip(norms, self.kernels, strict=True):
            mask = ~gone[first : first + norm.size].reshape(norm.shape)
            first += norm.size
            self.masks.append(
                ops.cast(np.expand_dims(mask, axes), kernel.dtype)
            )


def kernels(model, solver):
    """The kernels that may lose filters: penalised, and not of an output.

    Args:
        model: A built model with penalties.
        solver: The solver of its training.

    Returns:
        A list of (kernel, axes of one filter).
    """
    spared = set(_giving(model.outputs))
    found = []
    for variable, reg in solver.targets(model):
        rank = len(variable.shape)
        axes = tuple(axis % rank for axis in reg.group_axes(rank))
        if id(variable) not in spared and len(axes) == rank - 1 > 0:
            found.append((variable, axes))
    return found


def _giving(tensors):
    """The ids of the kernels whose filters are given as outputs.

    Args:
        tensors: Keras tensors. Layers without a kernel hand them on.
    """
    for tensor in tensors:
        layer, node, _ = tensor._keras_history
        inner = getattr(layer, "outputs", None)
        own = [v for v in getattr(layer, "variables", ()) if v.ndim > 1]
        if inner:
            yield from _giving(inner)
        elif own:
            yield from map(id, own)
        elif layer._inbound_nodes[node].input_tensors:
            yield from _giving(layer._inbound_nodes[node].input_tensors)
