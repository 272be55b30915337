"""Grouped convolutions and channel shuffles: classes stay small, and exact."""

import keras
import models
import numpy as np
import pytest
from helpers import images
from helpers import run
from keras import layers
from keras import ops
from removals import difference
from removals import lost
from removals import pruned

from keras_nonconvex import pruning
from keras_nonconvex.pruning.channels.trace import Trace


def by_layers(x, groups):
    *positions, channels = x.shape[1:]
    y = layers.Reshape((*positions, groups, channels // groups))(x)
    return layers.Reshape(x.shape[1:])(layers.Permute((1, 2, 4, 3))(y))


def by_operations(x, groups):
    height, width, channels = x.shape[1:]
    y = ops.reshape(x, (-1, height, width, groups, channels // groups))
    y = ops.transpose(y, (0, 1, 2, 4, 3))
    return ops.reshape(y, (-1, height, width, channels))


def by_flat_positions(x, groups):
    y = layers.Reshape((-1, x.shape[-1]))(x)
    y = layers.Reshape((-1, groups, x.shape[-1] // groups))(y)
    y = layers.Reshape((-1, x.shape[-1]))(layers.Permute((1, 3, 2))(y))
    return layers.Reshape(x.shape[1:])(y)


def unit(x, groups, narrow, wide, shuffle=by_layers, name="", first=False):
    """A unit of ShuffleNet v1, with a stride where the channels grow."""
    stride = 1 if wide == x.shape[-1] else 2
    filters = wide if stride == 1 else wide - x.shape[-1]
    y = layers.Conv2D(
        narrow, 1, groups=1 if first else groups, name=f"{name}in"
    )(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = shuffle(y, groups)
    y = layers.DepthwiseConv2D(3, stride, "same", name=f"{name}each")(y)
    y = layers.BatchNormalization()(y)
    y = layers.Conv2D(filters, 1, groups=groups, name=f"{name}out")(y)
    y = layers.BatchNormalization()(y)
    if stride == 1:
        return layers.ReLU()(layers.Add()([x, y]))
    x = layers.AveragePooling2D(3, 2, "same")(x)
    return layers.Concatenate()([x, layers.ReLU()(y)])


def headed(inputs, x):
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(3, activation="softmax")(x)
    return models.randomize(keras.Model(inputs, x), 0)


def one_unit(groups, each, shuffle=by_layers):
    """A unit with so many channels in each group, between plain layers."""
    width = groups * each
    inputs = keras.Input((5, 5, 3))
    x = layers.Conv2D(width, 1, activation="relu", name="stem")(inputs)
    return headed(inputs, unit(x, groups, width, width, shuffle))


def sizes(model, name):
    """How many channels of a layer each of its classes has."""
    trace = Trace(model)
    roots = trace.root_of[np.concatenate(trace.made[name])]
    return np.unique(roots, return_counts=True)[1].tolist()


@pytest.mark.parametrize(
    "groups, each", [(2, 5), (3, 4), (4, 4), (4, 6), (4, 17), (6, 4), (8, 12)]
)
def test_a_class_has_one_channel_of_each_group_through_a_shuffle(groups, each):
    model = one_unit(groups, each)
    for name in ("stem", "in", "out"):
        assert sizes(model, name) == [groups] * each


@pytest.mark.parametrize("shuffle", [by_operations, by_flat_positions])
@pytest.mark.parametrize("groups, each", [(3, 4), (4, 6)])
def test_shuffles_in_other_words_are_exact(shuffle, groups, each):
    model = one_unit(groups, each, shuffle)
    plan = pruned(model, criterion="random", budget={"channels": 0.6})
    assert lost(plan, "in")[0] % groups == 0 < lost(plan, "in")[0]
    assert sizes(model, "in") == [groups] * each


def test_zeros_among_channels_of_one_position_are_no_channel():
    inputs = keras.Input((1, 1, 3))
    x = layers.Conv2D(6, 1, activation="relu", name="a")(inputs)
    x = layers.Permute((2, 1))(layers.Reshape((1, 6))(x))
    x = layers.Permute((2, 1))(layers.ZeroPadding1D(2)(x))
    x = layers.Reshape((1, 1, 10))(x)
    model = headed(inputs, x)
    assert lost(pruned(model, budget={"channels": 0.5}), "a")[0] > 0


@pytest.mark.parametrize("groups", [4, 6, 8, 12])
def test_a_shufflenet_is_pruned_exactly(groups):
    """Its first group has channels of the stem and others, as in the paper."""
    inputs = keras.Input((9, 9, 3))
    x = layers.Conv2D(24, 3, 2, activation="relu", name="stem")(inputs)
    wide, narrow = 24 + 3 * groups, 3 * groups
    x = unit(x, groups, narrow, wide, name="a", first=True)
    x = unit(x, groups, narrow, wide, name="b")
    model = headed(inputs, unit(x, groups, narrow, 2 * wide, name="c"))
    for name in ("bin", "cin"):
        assert sizes(model, name) == [groups] * 3
    plan = pruned(
        model, criterion="random", budget={"channels": 0.4}, ranking="layer"
    )
    for name in ("ain", "bin", "cin"):
        assert lost(plan, name)[0] > 0, name


def test_dead_channels_go_through_a_shuffle():
    """Here a shift below zero, as a ReLU follows: nothing is sent on."""
    model = one_unit(4, 4)
    trace = Trace(model)
    roots = trace.root_of[trace.made["in"][0]]
    gone = roots == roots[5]
    layer = model.get_layer("in")
    layer.kernel.assign(np.where(gone, 0, layer.kernel.numpy()))
    norm = model.layers[model.layers.index(layer) + 1]
    norm.gamma.assign(np.where(gone, 0, norm.gamma.numpy()))
    norm.beta.assign(np.where(gone, -1, norm.beta.numpy()))
    x = images(model)
    small = pruning.prune(model)
    assert difference(run(model, x), run(small, x)) <= 1e-5
    assert small.get_layer("in").filters == 12


def test_channels_read_by_zeros_go_in_groups():
    """Each filter reads the channels of its own group alone."""
    model = one_unit(4, 4)
    trace = Trace(model)
    layer = model.get_layer("out")
    (use,) = [u for u in trace.of_role("input") if u.layer is layer]
    roots = trace.root_of[use.ids]
    kernel = np.array(use.values)
    use.clear(kernel, roots == roots[6])
    assert (kernel == 0).sum() == kernel.size // 4
    layer.kernel.assign(kernel)
    x = images(model)
    small = pruning.prune(model)
    assert difference(run(model, x), run(small, x)) <= 1e-5
    assert small.get_layer("in").filters == 12
    assert small.get_layer("out").kernel.shape[-2] == 3


def test_what_one_layer_makes_in_few_groups_is_read_in_many():
    inputs = keras.Input((5, 5, 6))
    x = layers.Conv2D(6, 1, name="stem")(inputs)
    x = layers.Conv2D(12, 1, groups=2, activation="relu", name="a")(x)
    x = layers.Conv2D(18, 1, groups=6, activation="relu", name="b")(x)
    model = headed(inputs, x)
    plan = pruned(model, criterion="random", budget={"channels": 0.5})
    assert lost(plan, "a")[0] == 6 and lost(plan, "b")[0] % 6 == 0
