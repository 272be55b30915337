"""`repair`: least squares, and a small model that gives what the dense gave."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting.least_squares import Moments
from keras_nonconvex.pruning.refitting.least_squares import Samples

RNG = np.random.default_rng


def randomized(model, seed=0):
    rng = RNG(seed)
    for weight in model.weights:
        values = rng.normal(size=weight.shape) * 0.5
        if "variance" in weight.name or "gamma" in weight.name:
            values = np.abs(values) + 0.5
        weight.assign(values)
    return model


# Layers as linear maps.

LAYERS = {
    "dense": (layers.Dense(4), (5,)),
    "dense of a sequence": (layers.Dense(4), (6, 5)),
    "conv1d": (layers.Conv1D(4, 3), (9, 6)),
    "causal": (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (9, 6)),
    "conv2d": (layers.Conv2D(4, (3, 2), padding="same"), (7, 6, 5)),
    "strides": (layers.Conv2D(4, 3, (2, 3), padding="same"), (8, 7, 5)),
    "dilation": (layers.Conv2D(4, 3, dilation_rate=(2, 1)), (8, 7, 5)),
    "groups": (layers.Conv2D(6, 3, groups=3, padding="same"), (6, 6, 6)),
    "conv3d": (layers.Conv3D(3, 2, padding="same"), (4, 5, 3, 2)),
    "depthwise1d": (layers.DepthwiseConv1D(3, depth_multiplier=2), (8, 3)),
    "depthwise2d": (
        layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2),
        (7, 8, 3),
    ),
    "separable1d": (layers.SeparableConv1D(4, 3, padding="same"), (7, 3)),
    "separable2d": (
        layers.SeparableConv2D(4, 3, strides=2, depth_multiplier=2),
        (9, 8, 3),
    ),
    "transposed1d": (layers.Conv1DTranspose(4, 3, 2), (5, 3)),
    "transposed2d": (
        layers.Conv2DTranspose(4, (3, 4), (2, 3), padding="same"),
        (5, 4, 3),
    ),
    "transposed2d, strides above the kernel": (
        layers.Conv2DTranspose(4, 2, 3, padding="same"),
        (3, 4, 3),
    ),
    "transposed3d": (layers.Conv3DTranspose(2, 3, 2), (3, 2, 3, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_matrix_is_what_the_layer_gives(name):
    layer, shape = LAYERS[name]
    x = RNG(0).normal(size=(2, *shape)).astype("float32")
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(RNG(1).normal(size=weight.shape))
    y = keras.ops.convert_to_numpy(layer(x))
    reader = patches.find(layer)
    picked = np.array(list(np.ndindex(*y.shape[1:-1])))[None]
    rows = reader.rows(x, np.repeat(picked, 2, axis=0))
    found = np.moveaxis(rows @ reader.old, 0, 1).reshape(y.shape)
    bias = keras.ops.convert_to_numpy(layer.bias)
    np.testing.assert_allclose(found + bias, y, rtol=1e-4, atol=1e-4)
    kernel = keras.ops.convert_to_numpy(reader.kernel)
    np.testing.assert_array_equal(reader.unfolded(reader.old), kernel)


# Least squares.


def problem(rows, features, groups=2, outputs=3):
    rng = RNG(rows)
    x = rng.normal(size=(groups, rows, features)) + 1.0
    y = rng.normal(size=(groups, rows, outputs))
    return x, y, rng.normal(size=(groups, features + 1, outputs))


@pytest.mark.parametrize("kind", [Moments, Samples])
@pytest.mark.parametrize("rows, features", [(40, 6), (6, 40)])
@pytest.mark.parametrize("strength", [1e-3, 10.0])
def test_ridge_is_the_stacked_least_squares_problem(
    kind, rows, features, strength
):
    x, y, toward = problem(rows, features)
    sums = kind()
    sums.add(x[:, : rows // 2], y[:, : rows // 2])
    sums.add(x[:, rows // 2 :], y[:, rows // 2 :])
    found = sums.ridge(toward, strength)
    for g in range(len(x)):
        norms = np.square(x[g]).sum(axis=0)
        root = np.sqrt(strength * norms.mean())
        ones = np.ones((rows, 1))
        stacked = np.block(
            [
                [x[g], ones],
                [root * np.eye(features), np.zeros((features, 1))],
            ]
        )
        targets = np.concatenate([y[g], root * toward[g, :-1]])
        right = np.linalg.lstsq(stacked, targets, rcond=None)[0]
        np.testing.assert_allclose(found[g], right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Moments, Samples])
def test_sums_of_squares_are_those_of_the_rows(kind):
    x, y, weights = problem(30, 5)
    sums = kind()
    sums.add(x, y)
    out = x @ weights[:, :-1] + weights[:, -1:]
    spread = y - y.mean(axis=1, keepdims=True)
    for found, right in (
        (sums.error(weights), np.square(out - y).sum(axis=1)),
        (sums.variation(), np.square(spread).sum(axis=1)),
        (sums.outputs(weights)[0], out.mean(axis=1)),
        (sums.outputs(weights)[1], out.var(axis=1)),
    ):
        np.testing.assert_allclose(found, right, rtol=1e-5)


# Models.


def net(norm=True, activation="relu", data_format="channels_last"):
    """A residual network, with a nested and a shared part."""
    options = {"padding": "same", "data_format": data_format}
    axis = -1 if data_format == "channels_last" else 1
    shape = (8, 8, 3) if data_format == "channels_last" else (3, 8, 8)

    def block(x, filters, name):
        x = layers.Conv2D(filters, 3, name=name, **options)(x)
        if norm:
            x = layers.BatchNormalization(axis, name=f"{name}_norm")(x)
        return layers.Activation(activation)(x)

    inputs = keras.Input(shape)
    x = block(inputs, 8, "first")
    y = block(x, 8, "second")
    y = layers.Conv2D(8, 3, name="third", **options)(y)
    x = layers.ReLU()(layers.Add(name="sum")([x, layers.Dropout(0.5)(y)]))
    inner = keras.Input(x.shape[1:])
    inside = keras.Model(inner, block(inner, 6, "inside"), name="nested")
    x = inside(x)
    shared = layers.Conv2D(6, 1, name="shared", **options)
    x = shared(layers.ReLU()(shared(x)))
    x = layers.GlobalAveragePooling2D(data_format=data_format)(x)
    return randomized(
        keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")
    )


def duplicated(model, name):
    """Makes the second half of a layer's filters copies of the first."""
    layer = model.get_layer(name)
    for weight in layer.weights:
        values = np.array(weight)
        half = values.shape[-1] // 2
        values[..., half:] = values[..., :half]
        weight.assign(values)


