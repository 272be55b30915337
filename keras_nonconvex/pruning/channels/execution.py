"""Runs a traced model eagerly, with other weights than its own."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import graph


def run(trace, inputs, values, wanted, after=None):
    """The values of some tensors: {id of a symbolic tensor: tensor}.

    The model's layers are called in inference mode; nothing of it changes.

    Args:
        trace: A `Trace`.
        inputs: Flat list of input arrays.
        values: {id of a variable: what it counts as, an array}.
        wanted: Symbolic tensors of the trace.
        after: Function (call, output, position) -> output, or None.
    """
    last_use = {}
    for i, call in enumerate(trace.calls):
        last_use.update({id(t): i for t in call.inputs})
    wanted = {id(t) for t in wanted}
    known = {
        id(t): ops.convert_to_tensor(x, t.dtype)
        for t, x in zip(trace.model.inputs, inputs, strict=True)
    }
    mapping = [
        (v, ops.convert_to_tensor(values[id(v)], v.dtype))
        for layer in trace.layers.values()
        for v in layer.weights
        if id(v) in values
    ]
    with keras.StatelessScope(state_mapping=mapping):
        for i, call in enumerate(trace.calls):
            if call.node.is_input:
                continue
            outputs = graph.outputs_for(
                call, [known[id(t)] for t in call.inputs]
            )
            for place, (tensor, y) in enumerate(
                zip(call.outputs, outputs, strict=True)
            ):
                known[id(tensor)] = (
                    y if after is None else after(call, y, place)
                )
            for t in call.inputs:
                if last_use[id(t)] == i and id(t) not in wanted:
                    known.pop(id(t), None)
    return {key: known[key] for key in wanted}


def blank_inputs(trace):
    """One sample of zeros; where sizes are free, large enough for pooling."""
    blank = []
    for t in trace.model.inputs:
        free = sum(n is None for n in t.shape[1:])
        shape = [1, *(n or (64 if free < 3 else 16) for n in t.shape[1:])]
        dtype = keras.backend.standardize_dtype(t.dtype)
        blank.append(np.zeros(shape, "str" if dtype == "string" else dtype))
    return blank
