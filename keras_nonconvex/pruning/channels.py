"""Channel ids: which channels of a network must stay or go together."""

import numpy as np


class ChannelSpace:
    """Integers for channels; ties them (union-find) and freezes them.

    A class of tied ids is one prunable unit, named by its root id.
    """

    def __init__(self):
        self._parent = []
        self._frozen = {}

    def new(self, count):
        """`count` fresh ids, tied to nothing."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, channel):
        """The id that stands for the class of `channel`."""
        parent = self._parent
        while parent[channel] != channel:
            parent[channel] = parent[parent[channel]]
            channel = parent[channel]
        return channel

    def roots(self, ids):
        """`root` of each of `ids`."""
        return np.array([self.root(i) for i in ids], dtype=int)

    def tie(self, first, second):
        """Ties two equally long id arrays pairwise."""
        if len(first) != len(second):
            raise ValueError(
                "Only equally many channels can be tied. "
                f"Received: {len(first)} and {len(second)} channels"
            )
        for a, b in zip(first, second, strict=True):
            a, b = self.root(a), self.root(b)
            if a != b:
                self._parent[b] = a
                if b in self._frozen:
                    self._frozen.setdefault(a, self._frozen.pop(b))

    def freeze(self, ids, reason):
        """Says that these channels must stay; the last reason counts."""
        for i in ids:
            self._frozen[self.root(i)] = reason

    def frozen(self, channel):
        """The reason why this channel must stay, or None."""
        return self._frozen.get(self.root(channel))

    def __len__(self):
        return len(self._parent)
