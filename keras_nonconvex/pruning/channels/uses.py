"""What rules declare: which axes of which weights are channels."""

import collections
import typing

import keras
import numpy as np


class Use(typing.NamedTuple):
    """One axis of one weight that is indexed by channels.

    Attributes:
        layer: The layer that has the weight.
        variable: The weight, a `keras.Variable`.
        axis: The axis of the weight, an int >= 0.
        ids: The channel ids along that axis, an int array.
        role: What the weight does to its channels, see `Walk.use`.
        groups: In how many groups its filters, the last axis, read the
            channels: the axis is as long as one group, `ids` are those of all
            groups, one group after the other. Defaults to `1`.
    """

    layer: object
    variable: object
    axis: int
    ids: np.ndarray
    role: str
    groups: int = 1

    @property
    def values(self):
        """The weight as a numpy array."""
        return keras.ops.convert_to_numpy(self.variable)

    def rows(self, array=None):
        """One row per channel: the used axis first, all others flattened.

        Args:
            array: An array of the weight's shape. Defaults to `values`.

        Returns:
            An array of shape `(len(ids), rest)`.
        """
        array = self.values if array is None else array
        return self.spread(array).reshape(len(self.ids), -1)

    def spread(self, array):
        """The channels first: (groups x axis, rest, filters of a group).

        Args:
            array: An array of the weight's shape.
        """
        array = np.moveaxis(array, self.axis, 0)
        if self.groups == 1:
            return array
        apart = array.reshape(*array.shape[:-1], self.groups, -1)
        apart = np.moveaxis(apart, -2, 0)
        return apart.reshape(-1, *apart.shape[2:])

    def joined(self, rows):
        """The array whose `spread` this is, of fewer channels perhaps.

        Args:
            rows: An array, as of `spread`.
        """
        if self.groups > 1:
            apart = rows.reshape(self.groups, -1, *rows.shape[1:])
            apart = np.moveaxis(apart, 0, -2)
            rows = apart.reshape(*apart.shape[:-2], -1)
        return np.moveaxis(rows, 0, self.axis)

    def cut(self, array, stays):
        """What stays of an array of the weight's shape, or smaller.

        Args:
            array: The array; its other axes may be cut already.
            stays: One bool per id, equally many in each group.
        """
        return self.joined(self.spread(array)[stays])

    def clear(self, array, dropped):
        """Sets to zero what an array of the weight's shape has of channels.

        Args:
            array: The array, which is changed.
            dropped: One bool per id.
        """
        parts = np.split(np.moveaxis(array, self.axis, 0), self.groups, -1)
        for part, gone in zip(
            parts, np.split(dropped, self.groups), strict=True
        ):
            part[gone] = 0

    def aligned(self, values):
        """One value per id, in a shape that broadcasts to the weight's."""
        ones = [1] * len(self.variable.shape)
        if self.groups > 1:
            filters = self.variable.shape[-1] // self.groups
            apart = np.reshape(values, (self.groups, -1)).T
            ones[self.axis], ones[-1] = apart.shape[0], self.variable.shape[-1]
            return np.repeat(apart, filters, axis=1).reshape(ones)
        ones[self.axis] = -1
        return np.reshape(values, ones)

    def mask(self, stays):
        """One bool per index of the axis; all groups keep equally many."""
        if self.groups == 1:
            return stays
        first = stays.reshape(self.groups, -1)[0]
        return np.sort(first)[::-1]


# A call whose input is narrowed: of the channels `given` on `axis` only
# `chosen` enter, pairwise.
Gather = collections.namedtuple("Gather", "axis given chosen")
