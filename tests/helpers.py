"""What many tests do: run a model, draw its inputs, count examples."""

import contextlib
import math
import sys

import hypothesis
import keras
import numpy as np
import pytest
from conftest import EXAMPLES


def run(model, x):
    """The outputs of a model in inference mode: a list of arrays."""
    outputs = keras.tree.flatten(model(x, training=False))
    return [keras.ops.convert_to_numpy(y) for y in outputs]


def images(model, n=4, seed=0, dtype="float32", sizes=()):
    """Random inputs of a model.

    Args:
        model: A built model.
        n: How many samples.
        seed: A seed, or a `numpy.random.Generator` to go on with.
        dtype: Type of the values.
        sizes: Sizes of the axes that are free, in order, for each input.

    Returns:
        An array (n, ...), or a list of them if the model has several inputs.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for tensor in model.inputs:
        free = iter(sizes)
        shape = [size or next(free) for size in tensor.shape[1:]]
        drawn.append(rng.normal(size=(n, *shape)).astype(dtype))
    return drawn if len(drawn) > 1 else drawn[0]


@contextlib.contextmanager
def without_the_package():
    """A scope in which `keras_nonconvex` cannot be imported, nor found."""
    registered = keras.saving.get_custom_objects()
    objects = dict(registered)
    names = [n for n in sys.modules if n.split(".")[0] == "keras_nonconvex"]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            # The import of such a module fails.
            patch.setitem(sys.modules, name, None)
        registered.clear()
        try:
            yield
        finally:
            registered.update(objects)


def examples(n):
    """Decorator: a property whose examples cost more, or less, than most.

    Args:
        n: How many it gets where others get `EXAMPLES`. Other profiles of
            Hypothesis change this number in proportion.
    """
    profile = hypothesis.settings.default
    return hypothesis.settings(
        max_examples=math.ceil(n * profile.max_examples / EXAMPLES)
    )
