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
            and perhaps of a random generator, that returns a list of arrays.
        passes: The `Passes`.
    """
    import tensorflow as tf

    numbers = itertools.count(passes.epoch)

    def order(_):
        number = next(numbers)
        places = np.arange(count)
        if passes.shuffle:
            places = passes.rng(number).permutation(count)
        return np.int64(number), places

    def one_pass(start):
        number, places = tf.numpy_function(
            order, [start], (tf.int64, tf.int64), stateful=True
        )
        places.set_shape([count])
        batches = tf.data.Dataset.from_tensor_slices(places)
        batches = batches.batch(passes.batch_size)
        return batches.enumerate().map(lambda i, some: (number, i, some))

    def batch(number, i, places):
        return read(places, passes.rng(number, i))

    starts = tf.data.Dataset.range(1)
    data = (starts.repeat() if passes.repeat else starts).flat_map(one_pass)
    data = _mapped(data, batch, read(np.arange(1)))
    steps = -(-count // passes.batch_size)
    if passes.repeat:
        steps = tf.data.INFINITE_CARDINALITY
    return data.apply(tf.data.experimental.assert_cardinality(steps))


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

    if passes.shuffle:
        samples = samples.shuffle(
            _SHUFFLED, passes.seed, reshuffle_each_iteration=True
        )
    if passes.repeat:
        samples = samples.repeat()
    batches = samples.batch(passes.batch_size).enumerate()

    def batch(i, *parts):
        return finished(*parts, rng=passes.rng(passes.epoch, i))

    first = next(samples.batch(1).as_numpy_iterator())
    flat = batches.map(lambda i, parts: (i, *parts))
    data = _mapped(flat, batch, finished(*first))
    known = batches.cardinality()
    if known < 0:
        return data
    return data.apply(tf.data.experimental.assert_cardinality(known))


def _mapped(data, function, example):
    """A dataset of what a function of arrays makes, some batches ahead."""
    import tensorflow as tf

    dtypes = [part.dtype for part in example]

    def call(*parts):
        made = tf.numpy_function(function, parts, dtypes)
        for tensor, part in zip(made, example, strict=True):
            tensor.set_shape([None, *part.shape[1:]])
        return tuple(made) if len(made) > 1 else made[0]

    return data.map(
        call, num_parallel_calls=os.cpu_count(), deterministic=True
    ).prefetch(_READY)
