"""Samples for a model, from data in any form that Keras takes, or a name.

The forms are arrays, alone or in the structure of the model's inputs; a
`tf.data.Dataset`, `keras.utils.PyDataset`, `DataLoader`, generator or other
iterable of samples or batches, which are inputs, (inputs, targets) or (inputs,
targets, weights); a function that returns one of these; and the name or path
of a data set (`knc.datasets.load`).
"""

import itertools
import os

import keras
import numpy as np
from keras import tree

from keras_nonconvex import checks
from keras_nonconvex import datasets
from keras_nonconvex import ranges
from keras_nonconvex.datasets.base import spread

# Where only some samples of a stream are wanted, it is read up to so many
# times their number, to have them from all of it.
_READ_ON = 100
# Of a `PyDataset`, whose batches are read in random order, a few are enough.
_BATCHES = 64
# What `fit` gets together where a dataset has single samples: Keras' default.
_BATCH = 32


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
    form = _Form(model, name)
    holds = None
    if isinstance(x, (str, os.PathLike)):
        x, y = _of_data_set(model, x, most, split)
        holds = ranges.UNIT
    elif callable(x):
        x = x()
    if form.is_arrays(x):
        x = tree.map_structure(np.asarray, x)
        y = None if y is None else _targets(y)
        chosen = spread(_count((x, y), name), most, seed)
        if len(chosen) < len(tree.flatten(x)[0]):
            x, y = _mapped(lambda a: a[chosen], (x, y))
    else:
        if y is not None:
            raise ValueError(
                "Argument `y` must be None where the inputs are no arrays: "
                "let the data have (inputs, targets). "
                f"Received: {name} of type {type(x).__name__}"
            )
        x, y = _gathered(form, x, most, seed)
    return form.suited(x, holds), y


def batches(model, x, batch_size):
    """Yields inputs, batch by batch, without targets.

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form.
        batch_size: The samples per batch where the data is not in batches
            already. A last batch that is smaller is left out.
    """
    form = _Form(model, "x")
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
        if _count((part, None), "x") > 1 or len(alone) == batch_size:
            yield form.suited(_joined(alone)[0])
            alone, empty = [], False
    if empty:
        if not alone:
            raise _nothing("x")
        yield form.suited(_joined(alone)[0])


def for_fit(model, x, y=None, steps=None):
    """What `fit` takes as (x, y), in every epoch anew.

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form. A generator that never
            ends stays as it is with `steps`.
        y: Targets, where `x` has none. Defaults to `None`.
        steps: The argument `steps_per_epoch` of `fit`. Defaults to `None`.
    """
    form = _Form(model, "x")
    if isinstance(x, (str, os.PathLike)):
        return read(model, x)
    if form.is_arrays(x):
        return form.suited(tree.map_structure(np.asarray, x)), y
    x = x() if callable(x) else x
    once = hasattr(x, "__next__")
    if once and steps is not None:
        return x, y
    if once or isinstance(x, (list, tuple)):
        x = _Kept(x)
    first, _, rank = form.unpacked(next(form.elements(x)))
    if rank == "sample":
        if not hasattr(x, "batch"):
            return read(model, x)
        x = x.batch(_BATCH)
    elif form.suited(first) is not first and any(form.takes):
        raise ValueError(
            "Argument `x` is a dataset whose images have another range than "
            "the model takes: convert them in the dataset. "
            f"Received: {type(x).__name__}"
        )
    return x, y


def are_arrays(model, x):
    """Whether inputs are arrays that hold all of the data.

    Args:
        model: A built model.
        x: Inputs, or inputs and targets, in any form.
    """
    return _Form(model, "x").is_arrays(x)


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


