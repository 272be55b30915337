"""Channels are followed, and constants found, whatever sizes inputs have."""

import time

import keras
import models
import numpy as np
import pytest
from helpers import images
from helpers import run
from keras import layers
from keras import ops

from keras_nonconvex import pruning
from keras_nonconvex.pruning.channels.trace import Trace


def assert_same(first, second, x, tolerance=1e-5):
    for a, b in zip(run(first, x), run(second, x), strict=True):
        assert a.shape == b.shape
        scale = np.abs(a).max() + 1e-6
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)


def kept(plan, name):
    return next(p for p in plan.layers if p.name == name).channels


def front(x):
    rank = len(x.shape) - 2
    return getattr(layers, f"Conv{rank}D")(6, 1, name="front")(x)


MOVES = {
    "slice": ((None, 3), lambda x: x[:, 3:]),
    "long slice": ((None, 3), lambda x: x[:, 30:-30]),
    "index": ((None, 3), lambda x: x[:, 20]),
    "steps": ((None, 3), lambda x: x[:, ::5]),
    "crop": ((None, None, 3), lambda x: x[:, 2:-2, 2:-2]),
    "frames": (
        (None, 3),
        lambda x: ops.concatenate([x[:, 2:], x[:, :-2]], axis=-1),
    ),
    "positions": ((None, None, 3), layers.Reshape((-1, 6))),
    "blocks": ((None, 3), layers.Reshape((-1, 24))),
    "static batch": ((8, 9, 3), lambda x: ops.reshape(x, (3, 72, 6))),
    "of fixed size": ((8, 9, 3), layers.Reshape((72, 6))),
    "channels first": (
        (8, 9, 3),
        lambda x: ops.transpose(
            ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, 6, 72)), (0, 2, 1)
        ),
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_channels_are_followed_where_positions_move(name):
    shape, move = MOVES[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Dense(2)(move(front(inputs))))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    assert kept(plan, "front")[1] < 6
    sizes = [n or 72 for n in shape]
    x = np.random.default_rng(0).normal(size=(3, *sizes)).astype("float32")
    assert_same(plan.mask(model), plan.apply(model), x)


@pytest.mark.parametrize(
    "move",
    [lambda x: x[:, 3:], lambda x: x[:, 10**6 :], lambda x: ops.flip(x, -1)],
)
def test_an_output_that_is_a_part_keeps_all_channels(move):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, move(front(inputs)))
    models.randomize(model, 0, zero_fraction=0.5)
    plan = pruning.plan(model)
    assert kept(plan, "front") == (6, 6)


@pytest.mark.parametrize(
    "move",
    [
        layers.ZeroPadding2D(3),
        layers.Permute((3, 1, 2)),
        layers.Reshape((-1, 64)),
        lambda x: x[:, 7:],
        lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]]),
    ],
)
def test_large_images_cost_nothing_to_follow(move):
    inputs = keras.Input((2048, 1024, 3))
    x = layers.Conv2D(64, 1, name="front")(inputs)
    x = move(x)
    model = keras.Model(inputs, x)
    start = time.process_time()
    trace = Trace(model)
    assert time.process_time() - start < 2
    ids = trace.tensors[id(x)].axes
    made = trace.made["front"][0]
    assert any(n is not None and np.array_equal(n, made) for n in ids)
