"""Channel ids: which channels of a network must stay or go together."""

import numpy as np


class ChannelSpace:
    """Integers for channels, tied to classes by union-find.

    A class of tied ids is one prunable unit. It is known by its root, the
    least of its ids.
    """

    def __init__(self):
        self._parent = np.arange(0)
        self._reasons = []

    def new(self, count):
        """Fresh ids, tied to nothing.

        Args:
            count: How many, an int.

        Returns:
            An int array of `count` ids.
        """
        ids = np.arange(len(self), len(self) + count)
        self._parent = np.append(self._parent, ids)
        return ids

    def roots(self, ids):
        """The ids that stand for the classes of `ids`.

        Args:
            ids: Channel ids, an int array of any shape.

        Returns:
            An int array of the same shape. Two ids are tied if their roots
            are equal.
        """
        ids = np.asarray(ids, dtype=int)
        roots = self._parent[ids]
        while True:
            further = self._parent[roots]
            if np.array_equal(further, roots):
                break
            roots = further
        self._parent[ids] = roots
        return roots

    def tie(self, first, second):
        """Ties two id arrays pairwise: such channels stay or go together.

        Args:
            first: Channel ids.
            second: As many channel ids.
        """
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

    @property
    def ties(self):
        """All ties, an array; assigned again, it undoes those made since."""
        return self._parent.copy()

    @ties.setter
    def ties(self, earlier):
        self._parent = earlier.copy()

    def freeze(self, ids, reason):
        """Says that channels have to stay.

        Args:
            ids: Channel ids, or None for an axis of positions.
            reason: Why, in words, such as "'softmax' sums over them". The
                plan prints it.
        """
        if ids is not None:
            self._reasons.append((np.array(ids, dtype=int), reason))

    def frozen(self):
        """{root: why its class must stay}; the first reason counts."""
        reasons = {}
        for ids, reason in self._reasons:
            for root in np.unique(self.roots(ids)):
                reasons.setdefault(int(root), reason)
        return reasons

    def __len__(self):
        return len(self._parent)
