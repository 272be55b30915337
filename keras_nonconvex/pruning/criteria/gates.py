"""Losses of a model without some of its channels."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import data_loss
from keras_nonconvex.pruning.channels.execution import run
from keras_nonconvex.pruning.removal.builder import masked_values


class Gates:
    """Runs a model on samples with some classes of channels set to zero.

    Args:
        trace: A `Trace`.
        x: An array of samples, or a structure of them.
        y: An array of their labels.
        batch_size: How many samples are run at once.
        loss: As in `LossRise`. Defaults to `None`.
    """

    def __init__(self, trace, x, y, batch_size, loss=None):
        self.trace = trace
        self.x = keras.tree.flatten(x)
        self.batch_size = batch_size
        self.loss, self.y = data_loss.per_sample(trace.given, loss, y)
        readers = {id(u.layer) for u in trace.of_role("input")}
        makers = {id(u.layer) for u in trace.uses if u.role != "input"}
        # Where a channel is gated: as it is made, and where it is read.
        self.gated = {
            id(t)
            for call in trace.calls
            for t in (
                *(call.inputs if id(call.operation) in readers else ()),
                *(call.outputs if id(call.operation) in makers else ()),
            )
        }
        inner = [trace.root_of[u.ids] for u in trace.of_role("inner")]
        self.inner = set(np.concatenate([[], *inner]).astype(int))

    def rises(self, roots, gone, update):
        """How much the loss rises without each class: one number per class.

        Args:
            roots: The classes.
            gone: Classes that are without effect already.
            update: Function of the number of classes that are done.
        """
        base = self._losses([[*gone]])[0]
        rises, done = [], 0
        for batch in self._batches(roots):
            rises += self._losses([[*gone, root] for root in batch])
            done += len(batch)
            update(done)
        return np.array(rises) - base

    def _batches(self, roots):
        """Lists of classes, in order, that are gated in one batch."""
        size = max(1, self.batch_size // len(self.x[0]))
        batch = []
        for root in map(int, roots):
            # Classes inside of layers have no tensor that could be gated.
            alone = root in self.inner
            if batch and (alone or batch[-1] in self.inner):
                yield batch
                batch = []
            batch.append(root)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _losses(self, choices):
        """The mean loss with each of several choices of classes gated."""
        closed = np.ones((len(choices), len(self.trace)), "float32")
        for row, roots in zip(closed, choices, strict=True):
            row[np.array(roots, dtype=int)] = 0.0
        zeroed = (closed == 0).all(axis=0)
        zeroed &= np.isin(np.arange(len(self.trace)), list(self.inner))
        values = masked_values(self.trace, zeroed)
        samples = len(self.x[0])
        step = max(1, self.batch_size // len(choices))
        total = np.zeros(len(choices))
        for start in range(0, samples, step):
            part = [a[start : start + step] for a in self.x]
            n = len(part[0])
            tiled = [
                np.tile(a, (len(choices),) + (1,) * (a.ndim - 1)) for a in part
            ]
            gates = np.repeat(closed, n, axis=0)
            wanted = self.trace.outputs
            outputs = run(
                self.trace, tiled, values, wanted, self._gating(gates)
            )
            y = [
                None
                if a is None
                else np.tile(
                    a[start : start + step],
                    (len(choices),) + (1,) * (a.ndim - 1),
                )
                for a in self.y
            ]
            losses = self.loss([outputs[id(t)] for t in wanted], y)
            total += losses.reshape(len(choices), n).sum(axis=1)
        return list(total / samples)

    def _gating(self, gates):
        def after(call, output, place):
            tensor = call.outputs[place]
            if id(tensor) not in self.gated:
                return output
            x = self.trace.tensors[id(tensor)]
            for axis in x.labelled:
                gate = gates[:, self.trace.root_of[x.axes[axis]]]
                if gate.all():
                    continue
                shape = [1] * len(x.shape)
                shape[0], shape[axis] = gate.shape
                output = output * ops.convert_to_tensor(
                    gate.reshape(shape), output.dtype
                )
            return output

        return after