def images(count=400, shape=(8, 8, 3)):
    return RNG(5).normal(size=(count, *shape)).astype("float32")


def test_what_copies_did_their_readers_learn_to_do_without():
    """Filters that are copies of others go, and nothing is lost."""
    model = net()
    for name in ("second", "second_norm"):
        duplicated(model, name)
    plan = knc.pruning.plan(
        model, "group_norm", {"channels": {"second": 1.0}}, round_to=1
    )
    (row,) = [row for row in plan.layers if row.name == "second"]
    row.keep[4:] = [False] * 4
    x = images()
    before = model.get_weights()
    small = plan.apply(model)
    repaired, report = knc.repair(small, plan, model, x, verbose=False)
    right = model.predict(x, verbose=0)
    scale = np.abs(right).max()
    assert np.abs(small.predict(x, verbose=0) - right).max() > 0.05 * scale
    assert np.abs(repaired.predict(x, verbose=0) - right).max() < 1e-3 * scale
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    (third,) = [entry for entry in report if entry.name == "third"]
    assert third.before < 0.9 < 0.9999 < third.after


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_pruned_model_comes_nearer_to_the_dense_one(norm, data_format):
    model = net(norm, data_format=data_format)
    x = images(shape=model.input_shape[1:])
    plan = knc.pruning.plan(model, budget={"macs": 0.6}, round_to=1)
    small = plan.apply(model)
    repaired, report = knc.repair(small, plan, model, x, verbose=False)
    new = RNG(9).normal(size=(200, *x.shape[1:])).astype("float32")
    right, before, after = (
        m.predict(new, verbose=0) for m in (model, small, repaired)
    )
    assert (
        np.square(after - right).mean() < 0.5 * np.square(before - right).mean()
    )
    named = {entry.name for entry in report}
    assert {"first", "second", "third", "nested/inside", "shared"} <= named
    assert all(entry.after >= entry.before for entry in report)
    assert "nested/inside" in str(report)
    # Training mode agrees with inference, up to what few samples tell.
    if norm:
        drift = np.abs(
            np.array(repaired(x, training=False))
            - np.array(_without_dropout(repaired)(x, training=True))
        ).max()
        assert drift < 0.2 * np.abs(right).max()


