"""Builds the masked and the small model from kept classes."""

import keras
import numpy as np

from keras_nonconvex.pruning import fold
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.criteria import constant_classes

_ZEROED = ("filter", "bias", "scale", "shift")


def masked(trace, keep):
    """The same architecture with the dropped channels zeroed.

    A dropped channel that is constant already keeps its constant: the masked
    model then computes exactly what the original does.
    """
    values = _weights(trace.layers.values())
    zeroed = ~keep & ~constant_classes(trace)
    for use in trace.of_role(*_ZEROED):
        array = values[use.layer.name][use.index]
        dropped = zeroed[trace.root_of[use.ids]]
        np.moveaxis(array, use.axis, 0)[dropped] = 0
    return _build(trace, values)


def small(trace, keep):
    """The model without the dropped channels: computes what `masked` does.

    What the dropped channels still send is folded into the next biases.
    """
    mask = masked(trace, keep)
    for channel, reason in fold.unfoldable(trace, keep, mask).items():
        raise ValueError(
            f"Channel {_name(trace, channel)} cannot be removed: it {reason}. "
            f"Received: model={trace.model.name!r}"
        )
    values = _weights(mask.layers)
    changes = fold.bias_changes(trace, keep, mask)
    resized, new_biases = {}, {}
    for use in trace.uses:
        stays = keep[trace.root_of[use.ids]]
        name = use.layer.name
        values[name][use.index] = np.compress(
            stays, values[name][use.index], axis=use.axis
        )
        if use.role == "filter":
            rule = rules.REGISTRY[type(use.layer)]
            resized[name] = rule.resized(use.layer, stays)
    for use in trace.of_role("bias"):
        if use.layer.name in changes:
            values[use.layer.name][use.index] += changes.pop(use.layer.name)
    for name, change in changes.items():
        if change.any():
            resized[name]["use_bias"] = True
            new_biases[name] = change
    return _build(trace, values, resized, new_biases)


def _name(trace, channel):
    for use in trace.of_role("filter"):
        roots = trace.root_of[use.ids]
        if channel in roots:
            return f"{int(np.argmax(roots == channel))} of '{use.layer.name}'"


def _weights(layers):
    """Layer name -> copies of its weights, in order."""
    return {
        layer.name: [
            np.array(keras.ops.convert_to_numpy(w)) for w in layer.weights
        ]
        for layer in layers
    }


def _build(trace, values, resized=None, new_biases=None):
    """A plain functional model of stock layers with these weights."""
    resized = resized or {}

    def clone(layer):
        config = _without_penalties(layer.get_config())
        config.update(resized.get(layer.name, {}))
        return type(layer).from_config(config)

    model = trace.model
    # Not the user's class, and not compiled: a plain model.
    plain = keras.Model(model.input, model.output, name=model.name)
    built = keras.models.clone_model(plain, clone_function=clone)
    for layer in built.layers:
        stored = values.get(layer.name, [])
        if layer.name in (new_biases or {}):
            stored.insert(
                [w is layer.bias for w in layer.weights].index(True),
                new_biases[layer.name],
            )
        layer.set_weights(stored)
    return built


def _without_penalties(config):
    """A layer's config without this package's regularizers.

    The penalty has done its work, and plain Keras can load the result.
    """
    if isinstance(config, list):
        return [_without_penalties(v) for v in config]
    if not isinstance(config, dict):
        return config
    return {
        key: None
        if key.endswith("_regularizer")
        and isinstance(value, dict)
        and str(value.get("registered_name")).startswith("keras_nonconvex>")
        else _without_penalties(value)
        for key, value in config.items()
    }
