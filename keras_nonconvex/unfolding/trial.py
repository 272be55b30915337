"""Whether what is on record computes what the layers do, by trying."""

import itertools

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex.unfolding import recording


def called(record, model, given, training):
    """What the model of a record gives, in the order of its outputs."""
    if model is None:
        known = dict(zip(map(id, record.inputs), given, strict=True))
        return [known[id(t)] for t in tree.flatten(record.outputs)]
    inputs = given if len(given) > 1 else given[0]
    return model(inputs, training=training)


def tried(model, made, rng):
    """(inputs, outputs) of a model, at the first sizes that it takes."""
    batches = graph.batch_sizes(graph.calls(made), 2)
    for batch, free in itertools.product(batches, (64, 32, 16, 8, 4)):
        inputs = [_sample(t, batch, free, rng) for t in made.inputs]
        inputs = tree.pack_sequence_as(made.input, inputs)
        try:
            return inputs, model(inputs, training=False)
        except Exception as error:
            failure = error
    raise recording.CannotUnfold(
        "the model cannot be run on random inputs, which unfolding needs: "
        f"{recording.first_line(failure)}"
    ) from failure


def _sample(t, batch, free, rng):
    """Random samples of an input.

    Args:
        t: The symbolic input.
        batch: How many samples.
        free: How large its free sizes are.
        rng: A NumPy generator.
    """
    shape = [batch, *(n or free for n in t.shape[1:])]
    if keras.backend.is_float_dtype(t.dtype):
        return rng.normal(size=shape).astype("float32")
    if t.dtype == "string":
        return np.zeros(shape, "str")
    return rng.integers(0, 2, shape).astype(t.dtype)


def moved(variable, rng):
    """A weight's value, moved a little: positive ones stay positive."""
    value = ops.convert_to_numpy(variable).astype("float32")
    factors = rng.uniform(0.9, 1.1, value.shape)
    return factors * value + rng.uniform(0.01, 0.05, value.shape)


def is_float(variable):
    return keras.backend.is_float_dtype(variable.dtype)


def difference(expected, call):
    """Why a call does not give what is expected; None if it does."""
    try:
        got = tree.flatten(call())
    except Exception as error:
        return f"what it calls cannot be run: {recording.first_line(error)}"
    for a, b in zip(tree.flatten(expected), got, strict=True):
        a, b = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (a, b))
        close = 1e-4 * (np.abs(a).max(initial=0) or 1)
        if a.shape != b.shape or not np.allclose(
            a, b, 0, close, equal_nan=True
        ):
            return (
                "the calls on record compute something else, as with weights "
                "that it reads itself or numbers that it draws"
            )
    return None
