"""Put regularizers on the layers of a built model, or take them off."""

import warnings

import keras

from keras_nonconvex import constraints
from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex.training.model import ProximalModel


def attach(model, rules):
    """Sets regularizers on a built functional or Sequential model.

    Setting `layer.kernel_regularizer` after a layer is built does nothing in
    Keras 3; this sets the variable's regularizer too. Group patterns are
    adapted to each layer's kernel layout. Warns about layers with a kernel
    that no rule matches.

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
    if not isinstance(rules, dict) or {"name", "class_name"} & set(rules):
        rules = {"*": rules}
    for key in rules:
        if not (isinstance(key, (str, type)) or callable(key)):
            raise ValueError(
                "Keys of `rules` must be name patterns, layer types or "
                f"functions of a layer. Received: {key!r}"
            )
    rules = {key: regularizers.get(value) for key, value in rules.items()}
    model = graph.functional(model)
    unused, found, left = set(rules), [], []
    for layer in graph.sublayers(model):
        for slot in layouts.slots(layer):
            for key, regularizer in rules.items():
                if layouts.matches(key, layer, slot):
                    unused.discard(key)
                    fitted = layouts.fitted(regularizer, slot)
                    found.append((layer, slot, fitted))
                    break
            else:
                if slot.attribute != "gamma_regularizer":
                    left.append(layer.name)
    if unused:
        raise ValueError(_no_weight_for(unused, model))
    if rules and left:
        warnings.warn(
            "No rule matches these layers, which stay without a penalty (a "
            "rule with the value None says that this is meant): "
            f"{', '.join(left)}. Received: rules for "
            f"{', '.join(map(repr, rules))}",
            stacklevel=2,
        )
    for layer, slot, regularizer in found:
        setattr(layer, slot.attribute, regularizer)
        slot.variable.regularizer = regularizer
    return ProximalModel(model.input, model.output, name=model.name)


def _no_weight_for(unused, model):
    """The sentence about rules that take no weight."""
    slots = [
        (layer, slot)
        for layer in graph.sublayers(model)
        for slot in layouts.slots(layer)
    ]
    late = {
        key
        for key in unused
        if any(layouts.matches(key, layer, slot) for layer, slot in slots)
    }
    if late:
        why = "Rules before these take all their weights: the first counts."
    else:
        names = ", ".join(dict.fromkeys(layer.name for layer, _ in slots))
        why = (
            "These rules match no weight (the scales of a batch normalization "
            f"are reached as 'NAME/gamma'). Layers with weights: {names}."
        )
    received = sorted(late or unused, key=str)
    return f"{why} Received: {', '.join(map(repr, received))}"


def strip(model):
    """Takes this package's regularizers and constraints off.

    Returns:
        A plain `keras.Model` over the same layers and weights, whose file
        loads without this package.
    """
    ours = (regularizers.Regularizer, constraints.KeepLargest)
    model = graph.functional(model)
    for layer in graph.sublayers(model):
        for name, value in list(vars(layer).items()):
            if isinstance(value, ours):
                setattr(layer, name, None)
        for variable in layer.variables:
            if isinstance(variable.regularizer, ours):
                variable.regularizer = None
            if isinstance(variable.constraint, ours):
                variable.constraint = None
    return keras.Model(model.input, model.output, name=model.name)
