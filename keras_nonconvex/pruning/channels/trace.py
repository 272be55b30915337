"""`Trace`: the channels of a model, and what can be read from them."""

import collections

import keras
import numpy as np

from keras_nonconvex.pruning.channels.walk import Walk


class Trace(Walk):
    """The channel graph of a functional or Sequential model.

    A finished `Walk`: its channel ids are grouped into classes of tied
    channels, each known by one id, its root.

    Attributes:
        root_of: Root of each id.
        free: One bool per id, whether it is the root of a class that may go.
        reasons: {root: why its class must stay}.

    Args:
        model: A built functional or Sequential model.
        select: Whether a normalization may choose among its input's channels.
    """

    def __init__(self, model, select=False):
        super().__init__(model, select)
        # From here on nothing is tied any more.
        self.root_of = self.roots(np.arange(len(self)))
        self.reasons = self.frozen()
        made = np.zeros(len(self), dtype=bool)
        for ids in (ids for found in self.made.values() for ids in found):
            made[self.root_of[ids]] = True
        made[list(self.reasons)] = False
        self.free = made

    def of_role(self, *roles):
        """The uses with one of these roles."""
        return [use for use in self.uses if use.role in roles]

    def stays(self, keep, ids):
        """One bool per id, None if there are none.

        Args:
            keep: One bool per channel id, read at the class roots.
            ids: Channel ids, or None.
        """
        return None if ids is None else keep[self.root_of[ids]]

    def makers(self):
        """{root: set of the names of the layers that make its class}."""
        found = collections.defaultdict(set)
        for name, arrays in self.made.items():
            for ids in arrays:
                for root in np.unique(self.root_of[ids]):
                    found[int(root)].add(name)
        return found

    def blocks(self):
        """Prunable classes, as arrays, by the set of layers making them."""
        makers = self.makers()
        blocks = collections.defaultdict(list)
        for root in np.flatnonzero(self.free):
            blocks[tuple(sorted(makers[root]))].append(root)
        return {names: np.array(roots) for names, roots in blocks.items()}


def values_of(use):
    """The weight that a use speaks of, as an array."""
    return keras.ops.convert_to_numpy(use.variable)


def along(use, array):
    """`array` with the used axis first, the rest flattened."""
    return np.moveaxis(array, use.axis, 0).reshape(array.shape[use.axis], -1)
