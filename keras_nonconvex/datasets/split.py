"""A data set in three splits, wherever its samples are."""

import dataclasses

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import outputs
from keras_nonconvex import ranges
from keras_nonconvex.datasets import augmentation
from keras_nonconvex.datasets import dividing
from keras_nonconvex.datasets import pipeline
from keras_nonconvex.datasets import targets


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set for training, made by `datasets.splits`.

    Attributes:
        name: A string: the name or path that it was opened by.
        classes: A tuple of strings: the names of the classes, in the order of
            their numbers, or of the columns of a table of targets.
        kind: What the targets are: `"classes"` (class numbers, one-hot rows,
            or maps of class numbers), `"yes or no"` (zeros and ones in each
            column), `"values"`, or None without targets.
        train: The `Split` to train on.
        validation: The `Split` that choices are made on.
        test: The `Split` that is only measured.
        broken: A dict of the path of each picture that cannot be read, and is
            left out, to the reason.
    """

    name: str
    classes: tuple
    kind: str | None
    train: object
    validation: object
    test: object
    broken: dict

    def save_lists(self, path):
        """Writes which samples each split holds, for `splits(lists=path)`.

        Args:
            path: A string or path: the JSON file to write.
        """
        lists = {split: getattr(self, split).keys for split in dividing.SPLITS}
        dividing.save(path, lists)


class Split:
    """The samples of one split, made by `datasets.splits`.

    They are arrays in memory, files on disk, or a `tf.data.Dataset`; nothing
    else has to know which. `len(split)` is their number.

    Args:
        name: A string: what error messages call it, such as `"train"`.
        shape: A tuple: the shape of one sample.
        holds: The `Range` of the values that are kept, or None if they are no
            images.
        takes: The `Range` of the values that are given.
        classes: A tuple of strings: the names of the classes.
        kind: What the targets are, as in `Data`.
    """

    def __init__(self, name, shape, holds, takes, classes, kind):
        self.name = name
        self.shape = tuple(shape)
        self.classes = classes
        self.kind = kind
        self._holds = holds
        self._takes = takes

    def __len__(self):
        raise NotImplementedError

    @property
    def labels(self):
        """The targets of all samples, in order: an array, or None."""
        raise NotImplementedError

    @property
    def keys(self):
        """What the samples are called: their paths or row numbers."""
        raise NotImplementedError

    def arrays(self, most=None, seed=0):
        """Samples as NumPy arrays, in the range that the model takes.

        Args:
            most: An integer >= 1: at most so many samples, in random order.
                Each class, or each range of values, has its share of them.
                Defaults to `None`: all of them, in order.
            seed: The seed of the choice. Defaults to `0`.

        Returns:
            (x, y), with y None without targets.
        """
        raise NotImplementedError

    def dataset(
        self,
        batch_size,
        shuffle=False,
        seed=0,
        augment=None,
        repeat=False,
        class_weights=None,
        epoch=0,
    ):
        """A `tf.data.Dataset` of batches, read while the model computes.

        Order and changes depend on `seed` and the number of the pass alone,
        not on timing: a training that goes on with `epoch=k` sees what it
        would have seen in its epoch `k`.

        Args:
            batch_size: An integer >= 1. The last batch of a pass has what is
                left.
            shuffle: A boolean: whether all samples are in random order, in
                each pass in another one. Defaults to `False`.
            seed: An integer >= 0. Defaults to `0`.
            augment: A dict of random changes, with the keys `"flip"`,
                `"crop"`, `"color"` and `"rand_augment"`; see `docs/data.md`.
                Defaults to `None`: no changes.
            repeat: A boolean: whether the dataset never ends, for
                `fit(steps_per_epoch=...)`. Defaults to `False`: one pass.
            class_weights: `"balanced"`, with which all classes weigh the same
                together, or a dict of names or numbers of classes to numbers
                >= 0; others have 1. Defaults to `None`: no weights.
            epoch: An integer >= 0: the number of the first pass. Defaults to
                `0`.

        Returns:
            The dataset of (x, y), or (x, y, weights) with `class_weights`, or
            x without targets.
        """
        checks.whole("batch_size", batch_size, 1)
        checks.whole("seed", seed, 0)
        checks.whole("epoch", epoch, 0)
        settings = self.check_augment(augment)
        of_class = self.check_class_weights(class_weights)

        def finished(x, y=None, weights=None, rng=None):
            if settings and rng is not None:
                x = ranges.moved(x, self._holds, ranges.PIXELS)
                x, y = augmentation.changed(x, y, settings, rng)
                x = ranges.moved(x, ranges.PIXELS, self._takes)
            else:
                x = self._suited(x)
            if of_class is not None:
                each = of_class[targets.class_numbers(y)]
                weights = each if weights is None else weights * each
            return [part for part in (x, y, weights) if part is not None]

        passes = pipeline.Passes(batch_size, shuffle, seed, repeat, epoch)
        return self._stream(finished, passes)

    def check_augment(self, augment):
        """Returns legal settings of random changes, or says what is legal.

        Args:
            augment: As in `dataset`.
        """
        if not augment:
            return {}
        if self._holds is None:
            raise ValueError(
                "Argument `augment` must be None where the samples are no "
                f"images. Received: augment={augment!r} for samples of shape "
                f"{self.shape}"
            )
        return augmentation.checked(augment, self._has_maps())

    def check_class_weights(self, given):
        """Returns the weight of each class, or says what is legal.

        Args:
            given: The `class_weights` of `dataset`.

        Returns:
            A float32 array (classes,), or None without weights.
        """
        if given is None:
            return None
        if self.kind != outputs.CLASSES or self._has_maps():
            raise ValueError(
                "Argument `class_weights` must be None unless each sample has "
                f"one class. Received: class_weights={given!r} for "
                f"{'maps of ' if self._has_maps() else ''}{self.kind}"
            )
        count = len(self.classes)
        if given == "balanced":
            numbers = targets.class_numbers(self.labels)
            sizes = np.bincount(numbers, minlength=count)
            # As in scikit-learn; a class without samples has no weight.
            present = np.count_nonzero(sizes)
            return (len(self) / (present * np.maximum(sizes, 1))).astype(
                "float32"
            )
        if not isinstance(given, dict):
            raise ValueError(
                "Argument `class_weights` must be 'balanced' or a dict of "
                f"classes to numbers. Received: class_weights={given!r}"
            )
        weights = np.ones(count, "float32")
        for key, weight in given.items():
            known = dict(zip(self.classes, range(count), strict=True))
            number = known.get(str(key), key)
            if number not in range(count):
                raise ValueError(
                    "Argument `class_weights` must have classes of the data, "
                    f"which are {', '.join(self.classes[:10])}. "
                    f"Received: class_weights={given!r}"
                )
            weights[number] = checks.number("class_weights", weight)
        return weights

    def _stream(self, finished, passes):
        """The dataset of what a function makes of samples, batch by batch."""
        raise NotImplementedError

    def _chosen(self, most, seed):
        """The places of what `arrays` takes."""
        if most is None or len(self) <= most:
            return np.arange(len(self))
        strata = None
        if self.kind is not None and not self._has_maps():
            strata = self.labels
        return dividing.sample(len(self), strata, most, seed)

    def _has_maps(self):
        raise NotImplementedError

    def _suited(self, x):
        if self._holds is None:
            return x
        if self._holds == self._takes:
            return x.astype("float32", copy=False)
        return ranges.moved(x, self._holds, self._takes)
