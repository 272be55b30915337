"""From samples to a `tf.data.Dataset` of batches: the only place for it."""

import dataclasses
import itertools
import os

import numpy as np

# Batches that wait while the model computes.
_READY = 2
# A stream is put in random order within so many samples.
_SHUFFLED = 4096


@dataclasses.dataclass(frozen=True)
class Passes:
    """How a dataset goes over its samples.

    Attributes:
        batch_size, shuffle, seed, repeat, epoch: As in `Split.dataset`.
    """

    batch_size: int
    shuffle: bool
    seed: int
    repeat: bool
    epoch: int

    def rng(self, *numbers):
        """A random generator for a batch or the order of a pass."""
        return np.random.default_rng([self.seed, *map(int, numbers)])


def of_rows(count, read, passes):
    """The dataset of samples that are read by their places.

    Args:
        count: An integer: how many there are.
        read: A function of an integer array of places, each below `count`,
            and perhaps of a random generator `rng`, that returns a list of
            arrays.
        passes: The `Passes`.
    """
    import tensorflow as tf

    def order(number):
        if passes.shuffle:
            return passes.rng(number).permutation(count)
        return np.arange(count)

    def one_pass(number):
        places = tf.numpy_function(order, [number], tf.int64)
        places.set_shape([count])
        places = tf.data.Dataset.from_tensor_slices(places)
        return places.batch(passes.batch_size).map(lambda some: (some,))

    data = _made(one_pass, read, read(np.arange(1)), passes)
    steps = -(-count // passes.batch_size)
    return data.apply(
        tf.data.experimental.assert_cardinality(
            tf.data.INFINITE_CARDINALITY if passes.repeat else steps
        )
    )


def of_stream(samples, finished, passes):
    """The dataset of batches of another dataset.

    Args:
        samples: A `tf.data.Dataset` of single samples (x, y) or
            (x, y, weights).
        finished: A function of batches of these, and perhaps of a random
            generator `rng`, that returns a list of arrays.
        passes: The `Passes`.
    """
    import tensorflow as tf

    def one_pass(number):
        shuffled = samples
        if passes.shuffle:
            # The seed of the graph of this function, whatever the user's is;
            # beside 0, TensorFlow cannot take a tensor for the seed of a step.
            tf.random.set_seed(passes.seed + 1)
            shuffled = samples.shuffle(
                _SHUFFLED, seed=number, reshuffle_each_iteration=False
            )
        return shuffled.batch(passes.batch_size)

    first = next(samples.batch(1).as_numpy_iterator())
    return _made(one_pass, finished, finished(*first), passes)


def _made(one_pass, function, example, passes):
    """The dataset of what a function makes of the batches of each pass.

    Args:
        one_pass: A function of the number of a pass, a tensor, that returns a
            dataset of tuples of batches.
        function: A function of these as arrays, and of a random generator
            `rng`, that returns a list of arrays.
        example: What `function` returns.
        passes: The `Passes`.
    """
    import tensorflow as tf

    numbers = itertools.count(passes.epoch)
    dtypes = [part.dtype for part in example]

    def numbered(start):
        number = tf.numpy_function(
            lambda _: np.int64(next(numbers)), [start], tf.int64
        )
        number.set_shape([])
        batches = one_pass(number).enumerate()
        return batches.map(lambda i, parts: (number, i, *parts))

    def with_rng(number, i, *parts):
        return function(*parts, rng=passes.rng(number, i))

    def call(*parts):
        made = tf.numpy_function(with_rng, parts, dtypes)
        for tensor, part in zip(made, example, strict=True):
            tensor.set_shape([None, *part.shape[1:]])
        return tuple(made) if len(made) > 1 else made[0]

    starts = tf.data.Dataset.range(1)
    starts = starts.repeat() if passes.repeat else starts
    return (
        starts.flat_map(numbered)
        .map(call, num_parallel_calls=os.cpu_count(), deterministic=True)
        # What waits while the model computes.
        .prefetch(_READY)
    )
