"""Runs a traced model eagerly, with other weights than its own."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import backends
from keras_nonconvex import graph
from keras_nonconvex import layouts


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
    known = started(trace, inputs)
    whole = (0, len(trace.calls))
    known = advanced(trace, known, whole, values, wanted, after)
    return {id(t): known[id(t)] for t in wanted}


def started(trace, inputs):
    """What is known before the first call: {id of an input: its tensor}."""
    return {
        id(t): ops.convert_to_tensor(x, t.dtype)
        for t, x in zip(trace.model.inputs, inputs, strict=True)
    }


def advanced(trace, known, span, values, wanted, after=None):
    """What is known after some of the calls: {id of a tensor: its value}.

    Args:
        trace: A `Trace`.
        known: The same before these calls; it stays as it is.
        span: The first call and the one after the last, two indices.
        values, wanted, after: As in `run`.

    Returns:
        The values that later calls need, and those that are wanted.
    """
    last_use = {}
    for i, call in enumerate(trace.calls):
        last_use.update({id(t): i for t in call.inputs})
    last_use.update({id(t): len(trace.calls) for t in wanted})
    mapping = [
        (v, _tensor(values[id(v)], v.dtype))
        for layer in trace.layers.values()
        for v in layer.weights
        if id(v) in values
    ]
    known = dict(known)
    with keras.StatelessScope(state_mapping=mapping):
        for i, call in enumerate(trace.calls[slice(*span)], span[0]):
            if call.node.is_input:
                continue
            outputs = _outputs(call, [known[id(t)] for t in call.inputs])
            for place, (tensor, y) in enumerate(
                zip(call.outputs, outputs, strict=True)
            ):
                known[id(tensor)] = (
                    y if after is None else after(call, y, place)
                )
            for t in (*call.inputs, *call.outputs):
                if last_use.get(id(t), i) == i:
                    known.pop(id(t), None)
    return known


def _tensor(array, dtype):
    """An array as a tensor; one number for all is not copied first."""
    if isinstance(array, np.ndarray) and array.size and not any(array.strides):
        return ops.full(array.shape, array.flat[0], dtype)
    return ops.convert_to_tensor(array, dtype)


def _outputs(call, inputs):
    """What a call returns for these inputs, as `predict` runs it.

    With channels first, and as many filters as an image has columns, eager
    TensorFlow adds a bias to the columns, and a graph does not (Keras 3.15).
    """
    if not layouts.channels_first(call.operation):
        return graph.outputs_for(call, inputs)
    return backends.traced(lambda *given: graph.outputs_for(call, given))(
        *inputs
    )
