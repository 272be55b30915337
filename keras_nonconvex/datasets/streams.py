"""Splits of samples that come one after the other.

A `tf.data.Dataset` may give another order, and other changes, in each pass.
Training may. What is measured is read once: labels, outputs and images of
several passes belong together.
"""

import pathlib
import shutil
import tempfile

import numpy as np

from keras_nonconvex.datasets import pipeline
from keras_nonconvex.datasets.base import Part
from keras_nonconvex.datasets.rows import Rows
from keras_nonconvex.datasets.split import Split

# Samples of a stream that are read together.
_BLOCK = 64


class Stream(Split):
    """A `tf.data.Dataset` of single samples, which only its owner can read.

    Its order and its own changes stay as they are, so one pass tells nothing
    of the order of another: `labels` are those of a pass of their own, and
    where it shuffles, a part of the samples has of each class its share by
    chance alone.

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


class Kept(Rows):
    """What `once` has read of a `tf.data.Dataset`."""

    @property
    def keys(self):
        # Another process may read it in another order.
        return []

    def _targets(self, rows):
        # As the stream gives them, also in bytes.
        return self._part.y[rows]


def once(name, data, folder=None):
    """Reads a `tf.data.Dataset` in one pass, and keeps it in that order.

    Inputs and maps are kept in files without a name, which are gone with the
    process, whatever ends it; they may take half of the free disk.

    Args:
        name: A string: what error messages call it.
        data: The dataset of single samples (x, y) or (x, y, weights).
        folder: A `pathlib.Path`, the folder of the files. Defaults to `None`:
            that of temporary files.

    Returns:
        The `Part`.
    """
    folder = pathlib.Path(folder or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    most = shutil.disk_usage(folder).free / 2
    columns = []
    for block in data.batch(_BLOCK).as_numpy_iterator():
        columns = columns or [_Column(part, folder) for part in block]
        for column, part in zip(columns, block, strict=True):
            column.add(part)
        if sum(column.size for column in columns) > most:
            raise ValueError(
                "The validation and test data of a tf.data.Dataset are kept "
                "on disk and must fit into half of what is free in "
                f"{str(folder)!r}, {most / 2**30:.3g} GiB. Received: more in "
                f"{name}, which perhaps never ends"
            )
    if not columns:
        raise ValueError(
            f"The data must have samples. Received: none in {name}"
        )
    x, *others = columns
    # Labels, rows and weights are small.
    y, *weights = (c if len(c.shape) > 2 else c[:] for c in others)
    return Part(x, y, weights=weights[0] if weights else None)


class _Column:
    """A column in a file without a name; what is read of it is an array.

    Like `cache.Stored` it is mapped into memory for each access alone.

    Args:
        like: An array: what the shape and the dtype are those of.
        folder: The folder of the file.
    """

    def __init__(self, like, folder):
        self.dtype = like.dtype
        self.shape = (0, *like.shape[1:])
        self._file = tempfile.TemporaryFile(dir=folder)

    @property
    def size(self):
        """The bytes of the file."""
        return self._file.tell()

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        mapped = np.memmap(self._file, self.dtype, "r", shape=self.shape)
        return np.array(mapped[rows])

    def add(self, block):
        """Adds an array of further rows."""
        self._file.write(block.tobytes())
        self._file.flush()
        self.shape = (len(self) + len(block), *self.shape[1:])
