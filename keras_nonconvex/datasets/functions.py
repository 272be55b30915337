"""A Python function of the user's that returns data: `module:function`."""

import contextlib
import importlib
import importlib.util
import pathlib
import re
import sys
import traceback

import numpy as np

from keras_nonconvex.datasets.base import Found
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import Part
from keras_nonconvex.datasets.base import found_images
from keras_nonconvex.datasets.base import source

_NAME = re.compile(r"(.+\.py|[\w.]+):([A-Za-z_]\w*)")
_SPLITS = ("train", "validation", "test")


def found(name, wanted=None):
    """The splits that a function returns.

    Args:
        name: What `images` takes.
        wanted: The `Wanted`. Gray images (n, height, width) get the axis of
            their one channel where images with one are wanted. Defaults to
            `None`.
    """
    function = _function(str(name))
    with _told(name, "The function of data fails"):
        made = function()
    return given(made, str(name), "A function of data must return", wanted)


def given(made, name, must, wanted=None):
    """The splits of data that is there already.

    Args:
        made: What a function of `images` returns.
        name: What the data is called.
        must: The beginning of the message about anything else.
        wanted: As of `found`. Defaults to `None`.
    """
    if isinstance(made, Images):
        return found_images(made)
    gray = wanted is not None and (wanted.shape or ())[2:] == (1,)
    try:
        splits, classes = _splits(made)
        parts = {
            split: _part(split, one, gray)
            for split, one in splits.items()
            if one is not None
        }
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{must} `datasets.Images`, (train, test), (train, validation, "
            "test) or a dict with these keys, of (x, y) or tf.data datasets. "
            f"Received: dataset={name!r} of type {type(made).__name__} "
            f"({error})"
        ) from error
    return Found(name, parts, classes)


def _is_function(name):
    return bool(_NAME.fullmatch(str(name)))


@source("a module:function", takes=_is_function, found=found)
def images(name):
    """The images that a function returns.

    Args:
        name: A string `"module:function"` or `"file.py:function"`. The
            function takes no arguments. It returns `Images`; or (train, test)
            or (train, validation, test), or a dict with these keys and
            perhaps `"classes"`, of (x, y) or, for `splits`, of
            `tf.data.Dataset`.

    Returns:
        The `Images`. Those in uint8 are brought to [0, 1].
    """
    made = found(name)
    train = made.parts["train"]
    test = made.parts.get("test", train)
    if not (isinstance(train, Part) and isinstance(test, Part)):
        raise ValueError(
            "The function must return arrays; only `datasets.splits` takes "
            f"tf.data datasets. Received: dataset={str(name)!r}"
        )
    x_train, x_test = (
        part.x.astype("float32") / 255 if part.x.dtype == np.uint8 else part.x
        for part in (train, test)
    )
    return Images(made.name, x_train, train.y, x_test, test.y, made.classes)


def _function(name):
    """The function that a name stands for."""
    place, called = _NAME.fullmatch(name).groups()
    with _told(name, "The module of data cannot be imported"):
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(
                pathlib.Path(place).stem, place
            )
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            with _here():
                module = importlib.import_module(place)
    function = getattr(module, called, None)
    if not callable(function):
        raise ValueError(
            f"The module must have a function {called!r}. "
            f"Received: dataset={name!r}"
        )
    return function


@contextlib.contextmanager
def _told(name, what):
    """A scope of the user's code, whose errors become one that says where."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        own = [each for each in frames if "importlib" not in each.filename]
        where = f", in {own[-1].filename}, line {own[-1].lineno}" if own else ""
        raise ValueError(
            f"{what} ({type(error).__name__}: {error}{where}). "
            f"Received: dataset={str(name)!r}"
        ) from error


@contextlib.contextmanager
def _here():
    """A scope in which modules of the working folder are found."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def _splits(made):
    """({split: what it holds}, classes)"""
    if isinstance(made, dict):
        classes = tuple(map(str, made.get("classes", ())))
        splits = {key: part for key, part in made.items() if key != "classes"}
    elif not isinstance(made, (tuple, list)) or len(made) not in (2, 3):
        raise ValueError("which is no tuple of two or three, and no dict")
    else:
        # (train, test) is what the functions of `keras.datasets` return.
        names = ("train", "test") if len(made) == 2 else _SPLITS
        splits, classes = dict(zip(names, made, strict=True)), ()
    if "train" not in splits or not splits.keys() <= set(_SPLITS):
        raise ValueError(f"with keys {', '.join(map(str, splits))}")
    return splits, classes


def _part(split, given, gray):
    if hasattr(given, "element_spec"):
        return given
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"with {type(given).__name__} for {split}")
    x, y = map(np.asarray, given)
    return Part(x[..., None] if gray and x.ndim == 3 else x, y)
