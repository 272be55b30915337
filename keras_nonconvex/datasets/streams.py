"""A split of samples that come one after the other."""

import numpy as np

from keras_nonconvex.datasets import pipeline
from keras_nonconvex.datasets.split import Split


class Stream(Split):
    """A `tf.data.Dataset` of single samples, which only its owner can read.

    Its order and its own changes stay as they are.

    Args:
        data: The dataset of (x, y) or (x, y, weights).
        *described: What `Split` takes from `shape` on.
        name: As in `Split`.
    """

    def __init__(self, data, *described, name):
        super().__init__(name, *described)
        self._data = data
        self._labels = None

    def __len__(self):
        known = int(self._data.cardinality())
        return known if known >= 0 else len(self.labels)

    @property
    def labels(self):
        if self._labels is None:
            labels = [element[1] for element in self._elements()]
            self._labels = np.stack(labels)
        return self._labels

    @property
    def keys(self):
        # Nothing is ever split off a stream.
        return []

    def arrays(self, most=None, seed=0):
        chosen = self._chosen(most, seed).tolist()
        wanted = set(chosen)
        kept = {
            number: element[:2]
            for number, element in enumerate(self._elements())
            if number in wanted
        }
        x, y = (
            np.stack([kept[number][i] for number in chosen]) for i in range(2)
        )
        return self._suited(x), y

    def _stream(self, finished, passes):
        return pipeline.of_stream(self._data, finished, passes)

    def _has_maps(self):
        return len(self._data.element_spec[1].shape) >= 2

    def _elements(self):
        return self._data.as_numpy_iterator()
