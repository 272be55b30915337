"""`strength_max` against closed forms; `strength_path` on real images."""

import csv

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc


def linear_model(reg, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 8)).astype("float32")
    w = rng.normal(size=(8, 3))
    y = (x @ w + rng.normal(size=(60, 3))).astype("float32")
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    outputs = layers.Dense(3, use_bias=False, kernel_regularizer=reg)(inputs)
    model = knc.ProximalModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.02), "mse")
    # The loss is the mean over samples and outputs.
    return model, x, y, 2.0 * x.T @ y / (60 * 3)


CASES = {
    "l1": (
        lambda s: knc.Elementwise(knc.penalties.L1(), s),
        lambda g: np.abs(g).max(),
    ),
    "tl1": (
        lambda s: knc.Elementwise(knc.penalties.TransformedL1(0.5), s),
        lambda g: np.abs(g).max() / 3.0,
    ),
    "group_lasso": (
        lambda s: knc.GroupLasso(s),
        lambda g: np.linalg.norm(g, axis=0).max() / np.sqrt(8),
    ),
    "l0": (
        # sqrt(2 step strength) = step |gradient|
        lambda s: knc.Elementwise(knc.penalties.L0(), s),
        lambda g: 0.02 * np.square(g).max() / 2.0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_strength_max_is_the_textbook_one(name):
    make, exact = CASES[name]
    model, x, y, gradient = linear_model(make(0.37))
    before = [w.copy() for w in model.get_weights()]
    found = knc.strength_max(model, x, y, batch_size=17)
    assert found == pytest.approx(exact(gradient), rel=1e-5)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # And training agrees.
    for factor, dead in ((1.02, True), (0.9, False)):
        model, x, y, _ = linear_model(make(found * factor))
        model.layers[-1].kernel.assign(np.zeros((8, 3)))
        # 100 steps on all samples, in one epoch: epochs cost more than steps.
        steps = np.tile(x, (100, 1)), np.tile(y, (100, 1))
        model.fit(*steps, batch_size=60, shuffle=False, verbose=0)
        assert (not model.get_weights()[0].any()) == dead


def test_strength_max_of_a_deep_net_kills_it(digits):
    def net(strength):
        keras.utils.set_random_seed(0)
        inputs = keras.Input(digits.input_shape)
        x = layers.Flatten()(inputs)
        x = layers.Dense(20, "relu", kernel_regularizer=knc.GroupLasso(1.0))(x)
        x = layers.Dense(
            10, "softmax", kernel_regularizer=knc.GroupLasso(strength)
        )(x)
        model = knc.ProximalModel(inputs, x)
        model.layers[2].kernel.regularizer = knc.GroupLasso(strength)
        model.compile(
            keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy"
        )
        return model

    model = net(1e-3)
    each = knc.strength_max(
        model, digits.x_train, digits.y_train, per_weight=True
    )
    found = max(each.values())
    assert len(each) == 2 and min(each.values()) > 0
    zeros = []
    for strength in (found, found / 100):
        model = net(strength)
        model.fit(digits.x_train, digits.y_train, epochs=12, verbose=0)
        zeros.append(knc.summary(model).zero_filters)
    assert zeros[0] == 30 and zeros[1] < 10


@pytest.mark.parametrize("k", [2, 1.5])
@pytest.mark.parametrize("debiased", [False, True])
def test_from_the_strength_of_an_envelope_on_its_groups_stay_alone(k, debiased):
    """At a stationary point of k groups the zero ones stay so, just."""
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype("float32")
    w0 = rng.normal(size=(8, 5)) * [3.0, 2.5, 0.6, 0.5, 0.4]
    y = (x @ w0).astype("float32")

    def model_at(strength):
        reg = knc.GroupSparseEnvelope(k, strength, debiased=debiased)
        inputs = keras.Input((8,))
        dense = layers.Dense(5, use_bias=False, kernel_regularizer=reg)
        model = knc.ProximalModel(inputs, dense(inputs))
        model.compile(keras.optimizers.SGD(0.5), "mse")
        # Of the loss with two groups alone and without the penalty's pull.
        dense.kernel.assign(w0)
        return model, dense, reg

    model, dense, reg = model_at(1.0)
    found = knc.strength_max(model, x, y)
    np.testing.assert_array_equal(dense.kernel, w0.astype("float32"))
    alone = w0 * (np.arange(5) < 2)
    # The loss is ||x w - y||^2 / 40.
    gradient = (alone - w0) / 20.0
    norms = np.linalg.norm(w0, axis=0)
    small, large = sorted(norms[:2])
    # With k = 1.5 either both have the same share of tau, or u = 1 and 1/2.
    shared = (small + large) / 1.5
    tau = small if k == 2 else shared if shared > large else small / 0.5
    expected = np.linalg.norm(gradient, axis=0).max() / tau
    assert found == pytest.approx(expected, rel=1e-4)
    # A small step of the prox there keeps the zeros, or does not.
    for factor, dies in ((1.05, True), (0.95, False)):
        reg = model_at(factor * found)[2]
        step = 1e-3
        new = reg.proximal(alone - step * gradient, step)
        zero = ~keras.ops.convert_to_numpy(new).any(axis=0)
        assert zero[2:].all() == dies


def test_strength_max_knows_coupled_groups():
    def model(coupled):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        x = layers.Dense(6, activation="relu")(inputs)
        model = knc.ProximalModel(inputs, layers.Dense(2)(x))
        model.compile(keras.optimizers.SGD(0.1), "mse", coupled=coupled(model))
        return model

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 4)), rng.normal(size=(32, 2))
    made = model(lambda m: knc.CoupledEnvelope(m, 2, 1.0))
    weights = made.get_weights()
    each = knc.strength_max(made, x, y, per_weight=True)
    assert list(each) == ["coupled"] and 0.0 < each["coupled"] < np.inf
    for before, after in zip(weights, made.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    lasso = model(lambda m: knc.CoupledGroups(m, knc.penalties.L1(), 1.0))
    assert 0.0 < knc.strength_max(lasso, x, y) < np.inf


def test_strength_max_says_what_it_needs():
    model, x, y, _ = linear_model(None)
    with pytest.raises(ValueError, match="no weight with a penalty"):
        knc.strength_max(model, x, y)
    with pytest.raises(ValueError, match="must be a compiled"):
        knc.strength_max(keras.Model(model.inputs, model.outputs), x, y)


def test_strength_path_writes_the_curve_and_resumes(digits, tmp_path):
    def net():
        keras.utils.set_random_seed(0)
        inputs = keras.Input(digits.input_shape)
        reg = knc.SparseGroupTL1(1e-3)
        x = layers.Conv2D(8, 3, activation="relu", kernel_regularizer=reg)(
            inputs
        )
        x = layers.Flatten()(layers.MaxPooling2D(4)(x))
        model = knc.ProximalModel(inputs, layers.Dense(10, "softmax")(x))
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    options = {
        "validation_data": (digits.x_test, digits.y_test),
        "epochs": 4,
        "verbose": 0,
        "shuffle": False,
    }
    train = digits.x_train, digits.y_train
    path = knc.strength_path(
        net(), *train, multipliers=(0, 1, 30), out=tmp_path, **options
    )
    assert [point["multiplier"] for point in path] == [0, 1, 30]
    assert path[0]["zero_weights"] == 0 and path[0]["macs_left"] == 1
    assert path[-1]["zero_weights"] > path[1]["zero_weights"] > 0
    assert path[0]["accuracy"] > 0.5
    with open(tmp_path / "curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == [
        point["accuracy"] for point in path
    ]
    assert (tmp_path / "curve.png").stat().st_size > 5000
    # Interrupted after two points, it goes on to the same end.
    (tmp_path / "02.weights.h5").unlink()
    again = knc.strength_path(
        net(), *train, multipliers=(0, 1, 30), out=tmp_path, **options
    )
    assert again == path


def test_strength_max_counts_the_weights_of_losses():
    def net(weight):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8,))
        reg = knc.GroupLasso(1.0)
        heads = [
            layers.Dense(2, use_bias=False, kernel_regularizer=reg)(inputs)
            for _ in range(2)
        ]
        model = knc.ProximalModel(inputs, heads)
        model.compile("sgd", ["mse", "mse"], loss_weights=[1.0, weight])
        return model

    x = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
    y = [x[:, :2], x[:, 2:4]]
    once = knc.strength_max(net(1.0), x, y, per_weight=True)
    tenfold = knc.strength_max(net(10.0), x, y, per_weight=True)
    ratios = [
        t / o for t, o in zip(tenfold.values(), once.values(), strict=True)
    ]
    np.testing.assert_allclose(ratios, [1.0, 10.0], rtol=1e-4)


def test_strength_path_refuses_the_folder_of_another(tmp_path):
    model, x, y, _ = linear_model(knc.GroupLasso(1e-3))
    options = {"multipliers": (1, 1), "epochs": 1, "out": tmp_path}
    path = knc.strength_path(model, x, y, verbose=0, **options)
    assert len(path) == 2 and len(list(tmp_path.glob("*.h5"))) == 2
    assert keras.ops.convert_to_numpy(model.solver_state.strength) == 1
    other, *_ = linear_model(knc.GroupLasso(1e-2))
    with pytest.raises(ValueError, match="a path of another model"):
        knc.strength_path(other, x, y, verbose=0, **options)
    schedule = knc.callbacks.StrengthSchedule()
    with pytest.raises(ValueError, match="sets the strength itself"):
        knc.strength_path(model, x, y, callbacks=[schedule])


def test_an_interrupted_path_leaves_the_strengths_as_they_were():
    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    model, x, y, _ = linear_model(knc.GroupLasso(1e-3))
    stop = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    with pytest.raises(KeyboardInterrupt):
        knc.strength_path(
            model, x, y, multipliers=(7,), verbose=0, callbacks=[stop]
        )
    assert keras.ops.convert_to_numpy(model.solver_state.strength) == 1
