"""Put regularizers on the layers of a built model, or take them off."""

import warnings

import keras

from keras_nonconvex import constraints
from keras_nonconvex import graph
from keras_nonconvex import layer_names
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex import unfolding
from keras_nonconvex.training import flow
from keras_nonconvex.training import inner_layers
from keras_nonconvex.training.model import ProximalModel


def attach(model, rules):
    """Sets regularizers on a built model.

    In Keras 3, setting `layer.kernel_regularizer` after a layer is built does
    nothing; this function sets the variable's regularizer too. It adapts
    group patterns to the layout of each layer's kernel, and warns about
    layers with a kernel that no rule matches. Penalties in layers inside of
    other layers (attention, wrappers, blocks of your own) are saved, loaded
    and cloned too; it refuses those that a layer's config could not bring
    back.

    Args:
        model: A built `keras.Model`, possibly pretrained. Its layers are
            changed in place. Where own layers or a subclassed model are
            followed to the layers that they call, the result has layers of
            its own, over the same weights.
        rules: A regularizer for every kernel; or a dict whose values are
            regularizers, or None for no penalty. The keys of the dict are
            layer types (`keras.layers.Conv2D`), layer name patterns
            (`"conv*"`, or with the models around it `"backbone/conv*"`),
            functions of a layer that return True or False, or weight patterns
            after a slash (`"*/gamma"`, `"lstm/recurrent_kernel"`, `"*/bias"`).
            The first key that matches a weight counts. Types and names mean
            the kernels of a layer and of the layers inside of it; all other
            weights need a weight pattern, or, for its scales, the type
            `BatchNormalization`.

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
    for place in layouts.places(model):
        for key, regularizer in rules.items():
            if layouts.matches(key, place):
                unused.discard(key)
                _check_trains(place, key, regularizer)
                matched.append((place, regularizer))
                break
        else:
            if not place.slot.by_weight:
                left.append(layouts.name(place))
    if unused:
        raise ValueError(_no_weight_for(unused, model))
    if rules and left:
        warnings.warn(
            "No rule matches these layers, which stay without a penalty (to "
            "leave them out on purpose, add a rule with the value None): "
            f"{layer_names.some(left)}. Received: rules for "
            f"{', '.join(map(repr, rules))}",
            stacklevel=2,
        )
    inner_layers.put(matched)
    return ProximalModel(model.input, model.output, name=model.name)


def _check_trains(place, key, regularizer):
    """Refuses a penalty on a kernel that does not train as it is."""
    why = layouts.closed(place.layers[-1])
    if why and regularizer is not None and not place.slot.by_weight:
        raise ValueError(
            f"The kernel of layer '{layouts.name(place)}' {why}: attach "
            "penalties, train and prune before that, or leave the layer out, "
            "by a rule with the value None. "
            f"Received: {key!r}: {regularizer!r}"
        )


def _no_weight_for(unused, model):
    """The message about rules that no weight belongs to."""
    places = layouts.places(model)
    late = {
        key
        for key in unused
        if any(layouts.matches(key, place) for place in places)
    }
    if late:
        why = (
            "Earlier rules match all weights of these rules, and the first "
            "rule that matches counts."
        )
    else:
        names = [layouts.name(place) for place in places]
        patterns = [key for key in unused if isinstance(key, str)]
        why = (
            "These rules match no weight (other weights than kernels have "
            "patterns such as 'NAME/gamma'). "
            f"{layer_names.near(min(patterns, default=''), names)}"
        )
    received = sorted(late or unused, key=str)
    return f"{why} Received: {', '.join(map(repr, received))}"


def strip(model):
    """Removes this package's regularizers and constraints from a model.

    The penalty of `feature_flow` goes as well.

    Args:
        model: A built model. Its layers are changed
            in place.

    Returns:
        A plain `keras.Model` over the same layers and weights, whose file
        loads without this package.

    Example:
    >>> knc.strip(small).save("small.keras")
    """
    ours = (regularizers.Regularizer, constraints.Projection)
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
    outputs = flow.without_flow(model.output)
    return keras.Model(model.input, outputs, name=model.name)
