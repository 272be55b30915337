"""Pictures in folders: one folder for each class."""

import pathlib

import keras
import numpy as np

from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import spread

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
# What the folder of a split may be called.
_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")


def read(path, shape=None, most=None):
    """The pictures of a folder, decoded, in both splits.

    Args:
        path: A string or path: a folder with one folder of pictures for each
            class; or with such a folder `train` and one that is called
            `test`, `val` or `validation`; or with pictures, which then have
            no labels. Without splits, every fifth picture of a class is a
            test image.
        shape: A tuple (height, width, channels) that the pictures are resized
            to; None in it is the pictures' own. Defaults to `None`: in
            colour, of their own size, which must be the same for all.
        most: An integer: at most so many pictures are read per split, from
            all over the folder. Defaults to `None`: all of them.

    Returns:
        The `Images`.
    """
    path = pathlib.Path(path)
    train, test = (_split(path, names) for names in (_TRAIN, _TEST))
    classes = _classes(train or path)
    if train and test:
        splits = _labelled(train, classes), _labelled(test, classes)
    else:
        files = _labelled(train or path, classes)
        splits = files, files
        if classes:
            splits = _divided(files)
    if not all(splits):
        raise ValueError(
            "The folder must have one folder of pictures "
            f"({', '.join(_ENDINGS)}) for each class, or pictures. "
            f"Received: dataset={str(path)!r}"
        )
    height, width, channels = shape or (None, None, 3)
    arrays = []
    for files in splits:
        files = [files[i] for i in spread(len(files), most)]
        size = height and width and (height, width)
        arrays.append(_decoded([file for file, _ in files], size, channels))
        labels = np.array([label for _, label in files], "int64")
        arrays.append(labels if classes else None)
    return Images(str(path), *arrays, tuple(classes))


def _split(path, names):
    found = [path / name for name in names if (path / name).is_dir()]
    return found[0] if found and _classes(found[0]) else None


def _classes(path):
    """The names of the folders with pictures in them, in order."""
    return sorted(
        folder.name
        for folder in path.iterdir()
        if folder.is_dir() and any(map(_is_picture, folder.iterdir()))
    )


def _is_picture(path):
    return path.suffix.lower() in _ENDINGS


def _labelled(path, classes):
    """[(file, number of its class)], class by class."""
    folders = [path / name for name in classes] or [path]
    return [
        (file, label)
        for label, folder in enumerate(folders)
        if folder.is_dir()
        for file in sorted(folder.iterdir())
        if _is_picture(file)
    ]


def _divided(files):
    """Every fifth picture of each class is a test image."""
    train, test, seen = [], [], {}
    for file, label in files:
        seen[label] = seen.get(label, 0) + 1
        (test if seen[label] % 5 == 0 else train).append((file, label))
    return train, test


def _decoded(files, size, channels):
    """The pictures as one float32 array with values in [0, 1]."""
    made = []
    for file in files:
        try:
            picture = keras.utils.load_img(
                file,
                color_mode="grayscale" if channels == 1 else "rgb",
                target_size=size,
                interpolation="bilinear",
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"This picture cannot be read ({error}). "
                f"Received: {str(file)!r}"
            ) from error
        array = keras.utils.img_to_array(
            picture, data_format="channels_last", dtype="uint8"
        )
        if made and array.shape != made[0].shape:
            raise ValueError(
                "Pictures of several sizes need the size of a model's input. "
                f"Received: {array.shape} in {str(file)!r} and "
                f"{made[0].shape} in {str(files[0])!r}"
            )
        made.append(array)
    return np.stack(made).astype("float32") / 255
