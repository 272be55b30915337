"""Regularizers that a saved model brings back, also in layers inside layers.

A file and a clone hold the configs of a model's own layers, and nothing of the
layers that these make themselves. Attention takes one regularizer for all of
its kernels, a wrapper has the config of what it wraps, a block may have
neither: whether a regularizer comes back is found out by making the layer
anew.
"""

import keras

from keras_nonconvex import layouts


def fit(places):
    """Fits groups to kernels that get them by an argument of an outer layer.

    Such an argument serves kernels of several layouts, so nobody can write
    the axes there.

    Args:
        places: Those of a model or layer, as `layouts.places` returns them.
    """
    for place in places:
        *around, layer = place.layers
        slot = place.slot
        if any(_argument(outer, slot.attribute) for outer in around):
            _set(layer, slot, layouts.fitted(slot.variable.regularizer, slot))
            slot.variable.constraint = layouts.fitted(
                slot.variable.constraint, slot
            )


def put(matched):
    """Sets regularizers, if the configs of the layers bring them back.

    Args:
        matched: A list of (`Place`, a regularizer or None), one for each
            weight.
    """
    owners, before = {}, []
    for place, regularizer in matched:
        layer, slot = place.layers[-1], place.slot
        before.append((layer, slot, slot.variable.regularizer))
        _set(layer, slot, layouts.fitted(regularizer, slot))
        if _config(slot.variable.regularizer) != _config(before[-1][-1]):
            owner = _owner(place)
            owners.setdefault(id(owner), (owner, place))
    outer = []
    for owner, place in owners.values():
        outer += _hand_over(owner, matched)
        if not _comes_back(owner):
            message = _lost(owner, place)
            for layer, slot, regularizer in before:
                _set(layer, slot, regularizer)
            for layer, argument, regularizer in outer:
                setattr(layer, argument, regularizer)
            raise ValueError(message)


def _lost(owner, place):
    weight = f"{layouts.name(place)}/{place.slot.variable.name}"
    return (
        f"A saved or cloned model would lose the penalty of '{weight}', "
        f"because the config of layer '{owner.name}' "
        f"({type(owner).__name__}) does not have it: let the layer and its "
        f"config take a {place.slot.attribute}; where they do, use one rule "
        "for all weights that it is for; or leave the layer out, by a rule "
        "with the value None. "
        f"Received: {place.slot.variable.regularizer!r}"
    )


def _set(layer, slot, regularizer):
    setattr(layer, slot.attribute, regularizer)
    slot.variable.regularizer = regularizer


def _owner(place):
    """The model's own layer that a weight is in."""
    return next(v for v in place.layers if not isinstance(v, keras.Model))


def _argument(layer, name):
    """The attribute that holds an argument of a layer, or None."""
    return next((n for n in (name, f"_{name}") if n in vars(layer)), None)


def _hand_over(owner, matched):
    """Gives a layer the regularizers that all inner weights of a kind have.

    Returns:
        A list of (layer, attribute, its former value).
    """
    given = {id(place.slot.variable): value for place, value in matched}
    kinds, former = {}, []
    for place in layouts.places(owner):
        kinds.setdefault(place.slot.attribute, []).append(place.slot.variable)
    for name, variables in kinds.items():
        argument = _argument(owner, name)
        if not argument or not all(id(v) in given for v in variables):
            continue
        values = [given[id(variable)] for variable in variables]
        if all(value is values[0] for value in values):
            former.append((owner, argument, getattr(owner, argument)))
            setattr(owner, argument, values[0])
    return former


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
