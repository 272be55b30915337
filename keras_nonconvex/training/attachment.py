"""Put regularizers on the layers of a built model, or take them off."""

import warnings

import keras

from keras_nonconvex import constraints
from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex import unfolding
from keras_nonconvex.training.model import ProximalModel


def attach(model, rules):
    """Sets regularizers on a built functional or Sequential model.

    In Keras 3, setting `layer.kernel_regularizer` after a layer is built does
    nothing; this function sets the variable's regularizer too. It adapts
    group patterns to the layout of each layer's kernel, and warns about
    layers with a kernel that no rule matches.

    Args:
        model: A built functional or Sequential `keras.Model`, possibly
            pretrained. Its layers are changed in place.
        rules: A regularizer for every kernel; or a dict whose values are
            regularizers, or None for no penalty. The keys of the dict are
            layer types (`keras.layers.Conv2D`), layer name patterns
            (`"conv*"`), functions of a layer that return True or False, or
            weight patterns with a slash (`"*/gamma"`,
            `"sep*/pointwise_kernel"`). The first key that matches a weight
            counts. The scales of batch normalization need that layer type or
            a weight pattern.

    Returns:
        A `ProximalModel` over the same layers and weights, to be compiled.

    Example:
    ```python
    model = knc.attach(
        pretrained, {"conv*": knc.SparseGroupTL1(1e-4), "*": None}
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    ```
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
    model = unfolding.functional(model)
    unused, matched, left = set(rules), [], []
    for layer in graph.sublayers(model):
        for slot in layouts.slots(layer):
            for key, regularizer in rules.items():
                if layouts.matches(key, layer, slot):
                    unused.discard(key)
                    fitted = layouts.fitted(regularizer, slot)
                    matched.append((layer, slot, fitted))
                    break
            else:
                if slot.attribute != "gamma_regularizer":
                    left.append(layer.name)
    if unused:
        raise ValueError(_no_weight_for(unused, model))
    if rules and left:
        warnings.warn(
            "No rule matches these layers, which stay without a penalty (to "
            "leave them out on purpose, add a rule with the value None): "
            f"{', '.join(left)}. Received: rules for "
            f"{', '.join(map(repr, rules))}",
            stacklevel=2,
        )
    for layer, slot, regularizer in matched:
        setattr(layer, slot.attribute, regularizer)
        slot.variable.regularizer = regularizer
    return ProximalModel(model.input, model.output, name=model.name)


def _no_weight_for(unused, model):
    """The message about rules that no weight belongs to."""
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
        why = (
            "Earlier rules match all weights of these rules, and the first "
            "rule that matches counts."
        )
    else:
        names = ", ".join(dict.fromkeys(layer.name for layer, _ in slots))
        why = (
            "These rules match no weight (the pattern for the scales of a "
            f"batch normalization is 'NAME/gamma'). Layers with weights: "
            f"{names}."
        )
    received = sorted(late or unused, key=str)
    return f"{why} Received: {', '.join(map(repr, received))}"


def strip(model):
    """Removes this package's regularizers and constraints from a model.

    Args:
        model: A built functional or Sequential model. Its layers are changed
            in place.

    Returns:
        A plain `keras.Model` over the same layers and weights, whose file
        loads without this package.

    Example:
    >>> knc.strip(small).save("small.keras")
    """
    ours = (regularizers.Regularizer, constraints.KeepLargest)
    model = unfolding.functional(model)
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
