"""A split of samples that can be had in any order."""

import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex.datasets import pipeline
from keras_nonconvex.datasets.split import Split


class Rows(Split):
    """Rows of columns: arrays, memory-mapped arrays, or files.

    Args:
        part: The `Part` of a source that holds the samples.
        rows: An integer array: the rows of the part that are in this split.
        *described: What `Split` takes from `holds` on.
        name: As in `Split`.
    """

    def __init__(self, part, rows, *described, name):
        super().__init__(name, part.x.shape[1:], *described)
        self._part = part
        self._rows = np.asarray(rows)

    def __len__(self):
        return len(self._rows)

    @property
    def labels(self):
        return self._targets(self._rows)

    @property
    def keys(self):
        return [self._part.key(row) for row in self._rows]

    def arrays(self, most=None, seed=0):
        rows = self._rows[self._chosen(most, seed)]
        return self._suited(self._part.x[rows]), self._targets(rows)

    def _stream(self, finished, passes):
        def read(places, rng=None):
            rows = self._rows[places]
            weights = self._part.weights
            return finished(
                self._part.x[rows],
                self._targets(rows),
                None if weights is None else weights[rows],
                rng=rng,
            )

        return pipeline.of_rows(len(self), read, passes)

    def _has_maps(self):
        y = self._part.y
        return y is not None and len(y.shape) >= 3

    def _targets(self, rows):
        if self._part.y is None:
            return None
        y = self._part.y[rows]
        if y.dtype != np.uint8:
            return y
        # Maps are kept in bytes: class numbers, or values of pictures.
        values = self.kind == outputs.VALUES and self._has_maps()
        return y.astype("float32") / 255 if values else y.astype("int32")
