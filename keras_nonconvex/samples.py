"""Samples for a model, from data in any form that Keras takes, or a name.

The forms are arrays, alone or in the structure of the model's inputs; a
`tf.data.Dataset`, `keras.utils.PyDataset`, `DataLoader`, generator or other
iterable of samples or batches, which are inputs, (inputs, targets) or (inputs,
targets, weights); a function that returns one of these; and the name or path
of a data set (`knc.datasets.load`).
"""

import dataclasses
import math
import os

import keras
import numpy as np
from keras import tree

from keras_nonconvex import datasets
from keras_nonconvex import ranges
from keras_nonconvex import sample_forms
from keras_nonconvex.datasets.base import spread

# Where only some samples of a stream are wanted, it is read up to so many
# times their number, to have them from all of it.
_READ_ON = 100
# Of a `PyDataset`, whose batches are read in random order, a few are enough.
_BATCHES = 64
# What `fit` gets together where a dataset has single samples: Keras' default.
BATCH = 32


def read(model, x, y=None, most=None, name="x", seed=0, split="train"):
    """Inputs and targets as NumPy arrays.

    They are checked against the inputs of the model, and images get the range
    of values that it takes where that is safe (see `ranges`).

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form.
        y: Targets, an array or a structure of arrays, where `x` has none.
            Defaults to `None`.
        most: An integer: at most so many samples are taken, from all over
            the data, the same ones for the same seed. What can only be read
            in order is read up to 100 times as many. Defaults to `None`: all
            of them.
        name: A string: what error messages call `x`. Defaults to `"x"`.
        seed: The seed of the choice of samples. Defaults to `0`.
        split: `"train"` or `"test"`: which images of a data set with a name.
            Defaults to `"train"`.

    Returns:
        (x, y), with y None where the data has no targets.

    Raises:
        ValueError: The data has another form, is empty, never ends, or is not
            what the model takes.
    """
    form = sample_forms.Form(model, name)
    if isinstance(x, (str, os.PathLike)):
        data = data_set(x, model, most)
        x, y = (getattr(data, f"{part}_{split}") for part in "xy")
    elif callable(x):
        x = x()
    if y is not None and isinstance(x, list) and not form.is_arrays(x):
        # A list of samples beside their targets.
        x = np.asarray(x)
    if form.is_arrays(x):
        x = tree.map_structure(np.asarray, x)
        y = None if y is None else sample_forms.targets(y)
        chosen = spread(sample_forms.count((x, y), name), most, seed)
        if len(chosen) < len(tree.flatten(x)[0]):
            x, y = sample_forms.mapped(lambda a: a[chosen], (x, y))
    else:
        if y is not None:
            raise ValueError(
                "Argument `y` must be None where the inputs are no arrays: "
                "let the data have (inputs, targets). "
                f"Received: {name} of type {type(x).__name__}"
            )
        x, y = _gathered(form, x, most, seed)
    return form.suited(x), y


def data_set(name, model=None, most=None):
    """A data set, its images as a model takes them.

    Args:
        name: A string or path, as `datasets.load` takes it.
        model: A built model. Pictures get the size of its input, and images
            the range of values that it takes. Defaults to `None`: as for a
            model that does not tell, which takes [0, 1].
        most: As in `datasets.load`. Defaults to `None`.

    Returns:
        The `Images`.
    """
    shape = takes = None
    if getattr(model, "inputs", None):
        shape = tuple(model.inputs[0].shape[1:])
        takes = ranges.of(model)[0]
    data = datasets.load(name, shape=shape, most=most)
    if data.x_train.ndim == 4:
        takes = takes or ranges.UNIT
    return dataclasses.replace(
        data,
        **{
            split: ranges.suited(
                str(name), getattr(data, split), takes, ranges.UNIT
            )
            for split in ("x_train", "x_test")
        },
    )


def batches(model, x, batch_size):
    """Yields inputs, batch by batch, without targets.

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form.
        batch_size: The samples per batch where the data is not in batches
            already. A last batch that is smaller is left out.
    """
    form = sample_forms.Form(model, "x")
    if form.is_arrays(x) or isinstance(x, (str, os.PathLike)):
        x, _ = read(model, x)
        full = len(tree.flatten(x)[0])
        size = min(batch_size, full)
        for start in range(0, full - size + 1, size):
            yield tree.map_structure(lambda a, i=start: a[i : i + size], x)
        return
    alone, empty = [], True
    for part, _ in form.stream(x() if callable(x) else x):
        alone.append((part, None))
        # What comes in batches stays so, single samples are put together.
        if (
            sample_forms.count((part, None), "x") > 1
            or len(alone) == batch_size
        ):
            yield form.suited(sample_forms.joined(alone)[0])
            alone, empty = [], False
    if empty:
        if not alone:
            raise sample_forms.nothing("x")
        yield form.suited(sample_forms.joined(alone)[0])


