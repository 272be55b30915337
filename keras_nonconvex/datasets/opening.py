"""From a name to a data set in three splits."""

import dataclasses
import os
import pathlib

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import outputs
from keras_nonconvex import ranges
from keras_nonconvex.datasets import checking
from keras_nonconvex.datasets import dividing
from keras_nonconvex.datasets import folder
from keras_nonconvex.datasets import functions
from keras_nonconvex.datasets import pictures
from keras_nonconvex.datasets import streams
from keras_nonconvex.datasets import targets
from keras_nonconvex.datasets import tfds
from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import Part
from keras_nonconvex.datasets.base import Wanted
from keras_nonconvex.datasets.base import found_images
from keras_nonconvex.datasets.rows import Rows
from keras_nonconvex.datasets.split import Data


def splits(
    name,
    model=None,
    shape=None,
    fit="stretch",
    seed=0,
    cache=None,
    lists=None,
    antialias=True,
):
    """Opens a data set for training: its three splits, for a model.

    Splits that the data set does not have are divided off its training
    samples at random, in each class alike: a fifth for the test, a tenth for
    the validation. `docs/data.md` has all forms of data.

    Args:
        name: A string or path, as `load` takes it; the path of a folder may
            have splits `train`, `validation`, `test`, and instead of class
            folders pictures and a CSV file, or the folders `images` and
            `masks`. Or data that is there already: `Images`, (train, test),
            (train, validation, test) or a dict with these keys, of (x, y) or
            `tf.data.Dataset`.
        model: A built model with one input. Pictures get its size, and images
            the range of values that it takes. Defaults to `None`: images in
            [0, 1].
        shape: A tuple (height, width, channels): the shape of an image, where
            the model leaves it open or there is none. Defaults to `None`: the
            model's, or in colour and of their own size, which must be the
            same for all.
        fit: How a picture with other proportions gets the shape:
            `"stretch"`; `"crop"`, which cuts off both sides; or `"pad"`,
            which adds black on both sides. Defaults to `"stretch"`.
        seed: An integer >= 0: the seed of the division. Defaults to `0`.
        cache: A string or path: a folder in which decoded pictures are kept,
            as far as half of the free disk. Defaults to `None`: pictures
            of a folder are kept in memory up to 256 MiB, and decoded anew in
            each pass beyond.
        lists: A string or path: a file of `Data.save_lists`, with which the
            splits are as they were. Defaults to `None`: they are made by
            `seed`.
        antialias: A boolean: whether a pixel of a picture that is made
            smaller is a mean of all that it stands for, as of
            `keras.utils.load_img`. `False` mixes the four nearest ones, as
            `keras.utils.image_dataset_from_directory` does. Defaults to
            `True`.

    Returns:
        The `Data`.

    Raises:
        ValueError: There is no such data, or it cannot be trained on.
        NotAvailable: The data set is not prepared on this machine, and its
            server cannot be reached.

    Example:
    >>> data = knc.datasets.splits("digits")
    >>> len(data.train), len(data.validation), len(data.test)
    (1294, 144, 359)
    >>> model.fit(
    ...     data.train.dataset(32, shuffle=True, augment={"crop": 2}),
    ...     validation_data=data.validation.dataset(256),
    ... )
    """
    checks.choice("fit", fit, pictures.FITS)
    checks.whole("seed", seed, 0)
    takes = _takes(model)
    wanted = Wanted(
        _shape(model, shape),
        fit,
        antialias,
        _map_shape(model),
        None if cache is None else pathlib.Path(cache),
    )
    found = _read_once(_found(name, wanted), wanted)
    if isinstance(found.parts["train"], Part):
        return _of_parts(found, wanted, takes, _output(model), seed, lists)
    return _of_streams(found, wanted, takes, _output(model))


def _found(name, wanted):
    if not isinstance(name, (str, os.PathLike)):
        return functions.given(name, "given", "Data must be", wanted)
    for source in reversed(REGISTRY.values()):
        if source.takes(name):
            if source.found is not None:
                return source.found(name, wanted)
            return found_images(checking.images(name, source.read(name)))
    shape = wanted.shape
    if shape and (len(shape) != 3 or shape[2] not in (1, 3, 4)):
        raise ValueError(
            "Pictures are for models that take (height, width, channels) with "
            f"1, 3 or 4 channels. Received: {shape} for dataset={str(name)!r}"
        )
    if pathlib.Path(name).is_dir():
        return folder.found(name, wanted)
    if os.sep in str(name):
        raise ValueError(f"No such folder. Received: dataset={str(name)!r}")
    return tfds.found(name, wanted)


