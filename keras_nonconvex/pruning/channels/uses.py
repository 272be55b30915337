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
    """

    layer: object
    variable: object
    axis: int
    ids: np.ndarray
    role: str

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
        return np.moveaxis(array, self.axis, 0).reshape(len(self.ids), -1)


# A call whose input is narrowed: of the channels `given` on `axis` only
# `chosen` enter, pairwise.
Gather = collections.namedtuple("Gather", "axis given chosen")
