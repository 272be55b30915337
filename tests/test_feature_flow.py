"""The penalty of a feature's path against its formula."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc

LENGTH, CURVATURE = 0.3, 0.05
SHAPES = [(4,), (4,), (4,), (3,), (3,), (4,)]


def network():
    """Dense layers; all but the last are points, in paths of 3, 2 and 1."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((5,))
    for i, (units,) in enumerate(SHAPES):
        x = layers.Dense(units, activation="tanh", name=f"point{i}")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def features(model, x):
    outputs = [model.get_layer(f"point{i}").output for i in range(len(SHAPES))]
    return keras.Model(model.input, outputs).predict(x, verbose=0)


def flowing(model):
    return knc.feature_flow(model, "point*", LENGTH, CURVATURE)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


def test_the_loss_is_length_and_curvature_of_each_path_of_equal_shape(x):
    model = network()
    a, b, c, d, e, _ = features(model, x)
    length = np.abs(b - a) + np.abs(c - b)
    curvature = np.abs(c - 2 * b + a)
    expected = LENGTH * (length.sum() + np.abs(e - d).sum())
    expected += CURVATURE * curvature.sum()
    flow = flowing(model)
    np.testing.assert_array_equal(flow(x), model(x))
    assert float(sum(flow.losses)) == pytest.approx(expected / len(x), 1e-5)


def test_a_straight_path_has_no_curvature_and_one_that_stands_no_length():
    model = keras.Sequential(
        [keras.Input((4,)), *(layers.Rescaling(1, 0.5) for _ in range(4))]
    )
    flow = knc.feature_flow(model, "rescaling*", 0.0, 1.0)
    flow(np.ones((2, 4), "float32"))
    assert float(sum(flow.losses)) == 0.0
    for layer in model.layers:
        layer.offset = 0.0
    flow = knc.feature_flow(model, "rescaling*", 1.0, 1.0)
    flow(np.ones((2, 4), "float32"))
    assert float(sum(flow.losses)) == 0.0


def test_training_shortens_the_path_and_strip_takes_the_penalty_off(x):
    model = network()
    flow = flowing(model)
    flow.compile(keras.optimizers.SGD(0.05), "mse")
    before = features(model, x)
    flow.fit(x, np.zeros((len(x), 2), "float32"), epochs=5, verbose=0)
    after = features(model, x)
    for i, j in ((0, 1), (1, 2), (3, 4)):
        moved = [np.abs(path[j] - path[i]).sum() for path in (after, before)]
        assert moved[0] < 0.9 * moved[1]
    stripped = knc.strip(flow)
    np.testing.assert_array_equal(stripped(x), model(x))
    assert [v.name for v in stripped.layers] == [v.name for v in model.layers]


def test_the_penalty_is_saved(x, tmp_path):
    flow = flowing(network())
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded(x), flow(x))
    assert float(sum(loaded.losses)) == float(sum(flow.losses)) > 0


def test_other_outputs_keep_their_places(x):
    model = network()
    outputs = {"head": model.output, "early": model.get_layer("point1").output}
    both = keras.Model(model.input, outputs)
    flow = flowing(both)
    for name, output in flow(x).items():
        np.testing.assert_array_equal(output, both(x)[name])
    assert list(knc.strip(flow)(x)) == list(both(x))


@pytest.mark.parametrize("wrong", ["head", "nothing*", ["point2", "point3"]])
def test_points_of_different_shapes_make_no_path(wrong):
    with pytest.raises(ValueError, match="same shape. Received: layers="):
        knc.feature_flow(network(), wrong, 1.0, 1.0)
