"""Real images of any size, from what an installed package ships."""

import json
import pathlib

import keras
import numpy as np

from keras_nonconvex import datasets
from tflite_export import metadata
from tflite_export import runtime


def digits(height, width, count):
    """Test images of scikit-learn's handwritten digits, in [0, 1]."""
    found = datasets.load("digits").x_test[:count]
    return keras.ops.convert_to_numpy(
        keras.ops.image.resize(found, (height, width))
    )


def photographs(height, width, count):
    """Cuttings (n, height, width, 3) of scikit-learn's two photographs.

    Returns:
        The images in [0, 1], and from which of the two each one is.
    """
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images).astype("float32") / 255
    _, rows, columns, _ = photos.shape
    if height > rows or width > columns:
        raise ValueError(
            f"The photographs have {rows} x {columns} pixels. "
            f"Received: height={height}, width={width}"
        )
    rng = np.random.default_rng(0)
    labels = np.arange(count) % len(photos)
    tops = rng.integers(rows - height + 1, size=count)
    lefts = rng.integers(columns - width + 1, size=count)
    cuttings = [
        photos[label, top : top + height, left : left + width]
        for label, top, left in zip(labels, tops, lefts, strict=True)
    ]
    return np.stack(cuttings), labels


def for_file(path, count):
    """Images as a LiteRT file wants them.

    They are the test images of the run that the file lies in, where its data
    set is at hand; else digits or photographs, by the number of channels.
    """
    path = pathlib.Path(path)
    (source,) = runtime.interpreter(path).get_input_details()
    batch, *shape = source["shape"].tolist()
    if batch != 1 or len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            "There are images for files that take one image of one or three "
            f"channels. Received: path={str(path)!r}, which takes "
            f"{(batch, *shape)}"
        )
    found = _of_run(path.parent / "recipe.json", count)
    if found is None or list(found.shape[1:]) != shape:
        height, width, channels = shape
        if channels == 1:
            found = digits(height, width, count)
        else:
            found, _ = photographs(height, width, count)
    known = metadata.read(path) or metadata.Metadata(mean=0, std=255)
    inputs = (255 * found - known.mean) / known.std
    return runtime.quantized(inputs, source)


def _of_run(recipe, count):
    if not recipe.is_file():
        return None
    try:
        name = json.loads(recipe.read_text(encoding="utf-8"))["dataset"]
        return datasets.load(name).x_test[:count]
    except (KeyError, ValueError, datasets.NotAvailable):
        return None
