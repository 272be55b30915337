"""Sparsity: what of a model is exactly zero, and what its removal saves."""

from keras import ops

from keras_nonconvex import counts
from keras_nonconvex import graph
from keras_nonconvex import pruning
from keras_nonconvex import regularizers


def fractions(model):
    """{"weights", "filters", "groups", "macs"} -> the fraction that is gone.

    Without what a model does not have.
    """
    found = {
        kind: zeros / total
        for kind, (zeros, total) in _zeros(model).items()
        if total
    }
    left = sparsity(model).get("macs_left")
    return found if left is None else {**found, "macs": 1.0 - left}


def sparsity(model, per_layer=False):
    """What `SparsityMonitor` logs, for a model as it is."""
    found = {
        f"zero_{kind}": zeros for kind, (zeros, _) in _zeros(model).items()
    }
    try:
        plan = pruning.plan(model, "zeros")
        if plan.before["macs"]:
            found["macs_left"] = plan.after["macs"] / plan.before["macs"]
    except ValueError:
        pass  # A subclassed model, or one of unknown input size.
    if per_layer:
        for layer in graph.sublayers(model):
            count = counts.zeros(layer)
            for kind in ("weights", "filters"):
                if count[kind]:
                    fraction = count[f"zero_{kind}"] / count[kind]
                    found[f"zero_{kind}/{layer.name}"] = fraction
    return found


def _zeros(model):
    """{"weights", "filters", "groups"} -> (zeros, in all)."""
    rows = [counts.zeros(layer) for layer in graph.sublayers(model)]
    found = {
        kind: (
            sum(row[f"zero_{kind}"] for row in rows),
            sum(row[kind] for row in rows),
        )
        for kind in ("weights", "filters")
    }
    zeros = total = 0
    for variable in model.trainable_variables:
        reg = variable.regularizer
        if not isinstance(reg, regularizers.Regularizer):
            continue
        axes = reg.group_axes(len(variable.shape))
        if axes or len(variable.shape) == 1:  # Scales are groups of their own.
            alive = (ops.convert_to_numpy(variable) != 0).any(axis=axes)
            zeros, total = zeros + int((~alive).sum()), total + alive.size
    found["groups"] = zeros, total
    return found
