"""What samples must be before anything is trained on them."""

import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex import ranges
from keras_nonconvex.datasets.base import Images

# Rows of so many bytes are looked at together.
_BLOCK = 2**24


def images(name, made):
    """Returns what a source returned, which must be `Images`."""
    if not isinstance(made, Images):
        raise ValueError(
            f"The source of {str(name)!r} must return `datasets.Images`. "
            f"Received: {type(made).__name__}"
        )
    return made


def part(name, given, shape):
    """Checks the samples of a split, and gives its targets the usual form.

    Args:
        name: A string: what error messages call it.
        given: The `Part`. Targets (n, 1) of whole numbers become (n,).
        shape: The shape of a sample, None where it may be any; or None.
    """
    x, y = given.x, given.y
    if not len(given.rows):
        raise ValueError(
            f"The data must have samples. Received: none in {name}"
        )
    if x.dtype.kind not in "fiub":
        raise ValueError(
            f"Inputs must be numbers. Received: dtype {x.dtype} in {name}"
        )
    if shape is not None and not _fits(x.shape[1:], shape):
        raise ValueError(
            f"The inputs must have the shape that the model takes, {shape}. "
            f"Received: {tuple(x.shape[1:])} in {name}"
        )
    _check_finite(f"inputs of {name}", x)
    if y is None:
        return
    if len(y) != len(x):
        raise ValueError(
            "There must be as many targets as inputs. "
            f"Received: {len(y)} targets for {len(x)} inputs in {name}"
        )
    if y.dtype.kind not in "fiub":
        raise ValueError(
            "Targets must be numbers; classes are counted from 0. "
            f"Received: dtype {y.dtype} in {name}"
        )
    _check_finite(f"targets of {name}", y)
    if len(y.shape) == 2 and y.shape[1] == 1 and y.dtype.kind in "iu":
        given.y = y[:, 0]


def classes(found, kind):
    """The names of the classes, which all splits must have.

    Args:
        found: The `Found`.
        kind: What the targets are.

    Returns:
        A tuple of strings.
    """
    names, parts = found.classes, found.parts
    y = parts["train"].y
    for split, part in parts.items():
        form = None if part.y is None else part.y.shape[1:]
        if form != (None if y is None else y.shape[1:]):
            raise ValueError(
                "All splits must have targets of the same shape. Received: "
                f"{form} in {found.name}, {split}"
            )
    if y is None or (kind != outputs.CLASSES and len(y.shape) == 1):
        return names
    if len(y.shape) == 2:
        if names and len(names) != y.shape[1]:
            raise ValueError(
                "There must be a name for each column of targets. Received: "
                f"{len(names)} names for {y.shape[1]} columns in {found.name}"
            )
        return names or tuple(map(str, range(y.shape[1])))
    if len(y.shape) > 2:
        return names
    present = np.unique(y[parts["train"].rows])
    if len(present) < 2:
        raise ValueError(
            "The training data must have at least two classes. Received: "
            f"only class {names[present[0]] if names else present[0]!r} in "
            f"{found.name}"
        )
    names = names or tuple(map(str, range(present[-1] + 1)))
    for split, part in parts.items():
        numbers = part.y[part.rows]
        strange = numbers[(numbers < 0) | (numbers >= len(names))]
        if len(strange):
            raise ValueError(
                f"Class numbers must be from 0 to {len(names) - 1}, as the "
                f"training data has {len(names)} classes. "
                f"Received: {strange[0]} in {found.name}, {split}"
            )
        strange = np.setdiff1d(numbers, present)
        if len(strange):
            raise ValueError(
                "All classes must be in the training data. Received: class "
                f"{names[strange[0]]} in {found.name}, {split}, alone"
            )
    return names


def common_range(found, takes):
    """The `Range` of the values of all splits.

    Args:
        found: The `Found`.
        takes: The `Range` that the model takes.
    """
    held = {
        split: part.holds
        or ranges.held(f"data['{split}']", part.x, takes, ranges.UNIT)
        for split, part in found.parts.items()
    }
    if len(set(held.values())) > 1:
        raise ValueError(
            "The images of all splits must have one range of values. "
            "Received: "
            + ", ".join(
                f"{low:g} to {high:g} in {split}"
                for split, (low, high) in held.items()
            )
            + f" of {found.name}"
        )
    return held["train"]


def single_samples(name, data, wanted):
    """A `tf.data.Dataset` of single samples.

    Args:
        name: A string: what error messages call it.
        data: The dataset of samples or batches (x, y) or (x, y, weights).
        wanted: The `Wanted`. Without a shape, samples are images.
    """
    if int(data.cardinality()) == -1:
        raise ValueError(
            "A tf.data.Dataset must end after one pass over its samples: give "
            "it without `repeat()`. Received: infinitely many elements in "
            f"{name}"
        )
    spec = data.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            "A tf.data.Dataset must have elements (x, y). "
            f"Received: {spec} in {name}"
        )
    rank = 3 if wanted.shape is None else len(wanted.shape)
    if len(spec[0].shape) == rank + 1:
        data = data.unbatch()
    y = data.element_spec[1]
    if y.shape == (1,) and y.dtype.is_integer:
        # As of arrays, these are numbers of classes.
        data = data.map(lambda x, y, *weights: (x, y[0], *weights))
    shape = tuple(data.element_spec[0].shape)
    if wanted.shape is not None and not _fits(shape, wanted.shape):
        raise ValueError(
            "The inputs must have the shape that the model takes, "
            f"{wanted.shape}. Received: {shape} in {name}"
        )
    return data


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(
        b is None or a in (None, b) for a, b in zip(shape, wanted, strict=True)
    )


def _check_finite(name, array):
    if array.dtype.kind != "f":
        return
    row = int(np.prod(array.shape[1:])) * array.dtype.itemsize
    count = max(1, _BLOCK // max(1, row))
    for start in range(0, len(array), count):
        if not np.isfinite(array[start : start + count]).all():
            raise ValueError(
                "Data must be finite. Received: NaN or infinite values in the "
                f"{name}"
            )
