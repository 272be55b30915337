"""What the tests of removal ask of every plan."""

import keras
import models
import numpy as np
from helpers import images
from helpers import run
from keras import layers

from keras_nonconvex import pruning


def difference(first, second):
    """The greatest one, in units of the greatest value."""
    return max(
        float(np.abs(a - b).max() / np.abs(a).max())
        for a, b in zip(first, second, strict=True)
    )


def pruned(model, **options):
    """A plan whose small model computes what the masked one does.

    The original keeps its values, and shares no variable with either.
    """
    options = {"budget": {"params": 0.6}, "round_to": 1, **options}
    x = images(model)
    before = run(model, x)
    plan = pruning.plan(model, **options)
    small, masked = plan.apply(model), plan.mask(model)
    assert difference(run(masked, x), run(small, x)) <= 1e-5
    assert difference(before, run(model, x)) == 0
    for other in (small, masked):
        own = {id(v) for v in other.variables}
        assert not own & {id(v) for v in model.variables}
    assert small.count_params() == plan.after["params"]
    return plan


def lost(plan, name):
    """How many channels of a layer go, and what is said of the rest."""
    (layer,) = [p for p in plan.layers if p.name == name]
    return layer.keep.count(False), layer.reason


def between(block, shape=(8, 8, 3), filters=8):
    """conv "a" - block - conv "b" - head, with random weights."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(filters, 3, padding="same", name="a")(inputs)
    x = layers.Conv2D(4, 1, activation="relu", name="b")(block(x))
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    return models.randomize(keras.Model(inputs, x), 0)
