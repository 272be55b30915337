"""One constant channel carries those of others, exactly, at any border."""

import itertools
import types

import keras
import models
import numpy as np
import pytest
from helpers import images
from helpers import run
from keras import layers

from keras_nonconvex import pruning
from keras_nonconvex.pruning import carriers
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.removal.carrying import Cell

ODD = (9, 7)


def conv(filters, name, size=3, **options):
    options = {"padding": "same", **options}
    return layers.Conv2D(filters, size, name=name, **options)


def norm(x, name=None):
    return layers.ReLU()(layers.BatchNormalization(name=name)(x))


def head(x):
    return layers.Dense(2, name="out")(layers.Flatten()(x))


def finished(inputs, x, dead, seed=0):
    """The model; some filters are zero, and all constants are positive.

    Args:
        dead: {layer name: how many of its first filters are zero}.
    """
    model = models.randomize(keras.Model(inputs, x), seed)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.beta.assign(rng.uniform(1.5, 2.5, layer.beta.shape))
    for name, count in dead.items():
        kernel = model.get_layer(name).kernel
        kernel.assign(kernel * (np.arange(kernel.shape[-1]) >= count))
    return model


def difference(first, second, x):
    return max(
        np.abs(a - b).max() / np.abs(a).max()
        for a, b in zip(run(first, x), run(second, x), strict=True)
    )


def kept(plan):
    return {p.name: sum(p.keep) for p in plan.layers if p.keep}


def assert_exact(model, plan, sizes=(ODD,), original=True):
    """The small model is the masked one, and the original if it may be."""
    small, masked = plan.apply(model), plan.mask(model)
    for size in sizes:
        x = images(model, 3, sizes=size)
        assert difference(masked, small, x) <= 1e-5
        if original:
            assert difference(model, small, x) <= 1e-5
    assert small.count_params() == plan.after["params"]
    assert {la.name for la in small.layers} <= {la.name for la in model.layers}
    return small


def chain():
    inputs = keras.Input((*ODD, 3))
    x = norm(conv(6, "a", use_bias=False)(inputs), "bn")
    x = conv(4, "b")(x)
    return finished(inputs, head(x), {"a": 4}), {"a": 3}


def trunk():
    """Two readers, with other ratios each, of one sum."""
    inputs = keras.Input((*ODD, 3))
    x = layers.Add()([conv(6, "a")(inputs), conv(6, "s")(inputs)])
    ends = [
        conv(4, name, kernel)(norm(x)) for name, kernel in (("b", 3), ("c", 2))
    ]
    return (
        finished(inputs, head(layers.Add()(ends)), {"a": 4, "s": 4}),
        {"a": 3, "s": 3, "b": 4},
    )


def concatenation():
    """The cheaper one keeps the carrier."""
    inputs = keras.Input((*ODD, 3))
    x = [
        norm(conv(5, name, size)(inputs)) for name, size in (("a", 2), ("c", 3))
    ]
    x = conv(4, "b")(layers.Concatenate()(x))
    return finished(inputs, head(x), {"a": 3, "c": 2}), {"a": 3, "c": 3}


def pooled(pool):
    def make():
        inputs = keras.Input((*ODD, 3))
        x = pool(norm(conv(6, "a")(inputs)))
        return finished(inputs, head(conv(4, "b")(x)), {"a": 4}), {"a": 3}

    return make


def grouped():
    """Channel i of every group goes; each group has ratios of its own."""
    inputs = keras.Input((*ODD, 3))
    x = norm(conv(8, "a")(inputs))
    x = conv(4, "b", groups=2)(x)
    model = finished(inputs, head(x), {})
    kernel = model.get_layer("a").kernel
    kernel.assign(kernel * np.tile([0, 0, 0, 1], 2))
    return model, {"a": 4}


