"""Real image data through tensorflow-datasets."""

import dataclasses
import difflib
import os
import urllib.error
import urllib.request

import numpy as np


@dataclasses.dataclass(frozen=True)
class Images:
    """Images in [0, 1], float32 (n, height, width, channels), and labels.

    Attributes:
        name: The data set's name.
        x_train, y_train, x_test, y_test: Arrays; labels are int64 (n,).
        classes: The class names, by label.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple

    @property
    def input_shape(self):
        return self.x_train.shape[1:]


class NotAvailable(RuntimeError):
    """The data set is neither prepared on this machine nor reachable."""


def load(name):
    """A data set with splits "train" and "test".

    Args:
        name: "digits" for the 1,797 handwritten digits that ship inside
            scikit-learn, resized to 28 x 28; else the name of an image
            classification set of tensorflow-datasets, which prepares it once
            in `TFDS_DATA_DIR` (its own default is ~/tensorflow_datasets).

    Raises:
        ValueError: Unknown name.
        NotAvailable: Not prepared here, and its server cannot be reached.
    """
    if name == "digits":
        return _digits()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow_datasets as tfds

    known = tfds.list_builders()
    if name not in known:
        near = difflib.get_close_matches(str(name), [*known, "digits"], 3)
        hint = f" Near names: {', '.join(near)}." if near else ""
        raise ValueError(f"Unknown data set.{hint} Received: dataset={name!r}")
    builder = tfds.builder(name)
    if not builder.is_prepared():
        _check_reachable(builder)
        builder.download_and_prepare()
    splits = builder.as_dataset(
        split=["train", "test"], batch_size=-1, as_supervised=True
    )
    (x_train, y_train), (x_test, y_test) = tfds.as_numpy(splits)
    return Images(
        name,
        *_scaled(x_train, y_train),
        *_scaled(x_test, y_test),
        tuple(builder.info.features["label"].names),
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
        return  # The server answered: it is there.
    except OSError as error:
        raise NotAvailable(
            f"Data set '{builder.name}' is not prepared in "
            f"{builder.data_dir} and cannot be downloaded ({error})."
        ) from error


def _digits():
    import keras
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = (bunch.images[..., None] / 16).astype("float32")
    images = keras.ops.convert_to_numpy(
        keras.ops.image.resize(
            small, (28, 28), interpolation="bilinear", antialias=False
        )
    )
    labels = bunch.target.astype("int64")
    test = np.arange(len(labels)) % 5 == 4
    return Images(
        "digits",
        images[~test],
        labels[~test],
        images[test],
        labels[test],
        tuple(str(c) for c in bunch.target_names),
    )
