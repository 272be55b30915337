"""`repair`: least squares, and a small model that gives what the dense gave."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import graph
from keras_nonconvex.pruning.refitting import fitting
from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting import repairing
from keras_nonconvex.pruning.refitting import units
from keras_nonconvex.pruning.refitting.least_squares import Rows
from keras_nonconvex_main import cli

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
    "einsum": (layers.EinsumDense("...x,xy->...y", 4, bias_axes="y"), (6, 5)),
    "einsum to heads": (
        layers.EinsumDense("abc,cde->adbe", (2, 6, 3), bias_axes="de"),
        (6, 4),
    ),
    "einsum of heads": (
        layers.EinsumDense("abcd,cdef->abfce", (6, 3, 2, 5), bias_axes="fce"),
        (6, 2, 4),
    ),
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
    turned = keras.ops.convert_to_numpy(reader.made(y))
    picked = np.array(list(np.ndindex(*turned.shape[1:-1])))[None]
    rows = reader.rows(
        reader.given(keras.ops.convert_to_tensor(x)),
        keras.ops.convert_to_tensor(np.repeat(picked, 2, axis=0), "int32"),
    )
    rows = keras.ops.convert_to_numpy(rows)
    found = np.moveaxis(rows @ reader.old[:, None], 0, 2)
    found = found.reshape(turned.shape) + reader.bias
    np.testing.assert_allclose(found, turned, rtol=1e-4, atol=1e-4)
    weights = [np.array(reader.kernel), np.array(layer.bias)]
    reader.kernel.assign(reader.unfolded(reader.old))
    reader.set_bias(reader.bias)
    for before, after in zip(weights, (reader.kernel, layer.bias), strict=True):
        np.testing.assert_array_equal(after, before)


# Least squares.


def problem(rows, features, groups=2, outputs=3):
    rng = RNG(rows)
    x = rng.normal(size=(groups, rows, features)) + 1.0
    y = rng.normal(size=(groups, rows, outputs))
    return x, y, rng.normal(size=(groups, features + 1, outputs))


@pytest.mark.parametrize("rows, features", [(40, 6), (6, 40)])
@pytest.mark.parametrize("strength", [1e-3, 10.0])
def test_ridge_is_the_stacked_least_squares_problem(rows, features, strength):
    x, y, toward = problem(rows, features)
    found = Rows(x, y).fitted(toward, strength)
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


def test_what_a_relu_cuts_off_does_not_count():
    """The minimum of a convex error: no step in any direction is better."""
    rng = RNG(1)
    x, y, toward = problem(300, 6)
    others = rng.normal(size=y.shape)
    rows = Rows(x, y, others, low=0.0, high=1.0)

    def objective(weights):
        p = x @ weights[:, :-1] + weights[:, -1:] + others
        below, above = np.maximum(p, 0) ** 2, np.minimum(p - 1, 0) ** 2
        error = np.where(y <= 0, below, np.where(y >= 1, above, (p - y) ** 2))
        mu = 1e-2 * np.square(x).sum((1, 2), keepdims=True) / 6
        pull = mu * np.square(weights - toward)[:, :-1]
        return error.sum() + pull.sum()

    found = rows.fitted(toward, 1e-2, rounds=200)
    least = objective(found)
    assert least < 0.98 * objective(Rows(x, y - others).fitted(toward, 1e-2))
    for _ in range(20):
        step = 1e-3 * rng.normal(size=found.shape)
        assert objective(found + step) > least
    few = objective(rows.fitted(toward, 1e-2))
    assert few < least + 0.02 * abs(least)
    p = np.clip(rows.predicted(found), 0, 1)
    right = np.square(p - np.clip(y, 0, 1)).sum()
    np.testing.assert_allclose(rows.error(found), right, rtol=1e-6)
    spread = np.clip(y, 0, 1) - np.clip(y, 0, 1).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        rows.variation(), np.square(spread).sum(), rtol=1e-6
    )


# Models.


def net(norm=True, activation="relu", data_format="channels_last"):
    """A residual network, with a nested and a shared part."""
    options = {"padding": "same", "data_format": data_format}
    axis = -1 if data_format == "channels_last" else 1
    # Eager TensorFlow adds a bias to the columns where these are as many as
    # the filters, with channels first (Keras 3.15): more columns than filters.
    shape = (5, 10, 3) if data_format == "channels_last" else (3, 5, 10)

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


def images(count=400, shape=(5, 10, 3)):
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
        assert drift < 0.25 * np.abs(right).max()


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
    again = knc.pruning.PruningPlan.from_json(both.to_json())
    assert again.to_json() == both.to_json()
    with pytest.raises(ValueError, match="`later` must be a plan for the"):
        second.then(first)


def kinds():
    """Every kind of layer that is refitted, each before an output of its own.

    The inputs are of four ranks, and the last one joins last.
    """
    relu = keras.activations.relu
    image = keras.Input((None, None, 4), name="image")
    row = keras.Input((9, 4), name="row")
    volume = keras.Input((4, 5, 4, 2), name="volume")
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = layers.RandomFlip()(x)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization()(y)
    outputs = [
        layers.Conv2D(6, 3, 2, "same", groups=2)(x),
        layers.Conv2D(3, 3, dilation_rate=2, dtype="mixed_float16")(x),
        layers.Conv2DTranspose(3, 3, 2, "same", use_bias=False)(x),
        layers.SeparableConv2D(5, 3, activation="relu")(x),
        layers.ReLU(6.0)(y),
        # Behind no kernel, so on its own.
        layers.BatchNormalization()(layers.MaxPooling2D()(x)),
        keras.ops.add(layers.Dense(3)(x), 1.0),
        layers.Conv1D(3, 3, padding="causal", use_bias=False)(row),
        layers.EinsumDense("abc,cde->adbe", (2, 9, 3), bias_axes="de")(row),
        layers.EinsumDense("...x,xy->...y", 3)(row),
        layers.Conv3D(3, 2, activation=relu)(volume),
        layers.Conv3DTranspose(2, 2, 2)(volume),
    ]
    words = layers.Embedding(7, 5, mask_zero=True)(tokens)
    words = layers.LSTM(4)(layers.Dense(5)(words))
    outputs.append(layers.Dense(3)(words))
    return keras.Model([tokens, volume, row, image], outputs)


def test_wrong_weights_of_any_layer_are_set_right():
    dense = randomized(kinds())
    plan = knc.pruning.plan(dense)
    small = plan.apply(dense)
    rng = RNG(4)
    for layer in small.layers:
        known = patches.find(layer)
        for weight in (known.kernel, *layer.weights[1:2]) if known else ():
            noise = rng.normal(size=weight.shape, scale=0.3)
            weight.assign(np.array(weight) + noise)
    x = {
        "image": 255 * rng.random((120, 7, 8, 4), "float32"),
        "row": rng.normal(size=(120, 9, 4)),
        "volume": rng.normal(size=(120, 4, 5, 4, 2)),
        "tokens": rng.integers(0, 7, (120, 6)),
    }
    repaired, report = knc.repair(
        small, plan, dense, x, ridge=1e-9, batch_size=50, verbose=False
    )
    right, before, after = (
        m.predict(x, verbose=0) for m in (dense, small, repaired)
    )
    for good, bad, found in zip(right, before, after, strict=True):
        scale = np.abs(good).max()
        assert np.abs(bad - good).max() > 0.02 * scale
        few = 0.01 if good.dtype == np.float16 else 1e-3
        assert np.abs(found - good).max() < few * scale
    kept = {entry.name: entry.kept for entry in report if entry.kept}
    assert {text.split(" is")[0] for text in kept.values()} == {
        "a LSTM",
        "a Embedding",
    }


def test_a_model_that_insists_on_its_batches():
    inputs = keras.Input((5,), batch_size=8)
    x = keras.ops.reshape(layers.Dense(6, "relu")(inputs), (8, 3, 2))
    dense = keras.Model(inputs, layers.Dense(2)(x))
    plan = knc.pruning.plan(dense)
    small = plan.apply(dense)
    small.layers[-1].kernel.assign(np.ones((2, 2)))
    x = RNG(0).normal(size=(53, 5)).astype("float32")
    repaired, _ = knc.repair(small, plan, dense, x, ridge=1e-9)
    right, found = (m(x[:8], training=False) for m in (dense, repaired))
    np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3)


def test_too_little_memory_takes_longer_and_gives_the_same(monkeypatch):
    model, x = net(), images(200)
    plan = knc.pruning.plan(model, budget={"macs": 0.6}, round_to=1)

    def repaired():
        small, _ = knc.repair(
            plan.apply(model), plan, model, x, positions=2, verbose=False
        )
        return small.predict(x, verbose=0)

    right = repaired()
    # Nothing is remembered, and the targets come layer by layer.
    monkeypatch.setattr(repairing, "_REMEMBERED", 0)
    monkeypatch.setattr(repairing, "_TARGETS", 0)
    np.testing.assert_allclose(repaired(), right, rtol=1e-3, atol=1e-3)
    (unit, *_) = [u for u in _units(model) if u.name == "first"]
    each = 4 * 200 * 27
    for memory, positions in ((0, 1), (5 * each, 5), (99 * each, 16)):
        fit = fitting.Fit(unit, None, 200, 16, memory)
        assert fit.positions == positions


def _units(model):
    flat = graph.flattened(model)
    calls = units.Calls(flat.calls, flat.outputs)
    return units.find(calls, calls)[0]


@pytest.mark.parametrize(
    "function, low, high",
    [
        (keras.activations.relu, 0.0, np.inf),
        (layers.ReLU(6.0, dtype="mixed_float16"), 0.0, 6.0),
        (lambda x: keras.ops.clip(x, -1.0, 1.0), -1.0, 1.0),
        (keras.activations.linear, -np.inf, np.inf),
        (keras.activations.leaky_relu, -np.inf, np.inf),
        (keras.activations.softmax, -np.inf, np.inf),
        (layers.GlobalAveragePooling2D(), -np.inf, np.inf),
    ],
)
def test_where_an_activation_cuts_off(function, low, high):
    assert units._bounds(function) == (low, high)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda m, s, p, x: (m, p, s, x), "The plan was made for another"),
        (lambda m, s, p, x: (m, p, m, x), "`small` must be what `plan` leaves"),
        (lambda m, s, p, x: (s, p, m, x[:, :3]), "`x` must be inputs of shape"),
        (lambda m, s, p, x: (s, p, m, x[:19]), "at least 20 samples"),
    ],
)
def test_repair_says_what_is_wrong(wrong, message):
    model = net(norm=False)
    plan = knc.pruning.plan(model, budget={"macs": 0.6}, round_to=1)
    small = plan.apply(model)
    with pytest.raises(ValueError, match=message):
        knc.repair(*wrong(model, small, plan, images(20)), verbose=False)


def test_a_report_of_many_layers_is_short():
    report = knc.pruning.refitting.reporting.Report(
        knc.pruning.Refit(f"a_model/with_a_long_name/block_{i}", i / 99, 0.9)
        for i in range(90)
    )
    report += [knc.pruning.Refit(f"lstm{i}", kept="as it is") for i in range(9)]
    lines = str(report).splitlines()
    assert len(lines) < 24 and max(map(len, lines)) <= 80
    assert "block_0" in str(report) and "78 more" in str(report)
    assert "block_50" not in str(report)


def test_the_command_line_repairs(tmp_path, capsys):
    model, x = net(), RNG(5).random((100, 5, 10, 3), "float32")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    right = model.predict(x, verbose=0)
    errors = []
    for extra in ([], ["--repair", str(tmp_path / "x.npy")]):
        out = tmp_path / f"small{len(extra)}.keras"
        code = cli.main(
            ["prune", str(tmp_path / "model.keras"), str(out), "--macs", "60%"]
            + ["--round-to", "1", *extra]
        )
        assert code == 0
        small = keras.saving.load_model(out)
        found = small.predict(x, verbose=0)
        errors.append(np.square(found - right).mean())
    assert errors[1] < 0.5 * errors[0]
    assert "layers refitted" in capsys.readouterr().out


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
