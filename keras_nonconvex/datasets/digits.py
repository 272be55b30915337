"""Handwritten digits that need no network: they ship inside scikit-learn."""

import keras
import numpy as np

from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import source


@source("digits")
def digits():
    """1,797 images of 8 x 8 pixels, resized to 28 x 28.

    Every fifth image is a test image.
    """
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
