"""Names of the layers of an unfolded model."""

import re

import keras

from keras_nonconvex import graph


class Scope:
    """The names of the layers in one model.

    Args:
        taken: The names in all models, a set to which names are added.
        layer: The layer that the model is the inside of. Its layers are named
            as the attributes that hold them, unless they have a name of
            their own. Defaults to `None`.
        tidy: Whether names that Keras made up, "conv2d_17", are counted anew.
            Defaults to `False`; with a `layer` they always are.
    """

    def __init__(self, taken, layer=None, tidy=False):
        self.tidy = tidy or layer is not None
        self._taken = taken
        self._mine = {}
        self._attributes = {} if layer is None else _attributes(layer)

    def name_of(self, operation):
        """A name for a layer that comes into the model."""
        name = operation.name
        if self.tidy:
            plain = re.sub(r"(_\d+)?$", "", name, count=1)
            kind = type(operation).__name__.lower()
            if plain.replace("_", "") == kind:
                name = self._attributes.get(id(operation), plain)
        return graph.unused(name, self._mine)

    def admit(self, view):
        """Says that a layer is in the model; renames it if that must be."""
        holder = self._mine.get(view.name)
        if holder is not None and holder is not view:
            view.name = graph.unused(view.name, self._taken)
        self._mine[view.name] = view
        self._taken.add(view.name)


def _attributes(layer):
    """{id of a layer inside: name of the attribute that holds it}."""
    found = {}
    # Names in public come first: Keras keeps lists of its own in private.
    for key in sorted(vars(layer), key=lambda key: key.startswith("_")):
        if key not in _OF_KERAS:
            _name_layers(key.strip("_"), vars(layer)[key], found)
    return found


_OF_KERAS = (
    "_layers",
    "_operations",
    "_operations_by_depth",
    "_self_unconditional_dependency_names",
)


def _name_layers(name, value, found):
    if isinstance(value, keras.layers.Layer):
        found.setdefault(id(value), name.replace("/", "_"))
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            _name_layers(f"{name}_{i}", part, found)
    elif isinstance(value, dict):
        for key, part in value.items():
            _name_layers(f"{name}_{key}", part, found)
