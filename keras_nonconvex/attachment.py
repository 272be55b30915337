"""Put regularizers on the layers of a built model, or take them off."""

import fnmatch

import keras

from keras_nonconvex import graph
from keras_nonconvex import groups
from keras_nonconvex import regularizers
from keras_nonconvex.training import ProximalModel


def attach(model, rules):
    """Sets kernel regularizers on a built functional or Sequential model.

    Setting `layer.kernel_regularizer` after a layer is built does nothing in
    Keras 3; this sets the variable's regularizer too. Group patterns are
    adapted to each layer's kernel layout.

    Args:
        model: A built model, possibly pretrained.
        rules: A regularizer for every kernel, or a dict whose keys are layer
            types, layer name patterns ("conv*") or functions of a layer, and
            whose values are regularizers or None. The first key that matches
            a layer counts.

    Returns:
        A `ProximalModel` over the same layers and weights, to be compiled.
    """
    if not isinstance(rules, dict):
        rules = {"*": rules}
    model = graph.functional(model)
    unused = set(rules)
    for layer in graph.layers(model):
        if getattr(layer, "kernel", None) is None:
            continue
        for key, regularizer in rules.items():
            if _matches(key, layer):
                unused.discard(key)
                _set(layer, regularizers.get(regularizer))
                break
    if unused:
        raise ValueError(
            "No layer with a kernel is left for some of `rules`; the model "
            f"has {', '.join(layer.name for layer in graph.layers(model))}. "
            f"Received: {', '.join(map(repr, sorted(unused, key=str)))}"
        )
    return ProximalModel(model.input, model.output, name=model.name)


def strip(model):
    """Takes this package's regularizers off; a plain model, same weights."""
    model = graph.functional(model)
    for layer in graph.layers(model):
        if isinstance(
            getattr(layer, "kernel_regularizer", None),
            regularizers.Regularizer,
        ):
            _set(layer, None)
    return keras.Model(model.input, model.output, name=model.name)


def _matches(key, layer):
    if isinstance(key, str):
        return fnmatch.fnmatchcase(layer.name, key)
    if isinstance(key, type):
        return isinstance(layer, key)
    return key(layer)


def _set(layer, regularizer):
    if isinstance(regularizer, regularizers.Group):
        config = regularizer.get_config()
        config["groups"] = groups.for_layer(
            config["groups"], layer, len(layer.kernel.shape)
        )
        regularizer = type(regularizer).from_config(config)
    layer.kernel_regularizer = regularizer
    layer.kernel.regularizer = regularizer
