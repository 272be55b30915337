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
    values = _weights(trace)
    zeroed = ~keep & ~constant_classes(trace)
    for use in trace.of_role(*_ZEROED):
        array = values[use.layer.name][use.weight]
        dropped = zeroed[trace.root_of[use.ids]]
        np.moveaxis(array, use.axis, 0)[dropped] = 0
    return _build(trace, values)


def small(trace, keep):
    """The model without the dropped channels: computes what `masked` does.

    What the dropped channels still send is folded into the next biases.
    """
    mask = masked(trace, keep)
    changes = fold.bias_changes(trace, keep, mask)
    values = _weights(trace)
    for layer in mask.layers:
        for weight in layer.weights:
            values[layer.name][weight.name] = _copy(weight)
    resized = {}
    for name, change in changes.items():
        bias = values[name].get("bias")
        if bias is not None:
            values[name]["bias"] = bias + change.astype(bias.dtype)
        elif np.any(change):
            values[name]["bias"] = change.astype("float32")
            resized[name] = {"use_bias": True}
    for use in trace.uses:
        stays = keep[trace.root_of[use.ids]]
        name = use.layer.name
        values[name][use.weight] = np.compress(
            stays, values[name][use.weight], axis=use.axis
        )
        if use.role == "filter":
            rule = rules.REGISTRY[type(use.layer)]
            config = rule.resized(use.layer, stays)
            resized[name] = {**resized.get(name, {}), **config}
    # A new bias is cut as the filters it belongs to.
    for use in trace.of_role("filter"):
        name = use.layer.name
        if "use_bias" in resized.get(name, {}):
            stays = keep[trace.root_of[use.ids]]
            values[name]["bias"] = values[name]["bias"][stays]
    return _build(trace, values, resized)


def _copy(weight):
    return np.array(keras.ops.convert_to_numpy(weight))


def _weights(trace):
    return {
        name: {weight.name: _copy(weight) for weight in layer.weights}
        for name, layer in trace.layers.items()
    }


def _build(trace, values, resized=None):
    """A plain functional model of stock layers with these weights."""
    resized = resized or {}

    def clone(layer):
        config = layer.get_config()
        for key, value in config.items():
            # The penalty has done its work; plain Keras can load the result.
            if key.endswith("_regularizer") and isinstance(value, dict):
                name = value.get("registered_name") or ""
                if name.startswith("keras_nonconvex>"):
                    config[key] = None
        config.update(resized.get(layer.name, {}))
        return type(layer).from_config(config)

    model = trace.model
    # Not the user's class, and not compiled: a plain model.
    plain = keras.Model(model.input, model.output, name=model.name)
    built = keras.models.clone_model(plain, clone_function=clone)
    for layer in built.layers:
        if layer.weights:
            stored = values[layer.name]
            layer.set_weights([stored[w.name] for w in layer.weights])
    return built
