"""Channel ids: which channels of a network must stay or go together."""

import numpy as np


class ChannelSpace:
    """Integers for channels; ties them (union-find) and freezes them.

    A class of tied ids is one prunable unit, named by its root, the least of
    its ids.
    """

    def __init__(self):
        self._parent = np.arange(0)
        self._reasons = []

    def new(self, count):
        """`count` fresh ids, tied to nothing."""
        ids = np.arange(len(self), len(self) + count)
        self._parent = np.append(self._parent, ids)
        return ids

    def roots(self, ids):
        """The ids that stand for the classes of `ids`."""
        ids = np.asarray(ids, dtype=int)
        found = self._parent[ids]
        while True:
            further = self._parent[found]
            if np.array_equal(further, found):
                break
            found = further
        self._parent[ids] = found
        return found

    def tie(self, first, second):
        """Ties two equally long id arrays pairwise."""
        if len(first) != len(second):
            raise ValueError(
                "Only equally many channels can be tied. "
                f"Received: {len(first)} and {len(second)} channels"
            )
        while True:
            a, b = self.roots(first), self.roots(second)
            apart = a != b
            if not apart.any():
                return
            a, b = a[apart], b[apart]
            # Of several ties of one root the last is made; then once more.
            self._parent[np.maximum(a, b)] = np.minimum(a, b)

    def freeze(self, ids, reason):
        """Says that these channels must stay; None are no channels."""
        if ids is not None:
            self._reasons.append((np.array(ids, dtype=int), reason))

    def frozen(self):
        """{root: why its class must stay}; the first reason counts."""
        found = {}
        for ids, reason in self._reasons:
            for root in np.unique(self.roots(ids)):
                found.setdefault(int(root), reason)
        return found

    def __len__(self):
        return len(self._parent)
