"""Batch-norm scales: `gamma_regularizer=` with any scalar penalty."""

import keras
import numpy as np
import pytest
import strategies
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import sparsity


def data(n=192):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 6, 6, 1)) * 0.3
    x[:, 2:4, 2:4] += y[:, None, None, None] * 2.0
    return x.astype("float32"), y


def network(cls, regularizer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(12, 3, use_bias=False)(inputs)
    x = layers.BatchNormalization(
        gamma_regularizer=regularizer,
        name="bn",
    )(x)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(2, activation="softmax")(x)
    return cls(inputs, x)


@pytest.mark.parametrize("name", strategies.SCALAR)
def test_by_prox_scales_become_exactly_zero(name):
    reg = knc.Elementwise(penalties.REGISTRY[name](), 0.05)
    if getattr(reg.penalty, "knee", 0) is None:
        # The textbook's knots, at 0.05, would leave scales of 0.5 alone.
        penalty = penalties.REGISTRY[name](knee=1.0)
        reg = knc.Elementwise(penalty, 0.05)
    model = network(knc.ProximalModel, reg)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    x, y = data()
    # Small scales and large ones: some penalties leave the large ones alone.
    model.get_layer("bn").gamma.assign(np.linspace(0.02, 1.2, 12))
    model.fit(x, y, batch_size=16, epochs=12, verbose=0)
    gamma = keras.ops.convert_to_numpy(model.get_layer("bn").gamma)
    assert np.isfinite(gamma).all()
    assert 0 < np.count_nonzero(gamma) < len(gamma)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    # A filter that its scale silences is a zero filter in every count.
    logs = sparsity.sparsity(model)
    assert logs["zero_filters"] == logs["zero_groups"] == np.sum(gamma == 0)
    assert knc.summary(model).zero_filters == logs["zero_filters"]
    # And the channels go for good.
    plan = knc.pruning.plan(model)
    small = plan.apply(model)
    assert small.count_params() < model.count_params()
    np.testing.assert_allclose(
        small.predict(x, verbose=0),
        plan.mask(model).predict(x, verbose=0),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", strategies.SCALAR)
def test_by_subgradient_in_a_stock_model(name):
    reg = knc.Elementwise(penalties.REGISTRY[name](), 1e-3)
    model = network(keras.Model, reg)
    bn = model.get_layer("bn")
    gamma = np.full(12, 0.5, "float32")
    gamma[:3] = 0.0
    bn.gamma.assign(gamma)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = data()
    history = model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for weight in model.weights:
        assert np.isfinite(keras.ops.convert_to_numpy(weight)).all()
