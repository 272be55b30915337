"""Regularizers on built models, and off again."""

import json

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc


def test_attach_sets_layer_and_variable():
    model = models.chain()
    before = model.get_weights()
    sparse = knc.attach(
        model,
        {
            "a": knc.GroupLasso(0.5),
            layers.Conv2D: knc.SparseGroupTL1(0.1),
            (lambda layer: layer.name == "c"): knc.GroupTL1(0.2),
            "*": None,
        },
    )
    assert isinstance(sparse, knc.ProximalModel)
    found = {
        layer.name: layer.kernel_regularizer
        for layer in sparse.layers
        if hasattr(layer, "kernel")
    }
    assert [type(r).__name__ for r in found.values()] == [
        "GroupLasso",
        "SparseGroupTL1",
        "GroupTL1",
        "NoneType",
    ]
    for name, regularizer in found.items():
        assert sparse.get_layer(name).kernel.regularizer is regularizer
    for a, b in zip(before, sparse.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = sum(
        float(r(sparse.get_layer(n).kernel)) for n, r in found.items() if r
    )
    assert float(sum(sparse.losses)) == pytest.approx(expected, rel=1e-5)


def test_attach_knows_kernel_layouts():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2DTranspose(3, 3, name="t")(inputs)
    model = knc.attach(keras.Model(inputs, x), knc.GroupLasso(1e-3))
    assert model.get_layer("t").kernel_regularizer.groups == (0, 1, 3)
    model.compile("sgd", "mse")


def test_strip_undoes_it(tmp_path):
    sparse = knc.attach(models.sequential(), "group_lasso")
    x = np.ones((1, 8, 8, 1), "float32")
    outputs = sparse.predict(x, verbose=0)
    plain = knc.strip(sparse)
    assert not plain.losses
    assert "keras_nonconvex" not in json.dumps(plain.get_config())
    np.testing.assert_array_equal(plain.predict(x, verbose=0), outputs)


def test_strip_takes_everything_off():
    inputs = keras.Input((4,))
    reg = knc.Elementwise(knc.penalties.L1(), 0.1)
    x = layers.Dense(
        3,
        bias_regularizer=reg,
        kernel_constraint=knc.constraints.MaxNonzero(3),
    )(inputs)
    x = layers.LayerNormalization(gamma_regularizer=reg)(x)
    plain = knc.strip(knc.ProximalModel(inputs, x))
    assert not plain.losses
    assert "keras_nonconvex" not in json.dumps(plain.get_config())
    assert all(v.constraint is None for v in plain.trainable_variables)


def test_rules_that_match_nothing_change_nothing():
    model = models.chain()
    lasso = knc.GroupLasso(1e-3)
    with pytest.raises(ValueError, match="Received: 'conv_\\*'"):
        knc.attach(model, {"a": lasso, "conv_*": lasso})
    with pytest.raises(ValueError, match="Earlier rules match all"):
        knc.attach(model, {"*": lasso, "a": lasso})
    for bad in ({3: lasso}, {"a": lasso, "b": knc.constraints.MaxNonzero(2)}):
        with pytest.raises(ValueError, match="Received: "):
            knc.attach(model, bad)
    assert not model.losses


def test_rules_as_one_dict_of_settings():
    sparse = knc.attach(models.chain(), {"name": "l2"})
    assert isinstance(
        sparse.layers[1].kernel_regularizer, keras.regularizers.L2
    )
    sparse = knc.attach(
        models.chain(), {"name": "group_lasso", "strength": 0.5}
    )
    assert sparse.layers[1].kernel_regularizer.strength == 0.5


def test_layers_without_a_rule_are_named(recwarn):
    model = knc.models.lenet5()
    with pytest.warns(UserWarning, match="conv1, dense1, dense2. Received"):
        knc.attach(model, {"conv2": knc.GroupLasso(1e-3)})
    recwarn.clear()
    knc.attach(model, {"conv2": knc.GroupLasso(1e-3), "*": None})
    knc.attach(model, knc.GroupLasso(1e-3))
    assert not recwarn.list


def test_rules_that_take_nothing_say_why():
    model, reg = knc.models.lenet5(), knc.GroupLasso(1e-3)
    with pytest.raises(ValueError, match="match no weight .* Received: 'cnv'"):
        knc.attach(model, {"cnv": reg, "*": None})
    with pytest.raises(ValueError, match="Earlier rules .*: 'conv1'"):
        knc.attach(model, {"conv*": reg, "conv1": None, "dense*": None})
