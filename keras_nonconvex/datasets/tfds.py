"""The data sets of tensorflow-datasets."""

import difflib
import os
import urllib.error
import urllib.request

from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import NotAvailable


def read(name):
    """An image classification data set, prepared first if it must be.

    Args:
        name: A string: the name of a data set of tensorflow-datasets with
            splits "train" and "test".

    Returns:
        The `Images`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow_datasets as tfds

    known = tfds.list_builders()
    if name not in known:
        raise _unknown(name, known)
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


def _unknown(name, known):
    near = difflib.get_close_matches(str(name), [*known, *REGISTRY], 3)
    hint = f" Near names: {', '.join(near)}." if near else ""
    return ValueError(
        f"Unknown data set: it must be {', '.join(REGISTRY)} or a name of "
        f"tensorflow-datasets.{hint} Received: dataset={name!r}"
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
