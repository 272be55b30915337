"""Criteria: which channel classes matter least.

A criterion maps a `Trace` to one score per channel id, read at the class
roots; the lowest go first, after the exactly superfluous ones.
"""

import numpy as np

from keras_nonconvex.pruning.trace import along
from keras_nonconvex.pruning.trace import numpy_weight

REGISTRY = {}


def criterion(name):
    """Decorator: makes a function available as `criterion=name`."""

    def register(function):
        REGISTRY[name] = function
        return function

    return register


@criterion("group_norm")
def group_norm(trace):
    """Root mean square of the weights of all filters of a class.

    Each layer's filters are measured by that layer's mean first, so that
    layers of different scale can be ranked together.
    """
    squares = np.zeros(len(trace))
    makers = np.zeros(len(trace))
    for use in trace.of_role("filter"):
        rms = np.sqrt(np.mean(along(use, numpy_weight(use)) ** 2, axis=1))
        alive = rms[rms > 0]
        if len(alive):
            squares += trace.total(use, (rms / alive.mean()) ** 2)
        makers += trace.total(use, np.ones_like(rms))
    return np.sqrt(squares / np.maximum(makers, 1))


def constant_flags(trace):
    """Tensor -> which of its channels are the same for every input.

    A channel is constant after a zero filter or a zero normalisation scale,
    and stays so through layers that treat channels by themselves.
    """
    flags = {}
    of_layer = {}
    for use in trace.of_role("filter", "scale"):
        zero = ~np.any(along(use, numpy_weight(use)), axis=1)
        of_layer[use.layer.name, use.role] = zero
    for call in trace.calls:
        name = call.operation.name
        for tensor in call.outputs:
            ids = trace.ids[id(tensor)]
            if (name, "filter") in of_layer:
                out = of_layer[name, "filter"]
            else:
                live = set()
                known = set()
                for x in call.inputs:
                    roots = trace.root_of[trace.ids[id(x)]]
                    known.update(roots)
                    live.update(roots[~flags[id(x)]])
                roots = trace.root_of[ids]
                out = np.array([r in known and r not in live for r in roots])
                if (name, "scale") in of_layer:
                    out = out | of_layer[name, "scale"]
            flags[id(tensor)] = np.asarray(out, dtype=bool)
    return flags


def constant_classes(trace):
    """Classes that reach every reader as a constant: one bool per id."""
    flags = constant_flags(trace)
    live = np.zeros(len(trace), dtype=bool)
    readers = {use.layer.name for use in trace.of_role("input")}
    for call in trace.calls:
        if call.operation.name in readers:
            for x in call.inputs:
                roots = trace.root_of[trace.ids[id(x)]]
                live[roots[~flags[id(x)]]] = True
    return trace.free & ~live


def unread_classes(trace):
    """Classes whose every reader has only zero weights for them."""
    read = np.zeros(len(trace))
    for use in trace.of_role("input"):
        nonzero = np.any(along(use, numpy_weight(use)), axis=1)
        read += trace.total(use, nonzero)
    return trace.free & (read == 0)
