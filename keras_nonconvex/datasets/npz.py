"""Arrays in NumPy's own files."""

import pathlib
import zipfile

import numpy as np

from keras_nonconvex.datasets.base import Found
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import Part
from keras_nonconvex.datasets.base import source

# What the splits may be called in a file with several.
_NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}


def found(path, wanted):
    """The splits of a file.

    Args:
        path: A string or path: what `arrays` takes.
        wanted: The `Wanted`; arrays stay as they are.
    """
    stored = _stored(path)
    splits = {}
    for split, names in _NAMES.items():
        for name in names:
            if f"x_{name}" in stored:
                y = stored.get(f"y_{name}")
                splits[split] = Part(stored[f"x_{name}"], y)
    if not splits:
        splits["train"] = Part(stored["x"], stored.get("y"))
    return Found(str(path), splits, _classes(stored))


def _is_array_file(name):
    return pathlib.Path(name).suffix in (".npy", ".npz")


@source("a .npy or .npz file", takes=_is_array_file, found=found)
def arrays(path):
    """The images of a file, with its labels if it has them.

    Args:
        path: A string or path: a `.npy` file of images, or a `.npz` file with
            images `x` and perhaps labels `y`, which then are both splits; or
            with `x_train`, `y_train`, `x_test`, `y_test`. Names of `classes`
            may be in it. Images in uint8 are brought to [0, 1].

    Returns:
        The `Images`.
    """
    stored = _stored(path)
    test = "test" if "x_test" in stored else "train"
    if "x_train" not in stored:
        stored = {"x_train": stored["x"], "y_train": stored.get("y"), **stored}
        test = "train"
    x_train, x_test = (
        stored[f"x_{split}"].astype("float32") / 255
        if _is_of_pixels(stored[f"x_{split}"])
        else stored[f"x_{split}"]
        for split in ("train", test)
    )
    if test == "train":
        x_test = x_train
    return Images(
        str(path),
        x_train,
        stored.get("y_train"),
        x_test,
        stored.get(f"y_{test}"),
        _classes(stored),
    )


def _classes(stored):
    return tuple(map(str, np.ravel(stored.get("classes", ()))))


def _is_of_pixels(x):
    return x.dtype == np.uint8 and x.ndim > 2


def _stored(path):
    """{name: array} of a file, with x or x_train among them."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such file. Received: dataset={str(path)!r}")
    try:
        if path.suffix == ".npz" and not zipfile.is_zipfile(path):
            raise ValueError("it is no archive")
        stored = np.load(path)
        if path.suffix == ".npy":
            return {"x": stored}
        stored = {name: stored[name] for name in stored}
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"NumPy cannot read this file ({error}). "
            f"Received: dataset={str(path)!r}"
        ) from error
    if not {"x", "x_train"} & stored.keys():
        raise ValueError(
            "A .npz file must hold an array x, or x_train. "
            f"Received: dataset={str(path)!r} with {', '.join(stored)}"
        )
    return stored
