"""Sparsity: what is exactly zero in a model, and what removing it saves."""

from keras import ops

from keras_nonconvex import counts
from keras_nonconvex import graph
from keras_nonconvex import pruning
from keras_nonconvex import regularizers


def fractions(model):
    """The fractions of a model that are exactly zero.

    Args:
        model: A built model.

    Returns:
        A dict with those of the keys "weights", "filters", "groups" and
        "macs" that the model has, and a number in [0, 1] for each; "macs" is
        the fraction of multiply-adds that removing the zeros saves.
    """
    zero = {
        kind: zeros / total
        for kind, (zeros, total) in _zeros(model).items()
        if total
    }
    left = sparsity(model).get("macs_left")
    return zero if left is None else {**zero, "macs": 1.0 - left}


def sparsity(model, per_layer=False):
    """What `SparsityMonitor` logs, for the weights that a model has now.

    Args:
        model: A built model.
        per_layer: Whether to add the fractions of every layer. Defaults to
            `False`.

    Returns:
        A dict of name -> number.
    """
    logs = {f"zero_{kind}": zeros for kind, (zeros, _) in _zeros(model).items()}
    try:
        plan = pruning.plan(model, "zeros")
        if plan.before["macs"]:
            logs["macs_left"] = plan.after["macs"] / plan.before["macs"]
    except ValueError:
        # A subclassed model, or one of unknown input size.
        pass
    if per_layer:
        silent = counts.silenced(model)
        for layer in graph.sublayers(model):
            count = counts.zeros(layer, silent)
            for kind in ("weights", "filters"):
                if count[kind]:
                    fraction = count[f"zero_{kind}"] / count[kind]
                    logs[f"zero_{kind}/{layer.name}"] = fraction
    return logs


def _zeros(model):
    """{"weights", "filters", "groups"} -> (zeros, total)."""
    silent = counts.silenced(model)
    rows = [counts.zeros(layer, silent) for layer in graph.sublayers(model)]
    pairs = {
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
        # Each scale of a normalization is a group of its own.
        if axes or len(variable.shape) == 1:
            alive = (ops.convert_to_numpy(variable) != 0).any(axis=axes)
            zeros, total = zeros + int((~alive).sum()), total + alive.size
    pairs["groups"] = zeros, total
    return pairs
