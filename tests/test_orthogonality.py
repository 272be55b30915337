"""OrthoReg against its formula, with the biases as the last column of P."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc

RATE, STRENGTH = 0.1, 0.02


def network(cls, regularizer, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 5, 2))
    x = layers.Conv2D(3, 3, kernel_regularizer=regularizer, **options)(inputs)
    return cls(inputs, layers.GlobalAveragePooling2D()(x))


def gap(p):
    """P P^T - I, or P^T P - I if that is smaller."""
    p = p if len(p) <= p.shape[1] else p.T
    return p @ p.T - np.eye(len(p))


def rows_of(layer):
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    return np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)


@pytest.mark.parametrize("shape", [(3, 3, 2, 4), (1, 1, 3, 7)])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_value_is_that_of_the_formula(shape, norm):
    w = np.random.default_rng(0).normal(size=shape).astype("float32")
    wrong = gap(np.moveaxis(w, -1, 0).reshape(shape[-1], -1))
    value = np.abs(wrong).sum() if norm == "l1" else np.square(wrong).sum()
    for weight, factor in ((None, 1.0), ("sqrt", np.sqrt(shape[-1]))):
        reg = knc.OrthoReg(STRENGTH, norm=norm, layer_weight=weight)
        assert float(reg(w)) == pytest.approx(STRENGTH * factor * value, 1e-5)


def test_the_biases_are_a_column_and_train_with_the_rest():
    reg = knc.OrthoReg(STRENGTH, bias=True, layer_weight="sqrt")
    model = network(knc.ProximalModel, reg, bias_initializer="random_normal")
    model.compile(keras.optimizers.SGD(RATE), "mse")
    conv = model.layers[1]
    bias = keras.ops.convert_to_numpy(conv.bias)
    p = np.concatenate([rows_of(conv), bias[:, None]], 1)
    x = np.zeros((4, 5, 5, 2), "float32")
    # The images are black and the targets what it gives: only P moves.
    loss = float(model.train_on_batch(x, np.tile(bias, (4, 1))))
    factor = STRENGTH * np.sqrt(3)
    assert loss == pytest.approx(factor * np.square(gap(p)).sum(), rel=1e-5)
    moved = p - RATE * factor * 4 * gap(p) @ p
    found = keras.ops.convert_to_numpy(conv.bias)
    np.testing.assert_allclose(found, moved[:, -1], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(rows_of(conv), moved[:, :-1], rtol=1e-4)


def test_a_layer_without_a_bias_has_no_such_column():
    values = []
    for bias in (True, False):
        reg = knc.OrthoReg(STRENGTH, bias=bias)
        model = network(knc.ProximalModel, reg, use_bias=False)
        model.compile("sgd", "mse")
        values.append(float(sum(model.losses)))
    assert values[0] == values[1] > 0


def test_saved_and_loaded_it_knows_the_layer_of_the_loaded_model(tmp_path):
    reg = knc.OrthoReg(STRENGTH, bias=True)
    model = network(knc.ProximalModel, reg, bias_initializer="ones")
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[1].kernel.regularizer.layer is loaded.layers[1]
    assert float(sum(loaded.losses)) == float(sum(model.losses))


def test_a_bias_that_it_cannot_have_is_refused():
    model = network(keras.Model, knc.OrthoReg(bias=True))
    with pytest.raises(ValueError, match="needs a ProximalModel.* Received:"):
        _ = model.losses
    reg = knc.OrthoReg(bias=True, groups="input_channels")
    model = network(knc.ProximalModel, reg)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Received: bias=True, groups='input"):
        _ = model.losses
    with pytest.raises(ValueError, match="Received: layer_weight='mean'$"):
        knc.OrthoReg(layer_weight="mean")
