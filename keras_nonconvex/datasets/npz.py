"""Images in NumPy's own files, without splits and names of classes."""

import pathlib
import zipfile

import numpy as np

from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import source


def _is_array_file(name):
    return pathlib.Path(name).suffix in (".npy", ".npz")


@source("a .npy or .npz file", takes=_is_array_file)
def arrays(path):
    """The images of a file, with its labels if it has them, for both splits.

    Args:
        path: A string or path: a `.npy` file of images, or a `.npz` file with
            images `x` and perhaps labels `y`. Images in uint8 are brought
            to [0, 1].

    Returns:
        The `Images`.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such file. Received: dataset={str(path)!r}")
    try:
        stored = np.load(path)
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"NumPy cannot read this file ({error}). "
            f"Received: dataset={str(path)!r}"
        ) from error
    if path.suffix == ".npy":
        x, y = stored, None
    elif "x" in stored:
        x, y = stored["x"], stored["y"] if "y" in stored else None
    else:
        raise ValueError(
            "A .npz file must hold an array x. "
            f"Received: dataset={str(path)!r} with {', '.join(stored)}"
        )
    if x.dtype == np.uint8 and x.ndim > 2:
        x = x.astype("float32") / 255
    return Images(str(path), x, y, x, y, ())