def for_fit(model, x, y=None, steps=None):
    """What `fit` takes as (x, y), in every epoch anew.

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form. A generator that never
            ends stays as it is with `steps`.
        y: Targets, where `x` has none. Defaults to `None`.
        steps: The argument `steps_per_epoch` of `fit`. Defaults to `None`.
    """
    form = sample_forms.Form(model, "x")
    if isinstance(x, (str, os.PathLike)):
        return read(model, x)
    if form.is_arrays(x):
        if any(form.takes):
            x = form.suited(tree.map_structure(np.asarray, x))
        return x, y
    if y is not None:
        return read(model, x, y)
    x = x() if callable(x) else x
    once = hasattr(x, "__next__")
    if once and steps is not None:
        return x, y
    if once or isinstance(x, (list, tuple)):
        x = sample_forms.Kept(x)
    # What tf.data says of its elements spares reading one.
    first = getattr(x, "element_spec", None) or next(form.elements(x))
    if form.rank(first) == "sample":
        if not hasattr(x, "batch"):
            return read(model, x)
        x = x.batch(BATCH)
    if any(form.takes) and not form.suits(next(form.stream(x))[0]):
        raise ValueError(
            "Argument `x` is a dataset whose images have another range than "
            "the model takes: convert them in the dataset. "
            f"Received: {type(x).__name__}"
        )
    return x, y


def steps(model, x, fit_options):
    """How many batches `fit` takes from data in an epoch.

    Args:
        model: A built model.
        x: Inputs, or a dataset, as `for_fit` gives them.
        fit_options: A dict of arguments of `fit`.

    Returns:
        A whole number, or None where the data does not tell.
    """
    told = fit_options.get("steps_per_epoch")
    if told is not None:
        return told
    if are_arrays(model, x):
        count = sample_forms.count((x, None), "x")
        rest = 1.0 - (fit_options.get("validation_split") or 0.0)
        size = fit_options.get("batch_size") or BATCH
        return math.ceil(math.floor(count * rest) / size)
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    try:
        return len(x)
    except TypeError:
        return None


def leaves(model, x):
    """The arrays of a model's inputs as a list, in the order of the inputs.

    Args:
        model: A built model.
        x: An array, or a list, tuple or dict of them.
    """
    return sample_forms.Form(model, "x").leaves(x)


def are_arrays(model, x):
    """Whether inputs are arrays that hold all of the data.

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form.
    """
    return sample_forms.Form(model, "x").is_arrays(x)


def pair(data, name="data"):
    """Inputs and targets of an argument that must have both.

    Args:
        data: (x, y), or a form that has both in it.
        name: A string: what error messages call it. Defaults to `"data"`.

    Returns:
        (x, y), with y None in the second case.
    """
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return tuple(data)
    if data is None or hasattr(data, "shape"):
        raise ValueError(
            f"Argument `{name}` must be (x, y), a dataset of them or the name "
            f"of a data set. Received: {type(data).__name__}"
        )
    return data, None


def class_numbers(y, name="y"):
    """Labels (n,), (n, 1) or one-hot as whole numbers (n,).

    Args:
        y: An array of numbers.
        name: A string: what error messages call it. Defaults to `"y"`.
    """
    y = np.asarray(y)
    numbers = y
    if y.ndim == 2:
        numbers = y[:, 0] if y.shape[1] == 1 else y.argmax(-1)
        one_hot = y.shape[1] == 1 or np.array_equal(
            y, numbers[:, None] == np.arange(y.shape[1])
        )
        numbers = numbers if one_hot else y
    if (
        numbers.ndim != 1
        or numbers.dtype.kind not in "iufb"
        or np.any(numbers != np.floor(numbers))
    ):
        raise ValueError(
            f"Argument `{name}` must hold integer labels (n,) or (n, 1), or "
            "one-hot ones (n, classes). "
            f"Received: {y.dtype} of shape {y.shape}"
        )
    return numbers.astype("int64")


def _gathered(form, data, most, seed):
    """All samples of a stream, or some of them from all over it."""
    rng = np.random.default_rng(seed)
    endless = sample_forms.is_endless(data)
    if endless and most is None:
        raise ValueError(
            f"Argument `{form.name}` must end: use `take(...)`. Received: "
            f"an endless {type(data).__name__}"
        )
    random = (
        most is not None
        and not endless
        and isinstance(data, keras.utils.PyDataset)
        and data.num_batches > _BATCHES
    )
    parts, keys, seen = [], [], 0
    for count, part in enumerate(form.stream(data, rng if random else None), 1):
        parts.append(part)
        keys.append(rng.random(sample_forms.count(part, form.name)))
        seen += len(keys[-1])
        if most is not None and sum(map(len, keys)) > 2 * most:
            parts, keys = _thinned(parts, keys, most)
        enough = endless or (random and count >= _BATCHES)
        if most is not None and seen >= (1 if enough else _READ_ON) * most:
            break
    if not seen:
        raise sample_forms.nothing(form.name)
    ((x_and_y,), _) = _thinned(parts, keys, most)
    return x_and_y


def _thinned(parts, keys, most):
    """One part with the samples of the least keys, and their keys."""
    whole, keys = sample_forms.joined(parts), np.concatenate(keys)
    if most is not None and len(keys) > most:
        chosen = np.sort(np.argpartition(keys, most)[:most])
        whole, keys = (
            sample_forms.mapped(lambda a: a[chosen], whole),
            keys[chosen],
        )
    return [whole], [keys]
