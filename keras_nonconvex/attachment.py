"""Put regularizers on the layers of a built model, or take them off."""

import fnmatch

import keras

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex.training import ProximalModel


def attach(model, rules):
    """Sets regularizers on a built functional or Sequential model.

    Setting `layer.kernel_regularizer` after a layer is built does nothing in
    Keras 3; this sets the variable's regularizer too. Group patterns are
    adapted to each layer's kernel layout.

    Args:
        model: A built model, possibly pretrained.
        rules: A regularizer for every kernel, or a dict whose keys are layer
            types, layer name patterns ("conv*"), functions of a layer, or
            weight patterns with a slash ("*/gamma", "sep*/pointwise_kernel"),
            and whose values are regularizers or None. The first key that
            matches a weight counts. The scales of batch normalization are
            reached by that layer type or by a weight pattern alone.

    Returns:
        A `ProximalModel` over the same layers and weights, to be compiled.
    """
    if not isinstance(rules, dict):
        rules = {"*": rules}
    model = graph.functional(model)
    unused = set(rules)
    for layer in graph.layers(model):
        for slot in layouts.slots(layer):
            for key, regularizer in rules.items():
                if _matches(key, layer, slot):
                    unused.discard(key)
                    _set(layer, slot, regularizers.get(regularizer))
                    break
    if unused:
        raise ValueError(
            "No weight is left for some of `rules`; the model "
            f"has {', '.join(layer.name for layer in graph.layers(model))}. "
            f"Received: {', '.join(map(repr, sorted(unused, key=str)))}"
        )
    return ProximalModel(model.input, model.output, name=model.name)


def strip(model):
    """Takes this package's regularizers off; a plain model, same weights."""
    model = graph.functional(model)
    for layer in graph.layers(model):
        for slot in layouts.slots(layer):
            if isinstance(slot.variable.regularizer, regularizers.Regularizer):
                _set(layer, slot, None)
    return keras.Model(model.input, model.output, name=model.name)


def _matches(key, layer, slot):
    if isinstance(key, str) and "/" in key:
        return fnmatch.fnmatchcase(f"{layer.name}/{slot.variable.name}", key)
    if isinstance(key, type):
        return isinstance(layer, key)
    if slot.attribute == "gamma_regularizer":
        return False
    if isinstance(key, str):
        return fnmatch.fnmatchcase(layer.name, key)
    return key(layer)


def _set(layer, slot, regularizer):
    if hasattr(regularizer, "for_layout"):
        rank = len(slot.variable.shape)
        regularizer = regularizer.for_layout(rank, slot.layout)
    setattr(layer, slot.attribute, regularizer)
    slot.variable.regularizer = regularizer