def _without_dropout(model):
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    return model


def test_nothing_to_repair_changes_nothing():
    model = net()
    plan = knc.pruning.plan(model)
    x = images(200)
    repaired, report = knc.repair(plan.apply(model), plan, model, x)
    np.testing.assert_allclose(
        repaired.predict(x, verbose=0),
        model.predict(x, verbose=0),
        rtol=1e-2,
        atol=1e-3,
    )
    assert all(entry.before > 1 - 1e-5 for entry in report)


def test_two_plans_make_one():
    model = net()
    first = knc.pruning.plan(model, budget={"macs": 0.8}, round_to=1)
    small = first.apply(model)
    second = knc.pruning.plan(small, budget={"macs": 0.7}, round_to=1)
    both = first.then(second)
    for one, two in zip(first.layers, both.layers, strict=True):
        gone = one.keep.count(False)
        assert two.reason.startswith(f"{gone}: in earlier steps") == (gone > 0)
    found, right = both.apply(model), second.apply(small)
    for a, b in zip(found.weights, right.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert both.before == first.before and both.after == second.after
    assert found.count_params() == both.after["params"]
    with pytest.raises(ValueError, match="`later` must be a plan for the"):
        second.then(first)


def test_prune_and_iterative_repair():
    model = net()
    x = images(300)
    y = np.zeros(len(x), int)
    right = model.predict(x, verbose=0)

    def error(small):
        return np.square(small.predict(x, verbose=0) - right).mean()

    budget = {"macs": 0.5}
    cut = knc.prune(model, budget=budget, round_to=1)
    once = knc.prune(model, budget=budget, round_to=1, repair=x)
    steps, plans = knc.pruning.iterative(
        model,
        (x, y),
        steps=2,
        budget=budget,
        round_to=1,
        epochs=0,
        repair=True,
        verbose=False,
    )
    assert error(once) < 0.5 * error(cut)
    assert error(steps) < 0.5 * error(cut)
    assert plans[0].then(plans[1]).met
    assert steps.count_params() == plans[1].after["params"]


def test_subclassed_models_and_data_sets():
    """The dense model is unfolded; its samples come from anywhere."""

    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(8, 3, padding="same")
            self.norm = layers.BatchNormalization()

        def call(self, x):
            return keras.ops.relu(self.norm(self.conv(x)))

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [Block(), Block()]
            self.head = layers.Dense(3)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(keras.ops.mean(x, axis=(1, 2)))

    model, x = Net(), images(200)
    model(x[:1])
    randomized(model)
    right = model.predict(x, verbose=0)
    cut = knc.prune(model, budget={"macs": 0.6}, round_to=1)
    batches = [x[i : i + 50] for i in range(0, len(x), 50)]
    repaired = knc.prune(
        model, budget={"macs": 0.6}, round_to=1, repair=lambda: iter(batches)
    )
    before, after = (
        np.square(m.predict(x, verbose=0) - right).mean()
        for m in (cut, repaired)
    )
    assert after < 0.5 * before