def _of_parts(found, wanted, takes, output, seed, lists):
    """The `Data` of columns."""
    train = found.parts["train"]
    for split, part in found.parts.items():
        checking.part(f"{found.name}, {split}", part, wanted.shape)
    kind = _kind(found, train.y, output)
    classes = checking.classes(found, kind)
    holds = None
    if len(train.x.shape) == 4:
        takes = takes or ranges.UNIT
        holds = checking.common_range(found, takes)
    rows = _rows(found, kind, seed, lists)
    made = {
        split: Rows(
            found.parts.get(split, train),
            rows[split],
            holds,
            takes,
            classes,
            kind,
            name=split,
        )
        for split in dividing.SPLITS
    }
    return Data(found.name, classes, kind, **made, broken=found.broken)


def _rows(found, kind, seed, lists):
    """{split: rows of its part, or of the training part without one}"""
    parts = found.parts
    if lists is not None:
        return dividing.listed(parts, dividing.load(lists))
    rows = {split: part.rows for split, part in parts.items()}
    missing = [split for split in dividing.SHARES if split not in parts]
    train = parts["train"]
    strata = np.zeros(len(train.rows), int)
    if kind == outputs.CLASSES and len(train.y.shape) <= 2:
        strata = targets.class_numbers(train.y[train.rows])
    for split, places in dividing.divided(strata, missing, seed).items():
        rows[split] = train.rows[places]
    empty = [split for split in dividing.SPLITS if not len(rows[split])]
    if empty:
        raise ValueError(
            "The data must have enough samples for training, validation and "
            f"test. Received: dataset={found.name!r} with {len(strata)} for "
            f"training, which leave none for {' and '.join(empty)}"
        )
    return rows


def _read_once(found, wanted):
    """The `Found` with a `Part` for each dataset but that of the training."""
    given = {s: p for s, p in found.parts.items() if not isinstance(p, Part)}
    missing = set(dividing.SPLITS) - set(found.parts)
    if missing and "train" in given:
        raise ValueError(
            "A tf.data.Dataset may shuffle, so nothing is split off it: give "
            "train, validation and test. Received: "
            f"dataset={found.name!r} without {' and '.join(sorted(missing))}"
        )
    parts, kept = dict(found.parts), []
    for split, data in given.items():
        name = f"{found.name}, {split}"
        parts[split] = checking.single_samples(name, data, wanted)
        if split != "train":
            kept.append((split, name))
    # First all are looked at, then some are read, which takes its time.
    for split, name in kept:
        parts[split] = streams.once(name, parts[split], wanted.cache)
    return dataclasses.replace(found, parts=parts)


def _of_streams(found, wanted, takes, output):
    """The `Data` of a `tf.data.Dataset` for the training."""
    parts = dict(found.parts)
    train = parts.pop("train")
    for split, part in parts.items():
        checking.part(f"{found.name}, {split}", part, wanted.shape)
    few = list(train.take(64).as_numpy_iterator())
    if not few:
        raise ValueError(
            f"The data must have samples. Received: none in {found.name}, train"
        )
    x, y = (np.stack([each[i] for each in few]) for i in range(2))
    kind = _kind(found, y, output)
    holds = None
    if x.ndim == 4:
        takes = takes or ranges.UNIT
        holds = ranges.held("data['train']", x, takes)
    described = [holds, takes, found.classes, kind]
    made = {
        "train": streams.Stream(train, x.shape[1:], *described, name="train")
    }
    for split, part in parts.items():
        rows = part.rows
        made[split] = streams.Kept(part, rows, *described, name=split)
    classes = found.classes
    if kind == outputs.CLASSES and not classes and y.ndim <= 2:
        numbers = targets.class_numbers(made["train"].labels)
        classes = tuple(map(str, range(numbers.max() + 1)))
        for split in made.values():
            split.classes = classes
    return Data(found.name, classes, kind, **made, broken={})


def _kind(found, y, output):
    """What the targets are: the source tells, else the model, or they do."""
    named = y is not None and found.classes and len(y.shape) == 1
    return found.kind or targets.kind_of(y, None if named else output)


def _output(model):
    """The `Output` of a model with one, or None."""
    if not getattr(model, "outputs", None) or len(model.outputs) > 1:
        return None
    return outputs.of(model)[0]


def _takes(model):
    return ranges.of(model)[0] if getattr(model, "inputs", None) else None


def _shape(model, shape):
    """The shape that samples must have, None where it is open, or None."""
    shape = None if shape is None else tuple(shape)
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return shape
    if len(inputs) > 1:
        raise ValueError(
            "Argument `model` must have one input. "
            f"Received: {len(inputs)} inputs"
        )
    own = tuple(inputs[0].shape[1:])
    if shape is None:
        return own
    if len(own) != len(shape) or any(
        a not in (None, b) for a, b in zip(own, shape, strict=True)
    ):
        raise ValueError(
            f"Argument `shape` must be what the model takes, {own}. "
            f"Received: shape={shape}"
        )
    return shape


def _map_shape(model):
    """(height, width, channels) of the maps that a model makes, or None."""
    made = getattr(model, "outputs", None)
    if not made or len(made[0].shape) != 4 or None in made[0].shape[1:3]:
        return None
    return tuple(made[0].shape[1:])
