"""`Trace`: the channels of a model, and what can be read from them."""

import functools

import numpy as np

from keras_nonconvex.pruning.channels.following import follow


class Trace:
    """The channel graph of a model.

    Channel ids are grouped into classes of tied channels. A class stays or
    goes as one; it is known by one of its ids, its root. `len(trace)` is the
    number of ids.

    Attributes:
        given: The model as it was given, with its loss if it is compiled.
        model: The functional form of the model; own layers are unfolded.
        whole: {id of an own layer that is not unfolded: why}.
        calls: The calls of its layers, in order; nested models are followed.
        outputs: The symbolic tensors that the model returns.
        nested: The calls of nested models.
        tensors: {id of a symbolic tensor: its `Tensor`}.
        layers: {layer name: layer}, in order; "model/layer" if nested.
        names: {id of a layer: its name}.
        not_followed: {id of a layer that no rule follows: why}.
        uses: All weight axes that are channels, a list of `Use`.
        made, gathers, picks, arrays, mixing, zeros_needed: As in `Walk`.
        root_of: The root of each id, an int array.
        free: One bool per id, whether it is the root of a class that may go.
        reasons: {root: why its class must stay}.

    Args:
        model: A built model.
        select: Whether a normalization may choose among its input's channels,
            as in `plan`. Defaults to `False`.
    """

    def __init__(self, model, select=False):
        followed = follow(model, select)
        self.given = model
        self.model = followed.model
        self.whole = followed.whole
        self.calls = followed.calls
        self.outputs = followed.outputs
        self.nested = followed.nested
        self.tensors = followed.tensors
        self.layers = followed.layers
        self.not_followed = followed.not_followed
        walk = followed.walk
        self.names = walk.names
        self.uses = walk.uses
        self.made = dict(walk.made)
        self.gathers = walk.gathers
        self.picks = walk.picks
        self.arrays = walk.arrays
        self.mixing = walk.mixing
        self.zeros_needed = walk.zeros_needed
        self.root_of = walk.roots(np.arange(len(walk)))
        self.reasons = walk.frozen()
        self.free = followed.free()
        self._roots = {}

    def __len__(self):
        return len(self.root_of)

    def of_role(self, *roles):
        """The uses with one of these roles.

        Args:
            *roles: Of "filter", "bias", "shift", "scale", "input", "inner",
                "through" and "state"; see `Walk.use`.
        """
        return [use for use in self.uses if use.role in roles]

    def read_by(self, call):
        """The tensors whose channels a call reads.

        These are its inputs, but for the last of several calls that are
        followed as one: this reads what entered the first of them.

        Args:
            call: A `keras_nonconvex.graph.Call`.
        """
        pick = self.picks.get((id(call.node), call.path))
        return call.inputs if pick is None else pick.first.inputs

    def stays(self, keep, ids):
        """One bool per id, None if there are none.

        Args:
            keep: One bool per channel id, read at the class roots.
            ids: Channel ids, or None.
        """
        return None if ids is None else keep[self.root_of[ids]]

    @functools.cached_property
    def makers(self):
        """Which layers make each class.

        A list of tuples of layer names, and an int array with the place of
        one of them per channel id, read at the class roots.
        """
        places = np.zeros(len(self), dtype=int)
        known = {(): 0}
        for name, arrays in self.made.items():
            roots = np.unique(self.root_of[np.concatenate(arrays)])
            so_far = list(known)
            for place in np.unique(places[roots]):
                names = (*so_far[place], name)
                further = known.setdefault(names, len(known))
                places[roots[places[roots] == place]] = further
        return list(known), places

    def blocks(self):
        """Prunable classes, as arrays, by the set of layers making them."""
        names, places = self.makers
        roots = np.flatnonzero(self.free)
        blocks = dict.fromkeys(places[roots].tolist())
        return {
            tuple(sorted(names[place])): roots[places[roots] == place]
            for place in blocks
        }

    def roots(self, tensor):
        """The roots of all channels of a tensor of the model, sorted."""
        if id(tensor) not in self._roots:
            x = self.tensors[id(tensor)]
            ids = [x.axes[axis] for axis in x.labelled]
            ids = np.concatenate([np.arange(0), *ids])
            self._roots[id(tensor)] = np.unique(self.root_of[ids])
        return self._roots[id(tensor)]
