"""What data for a model looks like: arrays, or a stream of elements."""

import itertools

import keras
import numpy as np
from keras import tree

from keras_nonconvex import checks
from keras_nonconvex import ranges


class Form:
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
        leaves = self.leaves(x)
        return all(hasattr(a, "shape") for a in leaves) and (
            not self.inputs or len(leaves) == len(self.inputs)
        )

    def stream(self, data, rng=None):
        """Yields (inputs, targets or None), arrays of some samples each.

        Takes what `elements` takes.
        """
        for element in self.elements(data, rng):
            x, y = element, None
            if self._rank(x) is None:
                x, y, _ = keras.utils.unpack_x_y_sample_weight(element)
            x = tree.map_structure(np.asarray, x)
            y = None if y is None else targets(y)
            if self._rank(x) == "sample":
                x, y = mapped(lambda a: a[None], (x, y))
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

    def suited(self, x):
        """Checked arrays of samples in the range that the model takes."""
        if not self.inputs:
            if not count((x, None), self.name):
                raise nothing(self.name)
            return x
        leaves = self.leaves(x)
        if len(leaves) != len(self.inputs):
            raise ValueError(
                f"Argument `{self.name}` must have one array for each of "
                f"{len(self.inputs)} inputs. Received: {len(leaves)} arrays"
            )
        made = [
            ranges.suited(
                self.name,
                checks.samples(self.name, leaf, tensor.shape[1:]),
                takes,
            )
            for leaf, tensor, takes in zip(
                leaves, self.inputs, self.takes, strict=True
            )
        ]
        if isinstance(x, dict):
            return dict(zip(self._keys(x), made, strict=True))
        # Keras takes a list of one input, and warns.
        return tree.pack_sequence_as(x, made) if len(made) > 1 else made[0]

    def suits(self, x):
        """Whether checked arrays need no conversion."""
        pairs = zip(self.leaves(x), self.leaves(self.suited(x)), strict=True)
        return all(one is other for one, other in pairs)

    def leaves(self, x):
        """The arrays of a structure in the order of the model's inputs."""
        if isinstance(x, dict):
            return [x[key] for key in self._keys(x)]
        return tree.flatten(x)

    def _keys(self, x):
        """The keys of the inputs: by their names, as Keras does it."""
        names = [tensor.name for tensor in self.inputs or ()]
        return names if names and set(names) <= set(x) else sorted(x)

    def rank(self, element):
        """Whether an element, or its specification, is a sample or a batch.

        Returns:
            `"sample"`, `"batch"`, or None where that is not known.
        """
        x, _, _ = keras.utils.unpack_x_y_sample_weight(element)
        return self._rank(element) or self._rank(x)

    def _rank(self, x):
        if not self.inputs:
            return None
        leaves = self.leaves(x)
        if len(leaves) != len(self.inputs):
            return None
        # The rank of tensors may be open.
        ranks = [
            getattr(getattr(leaf, "shape", None), "rank", np.ndim(leaf))
            for leaf in leaves
        ]
        if None in ranks:
            return None
        missing = {
            len(tensor.shape) - rank
            for tensor, rank in zip(self.inputs, ranks, strict=True)
        }
        return {(0,): "batch", (1,): "sample"}.get(tuple(missing))


class Kept(keras.utils.PyDataset):
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
            raise nothing("x")

    @property
    def num_batches(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def is_endless(data):
    """Whether data says that it never ends."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    # What tf.data says of `repeat()`.
    return hasattr(data, "cardinality") and int(data.cardinality()) == -1


def mapped(function, x_and_y):
    """A function of all arrays of inputs and targets, if there are any."""
    return tuple(
        None if part is None else tree.map_structure(function, part)
        for part in x_and_y
    )


def joined(parts):
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


def targets(y):
    """Targets as arrays; a list of numbers is one array."""
    if isinstance(y, list) and not any(map(np.ndim, tree.flatten(y))):
        return np.asarray(y)
    return tree.map_structure(np.asarray, y)


def count(x_and_y, name):
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


def nothing(name):
    """The error for data without samples."""
    return ValueError(
        f"Argument `{name}` must have samples in it; a generator can be read "
        "once. Received: none"
    )
