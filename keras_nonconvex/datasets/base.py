"""What a source of data is, and what it returns."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

REGISTRY = {}


@dataclasses.dataclass(frozen=True)
class Images:
    """Images and their labels, in a training and a test split.

    Args:
        name: A string: the name of the data set, with which `load` finds it
            again.
        x_train: A float32 array `(n, height, width, channels)` with values in
            `[0, 1]`: the training images.
        y_train: An int64 array `(n,)`: the class of each training image,
            counted from 0. `None` for images without labels.
        x_test: The test images, likewise.
        y_test: The classes of the test images, likewise.
        classes: A tuple of strings: the name of each class, in the order of
            the labels. Empty if the names are not known.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray | None
    x_test: np.ndarray
    y_test: np.ndarray | None
    classes: tuple

    @property
    def input_shape(self):
        """The shape of one image, `(height, width, channels)`."""
        return self.x_train.shape[1:]


class NotAvailable(RuntimeError):
    """The data set is neither prepared on this machine nor reachable."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where data comes from.

    Args:
        name: What error messages call it.
        takes: A function of what `load` is given. It returns whether this
            source can load it.
        read: A function of the same that returns `Images`.
        found: A function of the same and of `Wanted` that returns `Found`.
            None: it is made of what `read` returns.
    """

    name: str
    takes: Callable
    read: Callable
    found: Callable | None = None


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What `splits` asks a source for.

    Attributes:
        shape: (height, width, channels) of pictures, None where they may have
            their own; or None.
        fit: How pictures of another shape get it, one of `pictures.FITS`.
        antialias: Whether pictures are made smaller as `pictures.resized`
            does with it.
        map_shape: (height, width, channels) of the maps that the model makes;
            or None.
        cache: A `pathlib.Path`, the folder for decoded pictures; or None.
    """

    shape: tuple | None
    fit: str
    antialias: bool
    map_shape: tuple | None
    cache: pathlib.Path | None


class Part:
    """The samples that a source has for one split.

    Args:
        x: A column of inputs: an array, or what has `shape`, `dtype`, `len`
            and gives the array of some rows as an array does.
        y: A column of targets, or None.
        rows: An integer array: the rows that can be used. Defaults to `None`:
            all.
        keys: A list: what each row is called in the lists of the splits.
            Defaults to `None`: its number.
        holds: The `Range` of the inputs. Defaults to `None`: they tell it.
        weights: An array of the weights of the samples. Defaults to `None`:
            all weigh the same.
    """

    def __init__(
        self, x, y=None, rows=None, keys=None, holds=None, weights=None
    ):
        self.x = x
        self.y = y
        self.holds = holds
        self.weights = weights
        self.rows = np.arange(len(x)) if rows is None else rows
        self._keys = keys

    def key(self, row):
        """What a row is called."""
        return int(row) if self._keys is None else self._keys[row]


@dataclasses.dataclass(frozen=True)
class Found:
    """What a source has.

    Attributes:
        name: What the data is called.
        parts: A dict of `"train"` and perhaps `"validation"` and `"test"` to
            the `Part`, or to a `tf.data.Dataset`, of each split.
        classes: The names of the classes. Empty if they are not known.
        kind: What the targets are, as in `Data`; None if they tell it.
        broken: A dict of pictures that cannot be read to the reasons.
    """

    name: str
    parts: dict
    classes: tuple = ()
    kind: str | None = None
    broken: dict = dataclasses.field(default_factory=dict)


def found_images(images):
    """What a source of `Images` has: no validation split.

    Args:
        images: The `Images`. Where the test images are the training images,
            there is no test split either.
    """
    parts = {"train": Part(images.x_train, images.y_train)}
    if images.x_test is not images.x_train:
        parts["test"] = Part(images.x_test, images.y_test)
    return Found(images.name, parts, tuple(images.classes))


def source(name, takes=None, found=None):
    """Decorator: makes a function a source of data that `load` knows.

    A source that was registered later is asked earlier, so a source of your
    own may take a name from one that ships.

    Args:
        name: A string. Without `takes` it is the name that `load` takes, and
            the function is called without arguments. With `takes` it only
            describes, in error messages, what the source takes, such as
            `"a .csv file"`.
        takes: A function of what `load` is given, a name or a path, which
            returns whether this source loads it; the decorated function is
            then called with it. Defaults to `None`: the source takes `name`
            alone.
        found: A function of the same, and of what `splits` wants
            (`datasets.base.Wanted`), that returns a `datasets.base.Found`
            with splits of its own. Defaults to `None`: `splits` makes them of
            the `Images`.

    Returns:
        The decorator. It returns the function unchanged.

    Example:
    ```python
    @knc.datasets.source("leaves")
    def leaves():
        return knc.datasets.Images("leaves", x_train, y_train, ...)


    data = knc.datasets.load("leaves")
    ```
    """

    def register(function):
        # A cell of a notebook that runs again registers anew.
        REGISTRY.pop(name, None)
        if takes is None:
            REGISTRY[name] = Source(
                name, lambda given: given == name, lambda given: function()
            )
        else:
            REGISTRY[name] = Source(name, takes, function, found)
        return function

    return register


def spread(size, most, seed=0):
    """Sorted indices from all over some data, one from each equal part of it.

    Args:
        size: An integer: how many samples there are.
        most: An integer >= 1: how many to choose, or all where there are
            fewer. None stands for all.
        seed: The seed of the choice. Defaults to `0`.
    """
    if most is None or size <= most:
        return np.arange(size)
    ends = np.arange(most + 1) * size // most
    return np.random.default_rng(seed).integers(ends[:-1], ends[1:])
