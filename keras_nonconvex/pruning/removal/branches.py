"""Dead branches: parts of a graph that go whole once they are constant.

An input of an Add that is the same for every picture is a constant, zero in
most cases, and an input of a Concatenate that keeps no channel is nothing.
Whatever feeds only such inputs goes with them.
"""

import collections

import numpy as np

from keras_nonconvex import graph
from keras_nonconvex.pruning.channels.measuring import measured
from keras_nonconvex.pruning.channels.measuring import rows
from keras_nonconvex.pruning.removal.arriving import rounding
from keras_nonconvex.pruning.removal.constants import Constants


class Branches:
    """Which inputs of which calls can be left out.

    Attributes:
        bypassed: As in `Builder`.
        gone: Names of the layers that go with them.
        emptied: Arrays of roots, of each of which one has to stay: without
            them a tensor that is needed would have no channel left.

    Args:
        trace: A `Trace`.
        keep: One bool per id.
        values: As in `execution.run`: the masked weights.
    """

    def __init__(self, trace, keep, values):
        self.bypassed = {}
        self.gone = []
        self.emptied = []
        empty = self._empty_tensors(trace, keep)
        self._leave_out(trace, keep, values, empty)
        if not empty and not self.bypassed:
            return
        needed = self._needed(trace)
        self.gone = [
            name
            for name, layer in trace.layers.items()
            if not any(
                c.operation is layer and self._key(c) in needed
                for c in trace.calls
            )
        ]
        stuck = {}
        for call in trace.calls:
            if self._key(call) not in needed:
                continue
            out = self.bypassed.get(self._key(call), {})
            tensors = [t for i, t in enumerate(call.inputs) if i not in out]
            for tensor in [*tensors, *call.outputs]:
                if id(tensor) in empty:
                    roots = empty[id(tensor)]
                    stuck[tuple(roots.tolist())] = roots
        self.emptied = list(stuck.values())

    @staticmethod
    def _key(call):
        return id(call.node), call.path

    @staticmethod
    def _empty_tensors(trace, keep):
        """{id of a tensor: the roots of its axis that keeps no channel}."""
        empty = {}
        for key, x in trace.tensors.items():
            for axis in x.labelled:
                roots = trace.root_of[x.axes[axis]]
                if len(roots) and not keep[roots].any():
                    empty[key] = np.unique(roots)
        # What a layer has inside, such as attention heads.
        for call in trace.calls:
            name = trace.names[id(call.operation)]
            for ids in trace.made.get(name, []):
                if not keep[trace.root_of[ids]].any():
                    for tensor in call.outputs:
                        empty.setdefault(
                            id(tensor), np.unique(trace.root_of[ids])
                        )
        return empty

    def _leave_out(self, trace, keep, values, empty):
        """Finds the inputs that can be left out."""
        for call in _of_kind(trace, "Concatenate"):
            dead = [i for i, t in enumerate(call.inputs) if id(t) in empty]
            if len(dead) < len(call.inputs):
                self.bypassed[self._key(call)] = dict.fromkeys(dead)
        sums = [c for c in _of_kind(trace, "Add") if _same_shapes(c)]
        constants = Constants(trace, keep) if sums else None
        adds = []
        for call in sums:
            dead = [i for i, t in enumerate(call.inputs) if constants.whole(t)]
            if 0 < len(dead) < len(call.inputs):
                adds.append((call, dead))
        if adds:
            self._measure(trace, keep, values, adds)
        self._agree(trace)

    def _agree(self, trace):
        """Keeps what all calls of a nested model have: it is built once."""
        alike = collections.defaultdict(list)
        for call in trace.calls:
            alike[id(call.node)].append(self._key(call))
        outs = self.bypassed
        self.bypassed = {}
        for keys in alike.values():
            first, *others = (outs.get(key, {}) for key in keys)
            common = {
                i: value
                for i, value in first.items()
                if all(i in o and _equal(o[i], value) for o in others)
            }
            if common:
                self.bypassed.update(dict.fromkeys(keys, common))

    def _measure(self, trace, keep, values, adds):
        """Bypasses inputs of an Add that have one value per channel."""
        wanted = [call.inputs[i] for call, dead in adds for i in dead]
        try:
            found = measured(trace, values, wanted)
        except ValueError:
            return
        for call, dead in adds:
            out = {}
            for i in dead:
                tensor = call.inputs[i]
                x = trace.tensors[id(tensor)]
                axis = x.labelled[0]
                stays = trace.stays(keep, x.axes[axis])
                # One row per channel, with its values at all sizes.
                at_all = np.concatenate(
                    [rows(a[id(tensor)], axis)[stays] for a in found], axis=1
                )
                low, high = at_all.min(axis=1), at_all.max(axis=1)
                size = np.maximum(np.abs(low), np.abs(high))
                if np.all(high - low <= rounding(at_all) * size):
                    shape = [1] * (len(x.shape) - 1)
                    shape[axis - 1] = -1
                    value = ((low + high) / 2).reshape(shape)
                    out[i] = value.astype(at_all.dtype) if size.any() else None
            self.bypassed[self._key(call)] = out

    def _needed(self, trace):
        """Keys of the calls that the outputs still depend on."""
        wanted = {id(t) for t in trace.outputs}
        needed = set()
        entered = set()
        whole = {n.path: n for n in trace.nested}
        for call in reversed(trace.calls):
            # A nested model that is needed at all has all that goes in and out.
            for n in range(len(call.path), 0, -1):
                path = call.path[:n]
                model = whole.get(path)
                if path in entered or model is None:
                    continue
                if any(id(t) in wanted for t in model.outputs):
                    entered.add(path)
                    wanted.update(id(t) for t in model.outputs)
                    wanted.update(id(t) for t in model.inputs)
            if any(id(t) in wanted for t in call.outputs):
                needed.add(self._key(call))
                out = self.bypassed.get(self._key(call), {})
                wanted.update(
                    id(t) for i, t in enumerate(call.inputs) if i not in out
                )
        return needed


def _equal(first, second):
    """Whether two constants are the same; None stands for zero."""
    if first is None or second is None:
        return first is second
    return np.allclose(first, second, rtol=rounding(first), atol=0.0)


def _same_shapes(call):
    return len({tuple(t.shape) for t in call.inputs}) == 1


def _of_kind(trace, name):
    """The calls of a layer or operation of Keras that join several tensors."""
    return [
        call
        for call in trace.calls
        if type(call.operation).__name__ == name
        and graph.of_keras(type(call.operation))
        and len(call.inputs) > 1
    ]
