"""Channels are followed, and constants found, whatever sizes inputs have."""

import time

import keras
import models
import numpy as np
import pytest
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
    "move", [layers.Reshape((-1, 6)), lambda x: ops.reshape(x, (3, -1, 6))]
)
def test_a_nested_model_of_one_size_may_be_called_on_others(move):
    inner = keras.Input((8, 9, 6))
    nested = keras.Model(inner, move(inner))
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Dense(2)(nested(front(inputs))))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    assert kept(plan, "front")[1] < 6
    for size in (8, 9), (5, 5):
        x = np.random.default_rng(0).normal(size=(3, *size, 3))
        assert_same(plan.mask(model), plan.apply(model), x.astype("float32"))


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


def test_channels_that_move_as_the_size_says_stay():
    inputs = keras.Input((None, 3))
    x = layers.Permute((2, 1))(front(inputs))
    x = layers.Dense(2)(layers.Reshape((-1, 24))(x))
    plan = pruning.plan(
        keras.Model(inputs, x), "random", {"channels": 0.5}, round_to=1
    )
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


def with_dead_filters(model, name="front", constant=0.5):
    """The model, half of whose front filters send a constant."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in ("kernel", "bias", "beta"):
                weight.assign(rng.normal(size=weight.shape))
    layer = model.get_layer(name)
    kernel = np.array(layer.kernel)
    kernel[..., :3] = 0
    layer.kernel.assign(kernel)
    layer.bias.assign(np.full(6, constant))
    return model


def padded(x):
    x = layers.ZeroPadding2D(1)(x)
    return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x))


def patches(x):
    """Pads sizes that are odd, no others."""
    x = layers.DepthwiseConv2D(2, strides=2, padding="same")(x)
    return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x))


def patches_below(x):
    return patches(layers.MaxPooling2D()(layers.Conv2D(6, 2)(x)))


def letterbox(x):
    """Pads what is not square, no other images."""
    x = layers.Resizing(8, 8, pad_to_aspect_ratio=True)(x)
    return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x))


def mobile(x):
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    return layers.GlobalAveragePooling2D()(layers.ReLU()(x))


def twice_as_wide(x):
    return ops.mean(layers.Softmax(axis=[1, 2])(x), axis=[1, 2])


def skipping(x):
    """Takes even sizes alone."""
    y = layers.UpSampling2D()(layers.MaxPooling2D()(x))
    return layers.GlobalMaxPooling2D()(layers.Concatenate()([x, y]))


BY_SIZE = {
    "sum": ((None, 3), lambda x: ops.sum(x, axis=1)),
    "logsumexp": ((None, 3), lambda x: ops.logsumexp(x, axis=1)),
    "softmax": ((None, None, 3), twice_as_wide),
    "padding": ((None, None, 3), padded),
    "patches": ((None, None, 3), patches),
    "patches below": ((None, None, 3), patches_below),
    "letterbox": ((None, None, 3), letterbox),
    "mobile": ((None, None, 3), mobile),
}


def exact_at_three_sizes(model):
    small = pruning.plan(model).apply(model)
    rank = len(model.inputs[0].shape) - 2
    rng = np.random.default_rng(1)
    for sizes in ((24, 24), (26, 40), (33, 31)):
        x = rng.normal(size=(2, *sizes[:rank], 3)).astype("float32")
        assert_same(model, small, x)


@pytest.mark.parametrize("name", BY_SIZE)
def test_a_constant_that_depends_on_the_size_is_none(name):
    shape, tail = BY_SIZE[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Dense(2)(tail(front(inputs))))
    with_dead_filters(model)
    exact_at_three_sizes(model)


def test_a_constant_that_depends_on_the_batch_is_none():
    inputs = keras.Input((4, 3))
    x = layers.Dense(6, name="front")(inputs)
    x = layers.Dense(2)(x - ops.sum(x, axis=0, keepdims=True))
    model = with_dead_filters(keras.Model(inputs, x))
    x = np.random.default_rng(1).normal(size=(3, 4, 3)).astype("float32")
    assert_same(model, pruning.plan(model).apply(model), x)


def test_what_depends_on_the_size_stays_and_says_so():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Dense(2)(mobile(front(inputs))))
    with_dead_filters(model)
    for on_constant in ("keep", "fold"):
        plan = pruning.plan(model, on_constant=on_constant)
        assert kept(plan, "front") == (6, 6)
        assert "depends on the image size" in plan.explain("front")


EQUAL = {
    "static batch": (
        (8, 9, 3),
        lambda x: ops.max(ops.reshape(x, (2, 72, 6)), axis=1),
    ),
    "pooled": ((None, None, 3), layers.GlobalAveragePooling2D()),
    "even sizes alone": ((None, None, 3), skipping),
    "long strides": (
        (None, 3),
        lambda x: layers.GlobalMaxPooling1D()(layers.MaxPooling1D(500)(x)),
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_a_constant_that_is_equal_at_all_sizes_is_folded(name):
    shape, tail = EQUAL[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Dense(2)(tail(front(inputs))))
    with_dead_filters(model)
    plan = pruning.plan(model)
    assert kept(plan, "front") == (6, 3), plan.explain("front")
    sizes = [n or m for n, m in zip(shape[:-1], (600, 20), strict=False)]
    x = np.random.default_rng(1).normal(size=(2, *sizes, 3)).astype("float32")
    assert_same(model, plan.apply(model), x)


@pytest.mark.parametrize("constant", [np.inf, np.nan, 3e38])
@pytest.mark.parametrize("on_constant", ["keep", "fold"])
def test_what_is_not_finite_is_never_folded(constant, on_constant):
    inputs = keras.Input((8, 8, 3))
    x = 2.0 * front(inputs)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    with_dead_filters(model, constant=constant)
    plan = pruning.plan(model, on_constant=on_constant)
    assert kept(plan, "front") == (6, 6)


@pytest.mark.parametrize("reduce", [ops.sum, ops.max])
def test_a_branch_whose_constant_depends_on_the_size_stays(reduce):
    inputs = keras.Input((None, None, 3))
    y = layers.Conv2D(6, 1, activation="sigmoid", name="dead")(inputs)
    y = reduce(layers.Conv2D(6, 1)(y), axis=(1, 2))
    x = ops.max(front(inputs), axis=(1, 2))
    model = keras.Model(inputs, layers.Dense(2)(layers.Add()([x, y])))
    with_dead_filters(model)
    model.get_layer("dead").kernel.assign(np.zeros((1, 1, 3, 6)))
    exact_at_three_sizes(model)
    removed = pruning.plan(model).removed
    assert ("dead" in removed) == (reduce is ops.max)