class _Form:
    """What the inputs of a model look like.

    Args:
        model: A built model; one without a graph takes anything.
        name: What error messages call the data.
    """

    def __init__(self, model, name):
        self.name = name
        self.inputs = getattr(model, "inputs", None)
        self.takes = ranges.of(model)

    def is_arrays(self, x):
        """Whether the data is arrays that hold all of it."""
        if hasattr(x, "shape"):
            return True
        if not isinstance(x, (list, tuple, dict)):
            return False
        leaves = self._leaves(x)
        return all(hasattr(a, "shape") for a in leaves) and (
            not self.inputs or len(leaves) == len(self.inputs)
        )

    def stream(self, data, rng=None):
        """Yields (inputs, targets or None), arrays of some samples each.

        Takes what `elements` takes.
        """
        for element in self.elements(data, rng):
            x, y, rank = self.unpacked(element)
            if rank == "sample":
                x, y = _mapped(lambda a: a[None], (x, y))
            yield x, y

    def elements(self, data, rng=None):
        """An iterator over what the data consists of.

        Args:
            data: An iterable, or a `PyDataset`.
            rng: A random generator for the order of the batches, where they
                can be had in any. Defaults to `None`: their own order.
        """
        if isinstance(data, keras.utils.PyDataset):
            order = itertools.count()
            if data.num_batches is not None:
                order = range(data.num_batches)
                order = order if rng is None else rng.permutation(order)
            elements = (data[int(i)] for i in order)
        else:
            elements = data
        try:
            return iter(elements)
        except TypeError as error:
            raise ValueError(
                f"Argument `{self.name}` must be arrays, a dataset, a "
                "generator or the name of a data set. "
                f"Received: {type(data).__name__}"
            ) from error

    def suited(self, x, holds=None):
        """Checked arrays of samples in the range that the model takes."""
        if not self.inputs:
            if not _count((x, None), self.name):
                raise _nothing(self.name)
            return x
        leaves = self._leaves(x)
        if len(leaves) != len(self.inputs):
            raise ValueError(
                f"Argument `{self.name}` must have one array for each of "
                f"{len(self.inputs)} inputs. Received: {len(leaves)} arrays"
            )
        made = [
            ranges.suited(
                self.name,
                checks.samples(self.name, leaf, tensor.shape[1:]),
                takes or holds,
                holds,
            )
            for leaf, tensor, takes in zip(
                leaves, self.inputs, self.takes, strict=True
            )
        ]
        if isinstance(x, dict):
            return dict(zip(self._keys(x), made, strict=True))
        # Keras takes a list of one input, and warns.
        return tree.pack_sequence_as(x, made) if len(made) > 1 else made[0]

    def _leaves(self, x):
        """The arrays of a structure in the order of the model's inputs."""
        if isinstance(x, dict):
            return [x[key] for key in self._keys(x)]
        return tree.flatten(x)

    def _keys(self, x):
        """The keys of the inputs: by their names, as Keras does it."""
        names = [tensor.name for tensor in self.inputs or ()]
        return names if names and set(names) <= set(x) else sorted(x)

    def unpacked(self, element):
        """Inputs, targets or None, and what they are, of an element.

        They are a "sample" or a "batch"; None where they do not suit the
        model, or it says nothing of its inputs.
        """
        y = None
        rank = self._rank(element)
        if rank is None:
            element, y, _ = keras.utils.unpack_x_y_sample_weight(element)
            rank = self._rank(element)
        x = tree.map_structure(np.asarray, element)
        return x, None if y is None else _targets(y), rank

    def _rank(self, value):
        """Whether a value is a sample or a batch of inputs, or neither."""
        if not self.inputs:
            return None
        leaves = self._leaves(value)
        if len(leaves) != len(self.inputs):
            return None
        missing = {
            len(tensor.shape) - np.ndim(leaf)
            for tensor, leaf in zip(self.inputs, leaves, strict=True)
        }
        return {(0,): "batch", (1,): "sample"}.get(tuple(missing))


class _Kept(keras.utils.PyDataset):
    """The batches of a generator, which can be had only once.

    Args:
        batches: An iterable of (inputs, targets) or (inputs, targets,
            weights).
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = [
            tuple(one) if isinstance(one, list) else one for one in batches
        ]
        if not self.batches:
            raise _nothing("x")

    @property
    def num_batches(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def _of_data_set(model, name, most, split):
    """The images and labels of a data set with a name."""
    shape = None
    if getattr(model, "inputs", None):
        shape = tuple(model.inputs[0].shape[1:])
    data = datasets.load(name, shape=shape, most=most)
    if split == "test":
        return data.x_test, data.y_test
    return data.x_train, data.y_train


def _gathered(form, data, most, seed):
    """All samples of a stream, or some of them from all over it."""
    rng = np.random.default_rng(seed)
    endless = _is_endless(data)
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
        keys.append(rng.random(_count(part, form.name)))
        seen += len(keys[-1])
        if most is not None and sum(map(len, keys)) > 2 * most:
            parts, keys = _thinned(parts, keys, most)
        enough = endless or (random and count >= _BATCHES)
        if most is not None and seen >= (1 if enough else _READ_ON) * most:
            break
    if not seen:
        raise _nothing(form.name)
    ((x_and_y,), _) = _thinned(parts, keys, most)
    return x_and_y


def _thinned(parts, keys, most):
    """One part with the samples of the least keys, and their keys."""
    whole, keys = _joined(parts), np.concatenate(keys)
    if most is not None and len(keys) > most:
        chosen = np.sort(np.argpartition(keys, most)[:most])
        whole, keys = _mapped(lambda a: a[chosen], whole), keys[chosen]
    return [whole], [keys]


def _is_endless(data):
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    # What tf.data says of `repeat()`.
    return hasattr(data, "cardinality") and int(data.cardinality()) == -1


def _mapped(function, x_and_y):
    """A function of all arrays of inputs and targets, if there are any."""
    return tuple(
        None if part is None else tree.map_structure(function, part)
        for part in x_and_y
    )


def _joined(parts):
    """Parts of (inputs, targets) as one."""
    xs, ys = zip(*parts, strict=True)
    if len(parts) == 1:
        return parts[0]
    return tuple(
        None
        if each[0] is None
        else tree.map_structure(lambda *a: np.concatenate(a), *each)
        for each in (xs, ys)
    )


def _targets(y):
    """Targets as arrays; a list of numbers is one array."""
    if isinstance(y, list) and not any(map(np.ndim, tree.flatten(y))):
        return np.asarray(y)
    return tree.map_structure(np.asarray, y)


def _count(x_and_y, name):
    """How many samples there are: as many inputs as targets."""
    leaves = [
        leaf
        for part in x_and_y
        if part is not None
        for leaf in tree.flatten(part)
    ]
    counts = {len(leaf) if np.ndim(leaf) else 0 for leaf in leaves}
    if len(counts) != 1:
        raise ValueError(
            f"Argument `{name}` needs as many targets as inputs. Received: "
            f"{' and '.join(map(str, sorted(counts)))}"
        )
    return counts.pop()


def _nothing(name):
    return ValueError(
        f"Argument `{name}` must have samples in it; a generator can be read "
        "once. Received: none"
    )
