"""Regularizers that a saved model brings back, also in layers inside layers.

A file and a clone hold the configs of a model's own layers, and nothing of the
layers that these make themselves. Attention takes one regularizer for all of
its kernels, a wrapper has the config of what it wraps, a block may have
neither: whether a regularizer comes back is found out by making the layer
anew.
"""

import keras

from keras_nonconvex import layouts
from keras_nonconvex import regularizers


def fit(places):
    """Fits regularizers to the layers that they act on.

    An argument of an outer layer serves kernels of several layouts, so nobody
    can write the axes of groups there. And some look at more of their layer
    than the kernel.

    Args:
        places: Those of a model or layer, as `layouts.places` returns them.
    """
    for place in places:
        *around, layer = place.layers
        slot = place.slot
        if any(_argument(outer, slot.attribute) for outer in around):
            regularizer = layouts.fitted(slot.variable.regularizer, slot)
            setattr(layer, slot.attribute, regularizer)
            slot.variable.regularizer = regularizer
            slot.variable.constraint = layouts.fitted(
                slot.variable.constraint, slot
            )
        if isinstance(slot.variable.regularizer, regularizers.Regularizer):
            slot.variable.regularizer = slot.variable.regularizer.for_layer(
                layer
            )


def put(matched):
    """Sets regularizers, if the configs of the layers bring them back.

    Args:
        matched: A list of (`Place`, a regularizer or None), one for each
            weight.

    Raises:
        ValueError: A config would lose one. Then nothing has changed.
    """
    former = []

    def change(thing, attribute, value):
        former.append((thing, attribute, getattr(thing, attribute, None)))
        setattr(thing, attribute, value)

    owners = {}
    try:
        for place, regularizer in matched:
            slot = place.slot
            new = layouts.fitted(regularizer, slot)
            if _config(new) != _config(slot.variable.regularizer):
                owner = _owner(place)
                owners.setdefault(id(owner), (owner, place))
            change(place.layers[-1], slot.attribute, new)
            change(slot.variable, "regularizer", new)
        for owner, place in owners.values():
            for argument, regularizer in _common(owner, matched):
                change(owner, argument, regularizer)
            _check_comes_back(owner, place)
    except Exception:
        for thing, attribute, value in reversed(former):
            setattr(thing, attribute, value)
        raise


def _owner(place):
    """The model's own layer that a weight is in."""
    return next(v for v in place.layers if not isinstance(v, keras.Model))


def _argument(layer, name):
    """The attribute that holds an argument of a layer, or None."""
    return next((n for n in (name, f"_{name}") if n in vars(layer)), None)


def _common(owner, matched):
    """(attribute, the regularizer that all weights inside have by it)."""
    given = {id(place.slot.variable): value for place, value in matched}
    kinds = {}
    for place in layouts.places(owner):
        kinds.setdefault(place.slot.attribute, []).append(place.slot.variable)
    for name, variables in kinds.items():
        argument = _argument(owner, name)
        values = {id(given.get(id(variable), owner)) for variable in variables}
        regularizer = given.get(id(variables[0]), owner)
        if argument and len(values) == 1 and regularizer is not owner:
            yield argument, regularizer


def _check_comes_back(owner, place):
    """Refuses a layer that, made of its config, has other regularizers.

    Args:
        owner: A layer of the model.
        place: The `Place` of the first of its weights that has a new one.
    """
    problem = f"let the layer and its config take a {place.slot.attribute}"
    try:
        if _comes_back(owner):
            return
    except Exception as error:
        *_, cause = str(error).splitlines() or [type(error).__name__]
        problem = f"it cannot be made from its config ({cause})"
    weight = f"{layouts.name(place)}/{place.slot.variable.name}"
    raise ValueError(
        f"A saved or cloned model would lose the penalty of '{weight}', which "
        f"the config of layer '{owner.name}' ({type(owner).__name__}) does "
        f"not bring back: {problem}; where one argument serves several "
        "weights, use one rule for all of them; or leave the layer out, by a "
        "rule with the value None. "
        f"Received: {place.slot.variable.regularizer!r}"
    )


def _comes_back(owner):
    """Whether a layer made of a layer's config has the same regularizers."""
    config = owner.get_config()
    if not owner._flatten_layers(include_self=False) and all(
        config.get(slot.attribute) == _config(slot.variable.regularizer)
        for slot in layouts.slots(owner)
    ):
        return True
    twin = type(owner).from_config(config)
    arguments = owner._inbound_nodes[0].arguments
    fresh = {
        id(t): keras.KerasTensor(t.shape, t.dtype)
        for t in arguments.keras_tensors
    }
    args, kwargs = arguments.fill_in(fresh)
    twin(*args, **kwargs)
    fit(layouts.places(twin))
    mine, its = (
        [_config(v.regularizer) for v in layer.variables]
        for layer in (owner, twin)
    )
    return mine == its


def _config(regularizer):
    return keras.regularizers.serialize(regularizer)