def one_reader_sees_zero():
    inputs = keras.Input((*ODD, 3))
    x = layers.BatchNormalization(name="bn")(conv(6, "a")(inputs))
    ends = [
        conv(4, "b")(layers.ReLU()(x)),
        conv(4, "c")(layers.ReLU(negative_slope=1.0)(x)),
    ]
    model = finished(inputs, head(layers.Add()(ends)), {"a": 4})
    model.get_layer("bn").beta.assign([-1.0, -2.0, -3.0, -2.5, 1.0, 1.0])
    model.get_layer("bn").moving_mean.assign(np.zeros(6))
    model.get_layer("a").bias.assign(np.zeros(6))
    return model, {"a": 3}


def one_reader_folds():
    inputs = keras.Input((*ODD, 3))
    x = norm(conv(6, "a")(inputs))
    ends = [conv(4, "b")(x), conv(4, "c", 1, use_bias=False)(x)]
    return (
        finished(inputs, head(layers.Add()(ends)), {"a": 4}),
        {"a": 3, "b": 4},
    )


def shared(ratio):
    def make():
        inputs = keras.Input((*ODD, 3))
        reader = conv(4, "b")
        x = [conv(5, name)(inputs) for name in "ac"]
        x = layers.Concatenate()([reader(t) for t in x])
        model = finished(inputs, head(x), {"a": 3, "c": 3})
        bias = np.array([0.5, -0.7, 0.9, 0.1, 0.2])
        model.get_layer("a").bias.assign(bias)
        model.get_layer("c").bias.assign(bias * ratio)
        alike = len(set(ratio[:3])) == 1
        return model, {"a": 3 if alike else 5}

    return make


