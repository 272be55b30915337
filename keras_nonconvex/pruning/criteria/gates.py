"""Losses of a model without some of its channels."""

import collections

import keras
import numpy as np
from keras import ops

from keras_nonconvex import data_loss
from keras_nonconvex.pruning.channels import execution
from keras_nonconvex.pruning.removal.builder import masked_values


class Gates:
    """Runs a model on samples with some classes of channels set to zero.

    A run without a class starts where the class is made: what comes before is
    the same for all, and is computed once.

    Args:
        trace: A `Trace`.
        x: An array of samples, or a structure of them.
        y: Their labels, an array or a structure of arrays.
        batch_size: How many samples are run at once.
        loss: As in `LossRise`. Defaults to `None`.
    """

    def __init__(self, trace, x, y, batch_size, loss=None):
        self.trace = trace
        self.x = keras.tree.flatten(x)
        self.batch_size = batch_size
        self.loss, self.y = data_loss.per_sample(trace.given, loss, y)
        # {root of a class: ids of the tensors that have its channels}
        self.places = collections.defaultdict(set)
        # For each root the first call that depends on its class.
        self.starts = np.full(len(trace), len(trace.calls))
        readers = {id(u.layer) for u in trace.of_role("input")}
        makers = {id(u.layer) for u in trace.uses if u.role != "input"}
        # A channel is gated as it is made, and where it is read.
        gated = {
            id(t)
            for call in trace.calls
            for t in (
                *(call.inputs if id(call.operation) in readers else ()),
                *(call.outputs if id(call.operation) in makers else ()),
            )
        }
        for i, call in enumerate(trace.calls):
            for tensor in call.outputs:
                if id(tensor) in gated:
                    self._gate(tensor, i + 1)
        self.inner = self._inner()

    def _gate(self, tensor, start):
        x = self.trace.tensors[id(tensor)]
        for axis in x.labelled:
            roots = np.unique(self.trace.root_of[x.axes[axis]])
            self.starts[roots] = np.minimum(self.starts[roots], start)
            for root in roots:
                self.places[int(root)].add(id(tensor))

    def _inner(self):
        """The classes inside of layers, which no tensor shows."""
        inner = set()
        for use in self.trace.of_role("inner"):
            roots = np.unique(self.trace.root_of[use.ids])
            calls = [call.operation for call in self.trace.calls]
            start = calls.index(use.layer) if use.layer in calls else 0
            self.starts[roots] = np.minimum(self.starts[roots], start)
            inner.update(map(int, roots))
        return inner

    def rises(self, roots, gone, update):
        """How much the loss rises without each class: one number per class.

        Args:
            roots: The classes.
            gone: Classes that are without effect already.
            update: Function of the number of classes that are done.
        """
        roots = np.asarray(roots, dtype=int)
        order = np.argsort(self.starts[roots], kind="stable")
        values = self._without(gone)
        samples = len(self.x[0])
        rows = min(samples, self.batch_size)
        rises = np.zeros(len(roots))
        for begin in range(0, samples, rows):
            part = slice(begin, begin + rows)
            base = _Base(self.trace, [a[part] for a in self.x], values)
            y = [None if a is None else a[part] for a in self.y]
            done = 0
            for places in self._batches(roots, order, rows):
                batch = roots[places]
                base.advance(self.starts[batch].min())
                rises[places] += self._losses(base, batch, gone, y)
                done += len(batch)
                update(done * (begin + base.rows) / samples)
            base.advance(len(self.trace.calls))
            rises -= self._losses(base, [], gone, y)
        return rises / samples

    def _without(self, gone):
        zeroed = np.zeros(len(self.trace), dtype=bool)
        zeroed[np.asarray(gone, dtype=int)] = True
        return {
            key: ops.convert_to_tensor(value)
            for key, value in masked_values(self.trace, zeroed).items()
        }

    def _batches(self, roots, order, rows):
        """Lists of places in `roots`, in order, that are run in one batch."""
        size = max(1, self.batch_size // rows)
        batch = []
        for place in map(int, order):
            # A class inside of a layer needs other weights.
            alone = int(roots[place]) in self.inner
            if batch and (alone or int(roots[batch[-1]]) in self.inner):
                yield batch
                batch = []
            batch.append(place)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _losses(self, base, batch, gone, y):
        """The sum of the losses without each class; of all, if there is none.

        Args:
            base: A `_Base` that has not passed what depends on the classes.
            batch: The classes.
            gone: As in `rises`.
            y: The labels of the samples of `base`, by output.
        """
        copies = max(1, len(batch))
        inner = [root for root in batch if int(root) in self.inner]
        values = self._without([*gone, *inner]) if inner else base.values
        gated = set().union(*(self.places[int(root)] for root in batch))
        gate = _Gate(self.trace, batch)
        known = {
            key: gate(key, _tiled(value, copies))
            if key in gated
            else _tiled(value, copies)
            for key, value in base.known.items()
        }

        def after(call, output, place):
            key = id(call.outputs[place])
            return gate(key, output) if key in gated else output

        wanted = self.trace.outputs
        span = (base.at, len(self.trace.calls))
        known = execution.advanced(
            self.trace, known, span, values, wanted, after
        )
        labels = [
            None if a is None else np.concatenate([a] * copies) for a in y
        ]
        losses = self.loss([known[id(t)] for t in wanted], labels)
        return losses.reshape(copies, base.rows).sum(axis=1)


class _Base:
    """A model that is run on some samples up to a call.

    Attributes:
        values: {id of a variable: what it counts as}.
        rows: The number of samples.
        at: The index of the next call.
        known: {id of a tensor: its value}, of those that are needed later.
    """

    def __init__(self, trace, inputs, values):
        self.trace = trace
        self.values = values
        self.rows = len(inputs[0])
        self.at = 0
        self.known = execution.started(trace, inputs)

    def advance(self, call):
        """Runs the calls before one, if copies of the samples may start there.

        They may where each tensor has the samples along its first axis.
        """
        known = execution.advanced(
            self.trace,
            self.known,
            (self.at, call),
            self.values,
            self.trace.outputs,
        )
        if all(self._has_samples(key, known[key]) for key in known):
            self.at, self.known = call, known

    def _has_samples(self, key, value):
        # A free size, and the right one.
        shape = self.trace.tensors[key].shape
        return len(shape) and shape[0] is None and len(value) == self.rows


class _Gate:
    """Closes one class of channels in each copy of the samples."""

    def __init__(self, trace, batch):
        self.trace = trace
        self.batch = np.asarray(batch, dtype=int)

    def __call__(self, key, output):
        x = self.trace.tensors[key]
        for axis in x.labelled:
            roots = self.trace.root_of[x.axes[axis]]
            gate = self.batch[:, None] != roots[None]
            if gate.all():
                continue
            # Time steps may be samples, too.
            rows = len(output) // len(self.batch)
            gate = gate.repeat(rows, axis=0)
            shape = [1] * len(x.shape)
            shape[0], shape[axis] = gate.shape
            output = output * ops.convert_to_tensor(
                gate.reshape(shape), output.dtype
            )
        return output


def _tiled(value, copies):
    return ops.tile(value, (copies,) + (1,) * (len(value.shape) - 1))
