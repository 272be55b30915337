"""The data sets of tensorflow-datasets."""

import difflib
import os
import urllib.error
import urllib.request

import numpy as np

from keras_nonconvex import ranges
from keras_nonconvex.datasets import cache
from keras_nonconvex.datasets import pictures
from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import Found
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import NotAvailable
from keras_nonconvex.datasets.base import Part

# What the validation split may be called.
_VALIDATION = ("validation", "valid", "val", "dev")
# Pictures that are read together.
_BLOCK = 256


def read(name):
    """An image classification data set, prepared first if it must be.

    Args:
        name: A string: the name of a data set of tensorflow-datasets with
            splits "train" and "test", and perhaps of further training splits,
            as in `"svhn_cropped+extra"`.

    Returns:
        The `Images`.
    """
    builder, train = _prepared(name)
    import tensorflow_datasets as tfds

    splits = builder.as_dataset(
        split=[train, "test"], batch_size=-1, as_supervised=True
    )
    (x_train, y_train), (x_test, y_test) = tfds.as_numpy(splits)
    return Images(
        name,
        *_scaled(x_train, y_train),
        *_scaled(x_test, y_test),
        tuple(builder.info.features["label"].names),
    )


def found(name, wanted):
    """The splits of a data set, its pictures resized and kept.

    Args:
        name: What `read` takes. A split "validation" is used, and a split
            "test" if it has labels.
        wanted: The `Wanted`. Without a cache folder the pictures are kept in
            memory.

    Returns:
        The `Found`.
    """
    builder, train = _prepared(name)
    splits = {"train": train}
    for split, names in (("validation", _VALIDATION), ("test", ("test",))):
        known = [name for name in names if name in builder.info.splits]
        if known:
            splits[split] = known[0]
    parts = {}
    for split, which in splits.items():
        labels = _labels(builder, which)
        # Contests keep the labels of their test pictures, which then are -1.
        if split == "train" or labels.min() >= 0:
            parts[split] = _part(builder, split, which, labels, wanted)
    classes = getattr(builder.info.features["label"], "names", ())
    return Found(name, parts, tuple(classes))


def _prepared(name):
    """(builder, its training splits as tensorflow-datasets writes them)"""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow_datasets as tfds

    known = tfds.list_builders()
    base, *further = str(name).split("+")
    if base not in known:
        raise _unknown(name, known)
    builder = tfds.builder(base)
    if builder.info.supervised_keys != ("image", "label"):
        raise ValueError(
            "The data set must be for image classification. "
            f"Received: dataset={name!r}"
        )
    if not builder.is_prepared():
        _check_reachable(builder)
        builder.download_and_prepare()
    lost = [split for split in further if split not in builder.info.splits]
    if lost:
        raise ValueError(
            f"The data set must have the split {lost[0]!r}; it has "
            f"{', '.join(builder.info.splits)}. Received: dataset={name!r}"
        )
    return builder, "+".join(["train", *further])


def _labels(builder, which):
    """The labels of a split, read without its pictures."""
    import tensorflow_datasets as tfds

    data = builder.as_dataset(
        split=which,
        as_supervised=True,
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    blocks = data.batch(4096).as_numpy_iterator()
    return np.concatenate([labels for _, labels in blocks]).astype("int64")


def _part(builder, split, which, labels, wanted):
    own = tuple(builder.info.features["image"].shape)
    shape = tuple(wanted.shape or own)
    if None in shape:
        raise ValueError(
            "The pictures of this data set have several sizes: give the size "
            f"of a model's input. Received: dataset={builder.name!r}"
        )

    def fill(column):
        data = builder.as_dataset(split=which, as_supervised=True)
        row = 0
        # Pictures of several sizes make no batch.
        for block, _ in data.batch(
            1 if None in own else _BLOCK
        ).as_numpy_iterator():
            if block.shape[1:] != shape:
                block = [
                    pictures.from_array(
                        image, shape, wanted.fit, wanted.antialias
                    )
                    for image in block
                ]
            column[row : row + len(block)] = block
            row += len(block)
        return {}

    size = (len(labels), *shape)
    if wanted.cache is None:
        column = np.empty(size, np.uint8)
        fill(column)
    else:
        how = wanted.fit, wanted.antialias
        made = cache.digest(builder.info.full_name, which, size, *how)
        path = wanted.cache / f"{split}-{made}.npy"
        if not path.exists():
            cache.write(path, size, fill)
        column, _ = cache.read(path)
    return Part(column, labels, holds=ranges.PIXELS)


def _unknown(name, known):
    near = difflib.get_close_matches(str(name), [*known, *REGISTRY], 3)
    hint = f" Near names: {', '.join(near)}." if near else ""
    return ValueError(
        f"Unknown data set: it must be a folder, {', '.join(REGISTRY)} or a "
        f"name of tensorflow-datasets.{hint} Received: dataset={name!r}"
    )


def _scaled(images, labels):
    return images.astype("float32") / 255, labels.astype("int64")


def _check_reachable(builder):
    # tensorflow-datasets itself retries for minutes before it gives up.
    urls = list(builder.url_infos)
    if not urls:
        return
    try:
        request = urllib.request.Request(urls[0], method="HEAD")
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError:
        # The server is there: it answered.
        return
    except OSError as error:
        raise NotAvailable(
            f"Data set '{builder.name}' is not prepared in "
            f"{builder.data_dir} and cannot be downloaded ({error})."
        ) from error