def padded():
    """Zeros around a constant: no constant, and still a multiple of others."""
    inputs = keras.Input((*ODD, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(norm(conv(6, "a")(inputs)))
    x = conv(4, "b", strides=2, padding="valid")(x)
    return finished(inputs, head(x), {"a": 4}), {"a": 3}


def transposed():
    inputs = keras.Input((*ODD, 3))
    x = norm(conv(6, "a")(inputs))
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="b")(x)
    return finished(inputs, head(x), {"a": 4}), {"a": 3}


def equation():
    """Two new axes, and a bias along one of them."""
    inputs = keras.Input((6, 3))
    x = layers.Dense(5, activation="sigmoid", name="a")(inputs)
    x = layers.EinsumDense("abc,cde->abde", (6, 2, 4), bias_axes="e", name="b")(
        x
    )
    return finished(inputs, head(x), {"a": 3}), {"a": 3}


def sequence(reader):
    def make():
        inputs = keras.Input((6, 3))
        x = layers.Dense(5, activation="sigmoid", name="a")(inputs)
        x = reader(x)
        return finished(inputs, head(x), {"a": 3}), {"a": 3}

    return make


def in_time(x):
    convolution = layers.Conv1D(4, 2, padding="same")
    x = layers.Reshape((2, 3, 5))(x)
    return layers.TimeDistributed(convolution, name="b")(x)


def attend(x):
    return layers.MultiHeadAttention(2, 3, name="b")(x, x)


def excluded():
    """What has to stay serves: the dead of `a` all go."""
    inputs = keras.Input((*ODD, 3))
    x = [norm(conv(5, name)(inputs)) for name in "ac"]
    x = conv(4, "b")(layers.Concatenate()(x))
    return (
        finished(inputs, head(x), {"a": 3, "c": 2}),
        {"a": 2, "c": 5},
        {"exclude": "c"},
    )


def at_least():
    """A layer that keeps so many in any case has the carrier."""
    inputs = keras.Input((*ODD, 3))
    x = [norm(conv(n, name)(inputs)) for name, n in (("a", 6), ("c", 4))]
    x = conv(4, "b")(layers.Concatenate()(x))
    return (
        finished(inputs, head(x), {"a": 2, "c": 2}),
        {"a": 4, "c": 3},
        {"min_channels": 3},
    )


CARRIED = {
    "chain": chain,
    "trunk": trunk,
    "concatenation": concatenation,
    "max pooling": pooled(layers.MaxPooling2D(2, padding="same")),
    "average pooling": pooled(layers.AveragePooling2D(2, padding="same")),
    "upsampling": pooled(layers.UpSampling2D()),
    "groups": grouped,
    "one reader sees zero": one_reader_sees_zero,
    "one reader folds": one_reader_folds,
    "shared, alike": shared(np.full(5, 1.7)),
    "shared, not alike": shared(np.array([1.0, 2.0, 3.0, 1.0, 1.0])),
    "padded": padded,
    "transposed": transposed,
    "equation": equation,
    "recurrent": sequence(layers.GRU(4, name="b")),
    "both directions": sequence(layers.Bidirectional(layers.LSTM(4), name="b")),
    "in time": sequence(in_time),
    "attention": sequence(attend),
    "excluded": excluded,
    "at least": at_least,
}


@pytest.mark.parametrize("name", CARRIED)
def test_all_zero_filters_but_one_per_reader_go(name):
    model, expected, *options = CARRIED[name]()
    plan = pruning.plan(model, **(options[0] if options else {}))
    assert_exact(model, plan)
    found = kept(plan)
    assert {name: found[name] for name in expected} == expected


def test_the_plan_says_what_is_carried_where():
    model, _ = trunk()
    plan = pruning.plan(model)
    for name in "as":
        reason = next(p.reason for p in plan.layers if p.name == name)
        assert "3: zero filters" in reason
        assert "1: carries the constants of others into 'b', 'c'" in reason


def sending(*constants):
    """A model whose first filters send these, and two live ones."""
    inputs = keras.Input((*ODD, 3))
    x = conv(b := len(constants) + 2, "a")(inputs)
    model = finished(inputs, head(conv(4, "b")(x)), {"a": b - 2})
    model.get_layer("a").bias.assign([*constants, 0.1, 0.2])
    return model


def assert_carries(model, plan, constants, carrier):
    """Its part of the kernel is W_k + sum_i (c_i / c_k) W_i."""
    small = assert_exact(model, plan)
    old, new = (m.get_layer("b").kernel.numpy() for m in (model, small))
    sums = np.einsum("hwio,i->hwo", old[:, :, : len(constants)], constants)
    np.testing.assert_allclose(
        new[:, :, sum(plan.layers[0].keep[:carrier])],
        sums / constants[carrier],
        rtol=1e-4,
        atol=1e-6,
    )


def test_constants_of_either_sign_are_carried():
    constants = np.array([0.5, -0.7, 0.9, -0.6])
    model = sending(*constants)
    plan = pruning.plan(model)
    assert sum(plan.layers[0].keep) == 3
    assert_carries(model, plan, constants, plan.layers[0].keep.index(True))


def test_a_small_constant_does_not_carry_a_great_one():
    constants = np.array([1e-6, 1.0, -0.9, 1e-6])
    model = sending(*constants)
    plan = pruning.plan(model)
    assert sum(plan.layers[0].keep[1:3]) == sum(plan.layers[0].keep[:4]) == 1
    assert_carries(model, plan, constants, plan.layers[0].keep.index(True))


def test_of_those_that_stay_the_greatest_constant_carries():
    constants = np.array([0.3, 0.9, 0.4, -0.5])
    model = sending(*constants)
    plan = pruning.plan(model)
    plan.layers[0].keep[:4] = [True, True, False, False]
    small = plan.apply(model)
    kernels = [m.get_layer("b").kernel.numpy() for m in (model, small)]
    np.testing.assert_array_equal(*(k[:, :, 0] for k in kernels))
    assert np.abs(kernels[0][:, :, 1] - kernels[1][:, :, 1]).min() > 0
    assert difference(model, small, images(model)) <= 1e-5


def test_what_stays_takes_no_more_with_a_budget():
    model, _ = chain()
    plan = pruning.plan(model, "group_norm", {"macs": 0.6}, 1)
    assert sum(plan.layers[0].keep[:4]) == 1
    assert_exact(model, plan, original=False)


def vgg():
    """Conv - BN - ReLU with 'same' padding; half of all scales are zero."""
    x = inputs = keras.Input((8, 8, 3))
    for i, filters in enumerate((8, 8, 12, 12)):
        x = norm(conv(filters, f"conv{i}", use_bias=False)(x), f"bn{i}")
    model = finished(inputs, head(x), {})
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            n = layer.gamma.shape[0]
            scales = np.where(np.arange(n) % 2, np.linspace(0.5, 0.8, n), 0)
            layer.gamma.assign(scales)
    return model


def test_zero_scales_count_as_channels_and_go_before_small_ones():
    model = vgg()
    plan = pruning.plan(model, "bn_scale", {"channels": 0.5}, 1)
    assert plan.before["channels"] == 40
    assert plan.met and plan.after["channels"] >= 18
    for row in plan.layers[:-1]:
        if row.keep:
            # One carrier where another convolution follows.
            assert sum(row.keep[::2]) == (row.name != "conv3")
    assert_exact(model, plan, [(8, 8)], original=False)
    # Without a budget nothing else goes.
    found = kept(pruning.plan(model))
    assert found == {"conv0": 5, "conv1": 5, "conv2": 7, "conv3": 6, "out": 2}


@pytest.mark.parametrize("round_to", [1, 4])
def test_a_carrier_fills_a_multiple(round_to):
    inputs = keras.Input((*ODD, 3))
    x = [norm(conv(n, name)(inputs)) for name, n in (("a", 8), ("c", 8))]
    x = conv(4, "b")(layers.Concatenate()(x))
    model = finished(inputs, head(x), {"a": 4, "c": 5})
    plan = pruning.plan(model, round_to=round_to)
    # `c` has three live filters and place for one more, `a` four and none.
    assert kept(plan)["a"] + kept(plan)["c"] == 8
    assert round_to == 1 or kept(plan)["a"] == 4
    assert_exact(model, plan)


def test_dead_channels_fill_a_multiple_beside_live_ones():
    inputs = keras.Input((4,))
    x = layers.Dense(16, name="a")(inputs)
    x = layers.Dense(20)(layers.Dense(16, name="b")(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    kernel = model.get_layer("a").kernel
    kernel.assign(kernel * (np.arange(16) >= 4))

    def first_a(trace):
        return np.arange(len(trace), dtype=float)

    # Both lose 8, then `a` has place for all of its 12 live ones again.
    plan = pruning.plan(model, first_a, {"params": 450}, 8)
    assert kept(plan)["a"] == 16 and kept(plan)["b"] == 8
    assert plan.met


@pytest.mark.parametrize("on_constant", ["carry", "keep", "fold"])
def test_what_a_layer_reads_with_zeros_needs_no_carrier_there(on_constant):
    inputs = keras.Input((*ODD, 3))
    x = norm(conv(6, "a")(inputs))
    ends = [conv(4, "b")(x), conv(4, "c", 1)(x)]
    model = finished(inputs, head(layers.Add()(ends)), {"a": 4})
    kernel = model.get_layer("b").kernel
    kernel.assign(kernel * (np.arange(6) > 3)[:, None])
    plan = pruning.plan(model, on_constant=on_constant)
    assert kept(plan)["a"] == 2 and not plan.border_error
    assert_exact(model, plan)


@keras.saving.register_keras_serializable("test_carrying")
class Gated(layers.Layer):
    """(x W) * sigmoid(x V): no bias replaces a constant in x."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.gate = self.add_weight(shape=(shape[-1], 4), name="gate")

    def call(self, x):
        return (x @ self.kernel) * keras.ops.sigmoid(x @ self.gate)


@pytest.fixture
def gated_rule():
    @pruning.rule(Gated)
    class GatedRule(pruning.Rule):
        def channels(self, layer, inputs, walk):
            (x,) = inputs
            ids = walk.make(4)
            for weight in ("kernel", "gate"):
                walk.use(layer, weight, 0, x.ids, "input")
                walk.use(layer, weight, 1, ids, "filter")
            return ids

        def sums_channels(self, layer):
            return True

    yield
    del rules.REGISTRY[Gated]


def test_layers_of_ones_own_may_sum_channels(gated_rule):
    inputs = keras.Input((6, 3))
    x = layers.Dense(5, activation="sigmoid", name="a")(inputs)
    model = finished(inputs, head(Gated(name="b")(x)), {"a": 3})
    for name in ("kernel", "gate"):
        weight = getattr(model.get_layer("b"), name)
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    plan = pruning.plan(model, exclude="b")
    assert kept(plan)["a"] == 3
    assert_exact(model, plan)


def test_a_keep_list_without_a_carrier_is_refused():
    model, _ = chain()
    plan = pruning.plan(model)
    carrier = plan.layers[0].keep.index(True)
    plan.layers[0].keep[carrier] = False
    with pytest.raises(ValueError, match="no channel that could carry it"):
        plan.apply(model)
    # Any other one serves as well.
    plan.layers[0].keep[(carrier + 1) % 4] = True
    assert_exact(model, plan)


@pytest.mark.parametrize("on_constant", ["keep", "fold"])
def test_old_plans_do_what_they_say(on_constant):
    model, _ = chain()
    plan = pruning.plan(model, on_constant=on_constant)
    loaded = pruning.PruningPlan.from_json(plan.to_json())
    assert loaded.on_constant == on_constant
    small = loaded.apply(model)
    assert small.count_params() == plan.after["params"]
    assert sum(plan.layers[0].keep) == (6 if on_constant == "keep" else 2)


def test_small_models_lose_nothing_more():
    model, _ = trunk()
    small = pruning.plan(model).apply(model)
    assert all(all(p.keep) for p in pruning.plan(small).layers)


def test_free_sizes_are_carried():
    inputs = keras.Input((None, None, 3))
    x = norm(conv(6, "a")(inputs))
    x = layers.GlobalAveragePooling2D()(conv(4, "b", strides=2)(x))
    model = finished(inputs, layers.Dense(2)(x), {"a": 4})
    plan = pruning.plan(model)
    assert kept(plan)["a"] == 3
    assert_exact(model, plan, [(9, 7), (16, 16), (21, 12)])


def test_behind_a_depthwise_convolution_borders_differ():
    inputs = keras.Input((*ODD, 3))
    x = norm(conv(6, "a")(inputs))
    x = layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
    model = finished(inputs, head(conv(4, "b", 1)(x)), {"a": 4})
    plan = pruning.plan(model)
    assert kept(plan)["a"] == 6
    assert_exact(model, plan)
    folded = pruning.plan(model, on_constant="fold")
    assert kept(folded)["a"] == 2 and folded.border_error


def test_each_cell_has_a_carrier_and_none_is_there_for_nothing():
    n, rng = 9, np.random.default_rng(0)
    selection = types.SimpleNamespace(
        trace=range(n),
        movable=np.arange(n) > 0,
        staying=lambda roots: np.arange(n) == 1,
    )
    for _ in range(50):
        drawn = [np.flatnonzero(rng.random(n) < 0.4) for _ in range(6)]
        cells = [Cell("b", roots, roots) for roots in drawn if len(roots)]
        prices = rng.random(n)
        found = carriers.choose(cells, selection, prices)
        # Class 0 stays, class 1 costs nothing.
        needing = [set(c.carriers) for c in cells if 0 not in c.carriers]
        assert all(set(found) & roots for roots in needing)
        assert 0 not in found
        others = [roots for roots in needing if 1 not in roots]
        least = next(
            k
            for k in range(n)
            for some in itertools.combinations(range(2, n), k)
            if all(set(some) & roots for roots in others)
        )
        assert len(set(found) - {1}) <= least + 1
