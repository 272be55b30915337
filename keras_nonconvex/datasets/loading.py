"""From a name to the images."""

import dataclasses
import pathlib

from keras_nonconvex.datasets import checking
from keras_nonconvex.datasets import folder
from keras_nonconvex.datasets import tfds
from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import spread


def load(name, shape=None, most=None):
    """Loads a data set.

    Args:
        name: A string, one of

            - `"digits"`: the 1,797 handwritten digits that ship inside
              scikit-learn, resized to 28 x 28.
            - The path of a `.npz` file with an array `x` of images and, if
              there are labels, an array `y`; or of a `.npy` file with images
              alone. Such a file has no splits: the training and the test
              images are the same, unless it holds `x_train`, `y_train`,
              `x_test` and `y_test`. Images in uint8 are brought to [0, 1];
              all other arrays are returned as they are.
            - The path of a folder with one folder of pictures for each class,
              or with two such folders, `train` and `test` (or `val`,
              `validation`). Where there are no such two, every fifth picture
              of a class is a test image. Pictures alone have no labels.
            - `"module:function"` or `"file.py:function"`: a function of yours
              that returns `Images`, or ((x_train, y_train), (x_test,
              y_test)), as those of `keras.datasets` do.
            - A name that you registered with `@knc.datasets.source`.
            - Otherwise an image classification data set of
              tensorflow-datasets with splits "train" and "test", such as
              `"fashion_mnist"`; with further training splits,
              `"svhn_cropped+extra"`. tensorflow-datasets prepares it once in
              the folder `TFDS_DATA_DIR`, an environment variable, which is
              `~/tensorflow_datasets` by default.

        shape: A tuple (height, width, channels): pictures of a folder are
            resized to it. Defaults to `None`: their own size, which must be
            the same for all, in colour.
        most: An integer >= 1: each split has at most so many images, from
            all over it; of a folder, no others are read. Defaults to `None`:
            all.

    Returns:
        The `Images`.

    Raises:
        ValueError: No source takes the name, or the file cannot be read.
        NotAvailable: The data set is not prepared on this machine, and its
            server cannot be reached.

    Example:
    >>> data = knc.datasets.load("digits")
    >>> data.x_train.shape, data.classes[:3]
    ((1438, 28, 28, 1), ('0', '1', '2'))
    """
    for source in reversed(REGISTRY.values()):
        if source.takes(name):
            data = checking.images(name, source.read(name))
            break
    else:
        if pathlib.Path(name).is_dir():
            return folder.read(name, shape, most)
        data = tfds.read(name)
    return data if most is None else _fewer(data, most)


def _fewer(data, most):
    """At most so many images of each split, the same ones every time."""
    arrays = {}
    for split in ("train", "test"):
        x, y = (getattr(data, f"{part}_{split}") for part in "xy")
        chosen = spread(len(x), most)
        x, y = x[chosen], None if y is None else y[chosen]
        arrays.update({f"x_{split}": x, f"y_{split}": y})
    return dataclasses.replace(data, **arrays)
