"""Folding: the constants of removed channels go into the next bias.

A filter that is zero still sends act(bias) or act(BN shift) downstream. One
pass of any input measures all of these constants.
"""

import collections

import numpy as np
from keras import ops

from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.execution import blank_inputs
from keras_nonconvex.pruning.channels.execution import run

# What the constants of `roots` are where `use` reads them: `images` are the
# values that each call of the layer gets.
Sent = collections.namedtuple("Sent", "use calls images")


def sent(trace, constant, values=None):
    """The constants that arrive at each reader, as a list of `Sent`.

    Args:
        trace: A `Trace`.
        constant: One bool per id: the classes in question.
        values: As in `execution.run`: weights that count as others.
    """
    readers = [
        use
        for use in trace.of_role("input")
        if constant[trace.root_of[use.ids]].any()
    ]
    calls = collections.defaultdict(list)
    for call in trace.calls:
        calls[id(call.operation)].append(call)
    arrays = _images(
        trace, [c for use in readers for c in calls[id(use.layer)]], values
    )
    return [
        Sent(
            use,
            calls[id(use.layer)],
            [arrays[id(call.node), call.path] for call in calls[id(use.layer)]],
        )
        for use in readers
    ]


def _images(trace, calls, values):
    """{key of a call: the arrays that enter it, in inference}."""
    if not calls:
        return {}
    wanted = [t for call in calls for t in call.inputs]
    arrays = run(trace, blank_inputs(trace), values or {}, wanted)
    return {
        (id(call.node), call.path): [
            ops.convert_to_numpy(arrays[id(t)]) for t in call.inputs
        ]
        for call in calls
    }


def stuck(trace, constant, on_constant):
    """Constant classes whose constant no bias can replace: {root: why}.

    Args:
        trace: A `Trace`.
        constant: One bool per id: the classes in question.
        on_constant: "keep" to refuse what is inexact at a border.
    """
    reasons = stuck_at_zero(trace, constant)
    try:
        arriving = sent(trace, constant)
    except Exception as error:
        (first, *_) = str(error).splitlines() or [""]
        why = f"sends a constant that cannot be measured: {first}"
        return dict.fromkeys(np.flatnonzero(constant).tolist(), why)
    for use, calls, images in arriving:
        rule = rules.find(use.layer)
        can = bool(rule.bias_axes(use.layer))
        exact = can and rule.folds_exactly(use.layer)
        for root, low, high in _levels(trace, constant, calls, images):
            if low == high == 0:
                continue
            # Equal up to rounding: kernels sum in another order at borders.
            uniform = high - low <= 1e-6 * max(abs(low), abs(high))
            if can and (on_constant == "fold" or (exact and uniform)):
                continue
            reasons[root] = (
                f"sends {(low + high) / 2:.3g} into '{use.layer.name}', "
                "where no bias can replace it"
                + (" at the border" if can else "")
            )
    return reasons


def stuck_at_zero(trace, classes, values=None):
    """Classes that are not zero where they have to be: {root: why}.

    Args:
        trace: A `Trace`.
        classes: One bool per id: the classes in question.
        values: As in `execution.run`.
    """
    calls = [
        call
        for call, ids in trace.zeros_needed
        if classes[trace.root_of[ids]].any()
    ]
    images = _images(trace, calls, values)
    return {
        root: f"sends {high:.3g} into '{call.operation.name}', "
        "which needs a zero there"
        for call in calls
        for root, low, high in _levels(
            trace, classes, [call], [images[id(call.node), call.path]]
        )
        if (low, high) != (0, 0)
    }


def _levels(trace, constant, calls, images):
    """[(root, least, greatest value)] of the constants that enter a layer."""
    levels = {}
    for call, arrays in zip(calls, images, strict=True):
        for tensor, array in zip(call.inputs, arrays, strict=True):
            x = trace.tensors[id(tensor)]
            for axis in x.labelled:
                roots = trace.root_of[x.axes[axis]]
                flat = np.moveaxis(array, axis, 0).reshape(len(roots), -1)
                for i in np.flatnonzero(constant[roots]):
                    low, high = float(flat[i].min()), float(flat[i].max())
                    key = (int(roots[i]), axis, i)
                    known = levels.get(key, (low, high))
                    levels[key] = (min(low, known[0]), max(high, known[1]))
    return [(root, *bounds) for (root, _, _), bounds in levels.items()]


def bias_changes(trace, constant, values):
    """{id of a layer: (what its bias gains, the error at the border)}.

    Args:
        trace: A `Trace`.
        constant: One bool per id: constant classes that go.
        values: As in `execution.run`.
    """
    changes = {}
    for use, calls, images in sent(trace, constant, values):
        if id(use.layer) in changes:
            continue
        change, error = _contribution(trace, constant, use, calls, images)
        if change is not None:
            changes[id(use.layer)] = (change, error)
    return changes


def _contribution(trace, constant, use, calls, images):
    """What constants add to a layer's output, and the error at the border.

    Returns:
        `(change, error)`: an array with one value per index of `bias_axes`,
        or None, and a number.
    """
    layer = use.layer
    axes = rules.find(layer).bias_axes(layer)
    if not axes:
        return None, 0.0
    bare = None
    parts = []
    for call, (array,) in zip(calls, images, strict=True):
        x = trace.tensors[id(call.inputs[0])]
        part = np.zeros_like(array)
        for axis in x.labelled:
            going = constant[trace.root_of[x.axes[axis]]]
            place = (slice(None),) * axis + (going,)
            part[place] = array[place]
        if not part.any():
            parts.append(None)
            continue
        bare = bare or _bare(layer, part)
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


def _bare(layer, x):
    """The same layer without bias and activation."""
    config = layer.get_config()
    changes = {"activation": None, "use_bias": False, "bias_axes": None}
    config.update({k: v for k, v in changes.items() if k in config})
    bare = type(layer).from_config(config)
    bare.build(np.shape(x))
    bare.set_weights(
        [
            ops.convert_to_numpy(v)
            for v in layer.weights
            if v is not getattr(layer, "bias", None)
        ]
    )
    return bare
