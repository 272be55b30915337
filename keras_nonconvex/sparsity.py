"""Sparsity: what is exactly zero in a model, and what removing it saves."""

from keras import ops

from keras_nonconvex import counts
from keras_nonconvex import graph
from keras_nonconvex import pruning
from keras_nonconvex import regularizers


def fraction(model, of):
    """The fraction of a model that is exactly zero.

    Args:
        model: A built model.
        of: "weights", "filters", "groups" or "macs", the multiply-adds that
            removing the zeros saves.

    Returns:
        A number in [0, 1]; None if the model has none of these.
    """
    if of == "macs":
        left = _macs_left(model)
        return None if left is None else 1.0 - left
    zeros, total = _zeros(model)[of]
    return zeros / total if total else None


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
    left = _macs_left(model)
    if left is not None:
        logs["macs_left"] = left
    if per_layer:
        silent = counts.silenced(model)
        for layer in graph.sublayers(model):
            count = counts.zeros(layer, silent)
            for kind in ("weights", "filters"):
                if count[kind]:
                    fraction = count[f"zero_{kind}"] / count[kind]
                    logs[f"zero_{kind}/{layer.name}"] = fraction
    return logs


def _macs_left(model):
    """The fraction of multiply-adds without the zeros, None if not known."""
    try:
        plan = pruning.plan(model, "zeros")
    except ValueError:
        # A subclassed model, or one of unknown input size.
        return None
    full = plan.before["macs"]
    return plan.after["macs"] / full if full else None


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
    coupled = getattr(model, "coupled", None)
    if coupled is not None:
        norms = ops.convert_to_numpy(coupled.norms(coupled.variables))
        zeros, total = zeros + int((norms == 0).sum()), total + len(norms)
    pairs["groups"] = zeros, total
    return pairs
