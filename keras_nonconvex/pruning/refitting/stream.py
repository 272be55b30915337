"""Values of a model's tensors for many samples, in bounded memory."""

import dataclasses
import typing

import keras
import numpy as np
from keras import ops

from keras_nonconvex import backends
from keras_nonconvex import graph


@dataclasses.dataclass
class Probe:
    """What is wanted of a model for each batch.

    Attributes:
        tensors: Symbolic tensors of the model, a list.
        function: Takes their values in a list, and the random numbers of the
            batch; returns a list of tensors.
    """

    tensors: list
    function: typing.Callable


class Stream:
    """Computes tensors of a model in inference, batch by batch.

    Each pass may want other tensors, and the model's weights may change
    between passes. Where the next pass can start from is remembered if it
    fits into `memory`; if not, it starts where the last one did.

    Args:
        calls: The calls of the model, a list of `keras_nonconvex.graph.Call`.
        arrays: {id of a symbolic input: an array of its samples}.
        chance: An array with some random numbers for each sample.
        batch_size: The samples per batch.
        memory: How many bytes may be remembered.
    """

    def __init__(self, calls, arrays, chance, batch_size, memory):
        self.samples = len(chance)
        self.chance = chance
        self.batch_size = batch_size
        self.memory = memory
        self._known = dict(arrays)
        self._order = {id(call): i for i, call in enumerate(calls)}
        self._makers = {
            id(t): call
            for call in calls
            if not call.node.is_input
            for t in call.outputs
        }

    def batches(self, probes, later=(), changing=()):
        """Yields what is wanted, batch by batch.

        Args:
            probes: A list of `Probe`.
            later: Symbolic tensors that later passes will want. Defaults to
                `()`.
            changing: Calls whose weights change before the next pass: nothing
                that depends on them is remembered. Defaults to `()`.

        Yields:
            (the samples, a slice; a list with one list of numpy arrays per
            probe).
        """
        calls = self._needed([t for probe in probes for t in probe.tensors])
        edge = self._edge(later, calls, changing)
        known = self._known
        read = {id(t) for call in calls for t in call.inputs}
        read |= {id(t) for probe in probes for t in probe.tensors}
        given = [key for key in known if key in read]
        fresh = [key for key in edge if key not in known]
        # A mask that comes with a tensor cannot be remembered.
        masked = []

        def function(values, chance):
            values = _run(calls, dict(zip(given, values, strict=True)))
            masked.extend(key for key in fresh if _has_mask(values[key]))
            found = [
                one.function([values[id(t)] for t in one.tensors], chance)
                for one in probes
            ]
            return found, [values[key] for key in fresh]

        function = backends.traced(function)
        stored = None
        for start in range(0, self.samples, self.batch_size):
            part = slice(start, start + self.batch_size)
            found, new = keras.tree.map_structure(
                ops.convert_to_numpy,
                function(
                    [ops.convert_to_tensor(known[key][part]) for key in given],
                    ops.convert_to_tensor(self.chance[part]),
                ),
            )
            if start == 0 and not masked and self._fits(edge, new):
                stored = [
                    np.empty((self.samples, *v.shape[1:]), v.dtype) for v in new
                ]
            for array, value in zip(stored or (), new, strict=False):
                array[part] = value
            yield part, found
        if stored is not None:
            self._known = {key: known[key] for key in edge if key in known}
            self._known.update(zip(fresh, stored, strict=True))

    def _needed(self, wanted, known=()):
        """The calls from known tensors to wanted ones, in order."""
        seen = set(known) | self._known.keys()
        calls, left = [], [id(t) for t in wanted]
        while left:
            key = left.pop()
            if key not in seen:
                call = self._makers[key]
                seen.update(map(id, call.outputs))
                calls.append(call)
                left += map(id, call.inputs)
        return sorted(calls, key=lambda call: self._order[id(call)])

    def _edge(self, later, calls, changing):
        """Where later passes start from, once these calls are made."""
        made, stale = set(), set()
        for call in calls:
            depends = any(id(t) in stale for t in call.inputs)
            changes = any(call is other for other in changing)
            kind = stale if depends or changes else made
            kind.update(map(id, call.outputs))
        left = self._needed(later, made)
        read = [id(t) for call in left for t in call.inputs]
        wanted = dict.fromkeys([*read, *map(id, later)])
        return [key for key in wanted if key in made or key in self._known]

    def _fits(self, edge, new):
        """Whether the edge can be remembered, from a batch of what is new."""
        old = sum(self._known[key].nbytes for key in edge if key in self._known)
        return old + sum(v[0].nbytes * self.samples for v in new) <= self.memory


def _has_mask(value):
    return getattr(value, "_keras_mask", None) is not None


def _run(calls, known):
    for call in calls:
        inputs = [known[id(t)] for t in call.inputs]
        values = graph.outputs_for(call, inputs, training=False)
        known.update(zip(map(id, call.outputs), values, strict=True))
    return known
