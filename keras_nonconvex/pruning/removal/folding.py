"""Folding: the constants of removed channels go into the next bias.

A filter that is zero still sends act(bias) or act(BN shift) downstream.
"""

import numpy as np
from keras import ops

from keras_nonconvex import configs
from keras_nonconvex.pruning import rules


def bias_changes(trace, constant, values, arriving, carried):
    """{id of a layer: (what its bias gains, the error at the border)}.

    Args:
        trace: A `Trace`.
        constant: One bool per id: constant classes that go.
        values: As in `execution.run`.
        arriving: What these send, a list of `Sent`.
        carried: {(id of a layer, axis of its input): one bool per index},
            where another channel takes the constant.
    """
    changes = {}
    for arrival in arriving:
        change, error = _contribution(trace, constant, values, arrival, carried)
        if change is not None:
            changes[id(arrival.layer)] = (change, error)
    return changes


def _contribution(trace, constant, values, arrival, carried):
    """What constants add to a layer's output, and the error at the border.

    Returns:
        `(change, error)`: an array with one value per index of `bias_axes`,
        or None, and a number.
    """
    layer = arrival.layer
    axes = rules.find(layer).bias_axes(layer)
    if not axes:
        return None, 0.0
    bare = None
    parts = []
    arriving = [
        (call, array)
        for call, at_sizes in zip(arrival.calls, arrival.images, strict=True)
        for (array,) in at_sizes
    ]
    for call, array in arriving:
        x = trace.tensors[id(call.inputs[0])]
        part = np.zeros_like(array)
        for axis in x.labelled:
            going = constant[trace.root_of[x.axes[axis]]]
            going = going & ~carried.get((id(layer), axis), np.False_)
            place = (slice(None),) * axis + (going,)
            part[place] = array[place]
        if not part.any():
            parts.append(None)
            continue
        bare = bare or _bare(layer, part, values)
        y = ops.convert_to_numpy(bare(part)).astype("float64")
        kept = {axis % y.ndim for axis in axes}
        others = tuple(i for i in range(y.ndim) if i not in kept)
        # What the middle of an image gets, far from its border.
        middle = tuple(
            slice(None) if i in kept else slice(n // 2, n // 2 + 1)
            for i, n in enumerate(y.shape)
        )
        change = y[middle]
        error = float(np.abs(y - change).max())
        parts.append((np.squeeze(change, others), error))
    if not any(parts):
        return None, 0.0
    # The calls of one layer have one bias.
    first = next(part for part in parts if part)
    error = max(
        (p[1] if p else 0.0)
        + float(np.abs((p[0] if p else 0.0) - first[0]).max())
        for p in parts
    )
    rounding = 1e-5 * float(np.abs(first[0]).max())
    return first[0], error if error > rounding else 0.0


def _bare(layer, x, values):
    """The same layer without bias and activation, with weights as counted."""
    changes = {"activation": None, "use_bias": False, "bias_axes": None}
    wraps = rules.inmost(layer) is not layer

    def edited(config):
        return {
            key: {**value, "config": edited(value["config"])}
            if wraps and key == "layer"
            else changes.get(key, value)
            for key, value in config.items()
        }

    bare = configs.anew(layer, edited)
    bare.build(np.shape(x))
    bare.set_weights(
        [
            values.get(id(v), ops.convert_to_numpy(v))
            for v in layer.weights
            if v is not getattr(rules.inmost(layer), "bias", None)
        ]
    )
    return bare
