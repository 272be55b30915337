"""Tensors of a model for many samples, in bounded memory."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_nonconvex import backends
from keras_nonconvex import graph


class Stream:
    """Computes tensors of a model batch by batch, as they are wanted.

    What the next pass can start from is remembered where it fits into
    `memory`; else the next pass starts where this one did.

    Args:
        calls: The calls of the model, in order.
        inputs: Its symbolic inputs.
        arrays: One array of samples per input.
        batch_size: The samples per batch.
        memory: How many bytes may be remembered.
    """

    def __init__(self, calls, inputs, arrays, batch_size, memory):
        self.batch_size = batch_size
        self.memory = memory
        self.samples = len(arrays[0])
        self._makers = {
            id(t): call
            for call in calls
            if not call.node.is_input
            for t in call.outputs
        }
        self._order = {id(call): i for i, call in enumerate(calls)}
        self._known = dict(zip(map(id, inputs), arrays, strict=True))

    def batches(self, wanted, later=(), linear=()):
        """Yields the values of some tensors, batch by batch.

        Args:
            wanted: Symbolic tensors of the model.
            later: What later passes will want. Defaults to `()`.
            linear: Calls whose activation is left out; nothing that is
                wanted may depend on one of them. Defaults to `()`.

        Yields:
            A list with one numpy array per tensor wanted.
        """
        calls = self._needed(wanted, self._known)
        made = {
            id(t)
            for call in calls
            if not any(call is other for other in linear)
            for t in call.outputs
        }
        edge = self._edge(later, made | self._known.keys())
        given = [
            key
            for key in self._known
            if key in edge
            or any(key == id(t) for t in wanted)
            or any(key == id(t) for call in calls for t in call.inputs)
        ]
        fresh = [key for key in edge if key not in self._known]
        keys = [*map(id, wanted), *fresh]
        function = backends.traced(
            lambda values: _run(calls, dict(zip(given, values, strict=True)), keys)
        )
        kept = None
        with _without_activations(linear):
            for start in range(0, self.samples, self.batch_size):
                part = slice(start, start + self.batch_size)
                values = function(
                    [ops.convert_to_tensor(self._known[k][part]) for k in given]
                )
                values = [ops.convert_to_numpy(v) for v in values]
                found, edges = values[: len(wanted)], values[len(wanted) :]
                if start == 0 and self._fits(edge, fresh, edges):
                    kept = [
                        np.empty((self.samples, *v.shape[1:]), v.dtype)
                        for v in edges
                    ]
                if kept is not None:
                    for array, value in zip(kept, edges, strict=True):
                        array[part] = value
                yield found
        if kept is not None:
            known = {k: self._known[k] for k in edge if k in self._known}
            self._known = {**known, **dict(zip(fresh, kept, strict=True))}

    def _fits(self, edge, fresh, values):
        """Whether the edge can be remembered for all samples."""
        old = sum(
            self._known[k].nbytes for k in edge if k not in fresh
        )
        new = sum(v.nbytes / len(v) * self.samples for v in values)
        return old + new <= self.memory

    def _needed(self, wanted, known):
        """The calls that lead from known tensors to wanted ones, in order."""
        calls, seen, left = [], set(known), [id(t) for t in wanted]
        while left:
            key = left.pop()
            if key in seen:
                continue
            call = self._makers[key]
            seen.update(map(id, call.outputs))
            calls.append(call)
            left += map(id, call.inputs)
        return sorted(calls, key=lambda call: self._order[id(call)])

    def _edge(self, later, known):
        """Those of the known tensors that later ones are computed from."""
        inputs = {
            id(t)
            for call in self._needed(later, known)
            for t in call.inputs
        }
        return [
            key
            for key in dict.fromkeys([*inputs, *map(id, later)])
            if key in known
        ]


def _run(calls, known, keys):
    for call in calls:
        values = graph.outputs_for(call, [known[id(t)] for t in call.inputs])
        known.update(zip(map(id, call.outputs), values, strict=True))
    return [known[key] for key in keys]


@contextlib.contextmanager
def _without_activations(calls):
    """A scope in which these layers return what their activation gets."""
    layers = [c.operation for c in calls if hasattr(c.operation, "activation")]
    activations = [layer.activation for layer in layers]
    try:
        for layer in layers:
            layer.activation = keras.activations.linear
        yield
    finally:
        for layer, activation in zip(layers, activations, strict=True):
            layer.activation = activation
