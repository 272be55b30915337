"""Penalties on layers inside of layers, and how they come back."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import callbacks
from keras_nonconvex import layouts

LASSO = knc.GroupLasso(2e-3)
L1 = knc.Elementwise(knc.penalties.L1(), 1e-3)


@keras.saving.register_keras_serializable()
class Block(layers.Layer):
    """It hands its one regularizer on to two layers."""

    def __init__(self, units, kernel_regularizer=None, **options):
        super().__init__(**options)
        self.units = units
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.first = layers.Dense(units, kernel_regularizer=kernel_regularizer)
        self.second = layers.Dense(units, kernel_regularizer=kernel_regularizer)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.units))
        # With a weight of its own it cannot be unfolded.
        self.scale = self.add_weight((self.units,), "ones", name="scale")

    def call(self, x):
        return self.second(self.first(x)) * self.scale

    def get_config(self):
        regularizer = keras.regularizers.serialize(self.kernel_regularizer)
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_regularizer": regularizer,
        }


@keras.saving.register_keras_serializable()
class Bare(layers.Layer):
    """It has no argument for a regularizer, and weights of its own."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.dense = layers.Dense(units)

    def build(self, shape):
        self.dense.build(shape)
        self.kernel = self.add_weight(shape=(self.units, 3), name="kernel")
        self.scale = self.add_weight((3,), "ones", name="scale")

    def call(self, x):
        return keras.ops.matmul(self.dense(x), self.kernel) * self.scale

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Stubborn(layers.Layer):
    """Its config says nothing of what it is made of."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner
        self.scale = self.add_weight((), "ones", name="scale")

    def call(self, x):
        return self.inner(x) * self.scale

    def get_config(self):
        return super().get_config()


def attention(x):
    return layers.MultiHeadAttention(2, 4, name="mha")(x, x)


def grouped_attention(x):
    return layers.GroupQueryAttention(4, 4, 2, name="gqa")(x, x)


def sequence_model():
    x = layers.Dense(3)
    return keras.Sequential([keras.Input((8,)), x])


MAKE = {
    "attention": attention,
    "grouped attention": grouped_attention,
    "bidirectional": lambda x: layers.Bidirectional(layers.LSTM(3))(x),
    "recurrent": lambda x: layers.GRU(3, name="gru")(x),
    "cells": lambda x: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)])(x),
    "time distributed": lambda x: layers.TimeDistributed(layers.Dense(3))(x),
    "a model inside": lambda x: layers.TimeDistributed(sequence_model())(x),
    "spectral": lambda x: layers.SpectralNormalization(
        layers.Conv1DTranspose(3, 2)
    )(x),
    "own block": lambda x: Block(3)(x),
}
RECURRENT = ("bidirectional", "recurrent", "cells")
CASES = [
    *((name, LASSO, None) for name in MAKE),
    *((name, {"*/recurrent_kernel": LASSO}, 1) for name in RECURRENT),
    *(
        (name, {"*/bias": L1}, None)
        for name in ("attention", "bidirectional", "time distributed")
    ),
    ("attention", {"mha": LASSO, "*/bias": L1}, 8),
    ("attention", {keras.layers.MultiHeadAttention: LASSO}, 4),
    ("recurrent", {"gru/recurrent_kernel": LASSO, "gru": L1}, 2),
    ("bidirectional", {"*/forward*/kernel": LASSO}, 1),
]


def model_of(name):
    inputs = keras.Input((5, 8))
    return keras.Model(inputs, MAKE[name](inputs))


def regularizers(model):
    return [repr(v.regularizer) for v in model.weights]


@pytest.mark.filterwarnings("ignore:No rule matches")
@pytest.mark.parametrize("name, rules, count", CASES)
def test_saved_loaded_and_cloned_they_have_their_penalties(
    name, rules, count, tmp_path
):
    model = knc.attach(model_of(name), rules)
    found = regularizers(model)
    attached = len(found) - found.count("None")
    assert attached == count if count and count > 1 else attached > 0
    model.compile("sgd", "mse")
    assert regularizers(model) == found
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert regularizers(loaded) == found
    uncompiled = knc.ProximalModel(model.input, model.output)
    copy = keras.models.clone_model(uncompiled)
    copy.compile("sgd", "mse")
    assert regularizers(copy) == found
    assert set(regularizers(knc.strip(model))) == {"None"}


@pytest.mark.parametrize(
    "make, rules, weight",
    [
        (Bare(4, name="bare"), {"bare": LASSO}, "bare/kernel"),
        (Bare(4, name="bare"), {"*/scale": L1, "*": None}, "bare/scale"),
        (Bare(4, name="bare"), {"*/bias": L1, "*": None}, "bare/.*/bias"),
        (Block(4, name="own"), {"*/bias": L1, "*": None}, "own/.*/bias"),
        (Stubborn(Bare(4), name="odd"), {"odd": LASSO}, "odd/.*/kernel"),
        (
            lambda x: attention(x),
            {"query": LASSO, "key": L1, "*": None},
            "mha/query/kernel",
        ),
    ],
)
def test_what_could_not_come_back_is_refused_and_changes_nothing(
    make, rules, weight
):
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.Dense(2, name="last")(make(inputs)))
    rules = {"last": LASSO, **rules}
    with pytest.raises(ValueError, match=f"would lose .* '{weight}'.*Rec"):
        knc.attach(model, rules)
    assert set(regularizers(model)) == {"None"}
    for layer in model.layers:
        assert not any(
            value is LASSO or value is L1 for value in vars(layer).values()
        )


def test_one_rule_for_attention_is_fitted_to_each_kernel():
    model = knc.attach(model_of("attention"), LASSO)
    mha = model.get_layer("mha")
    groups = [
        dense.kernel.regularizer.groups
        for dense in (mha.query_dense, mha.output_dense)
    ]
    assert groups == [(0,), "filters"]


def test_scales_shifts_slopes_and_recurrent_kernels_by_pattern():
    inputs = keras.Input((5, 8))
    x = layers.LayerNormalization(name="norm")(inputs)
    x = layers.GroupNormalization(2, name="groups")(x)
    x = layers.PReLU(name="slopes")(layers.Dense(8, name="dense")(x))
    x = layers.LSTM(3, name="lstm")(x)
    model = knc.attach(
        keras.Model(inputs, x),
        {
            "*/gamma": L1,
            "norm/beta": L1,
            "*/alpha": L1,
            "dense/*": LASSO,
            "lstm/recurrent_kernel": LASSO,
            "*": None,
        },
    )
    names = {
        f"{place.layers[0].name}/{place.slot.variable.name}"
        for place in layouts.places(model)
        if place.slot.variable.regularizer is not None
    }
    # "dense/*" means kernels: a bias must be named.
    assert names == {
        "norm/gamma",
        "groups/gamma",
        "norm/beta",
        "slopes/alpha",
        "dense/kernel",
        "lstm/recurrent_kernel",
    }


@pytest.mark.filterwarnings("ignore:No rule matches")
def test_layers_of_nested_models_are_meant_by_their_path():
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, name="wide")], name="conv_base"
    )
    inputs = keras.Input((6,))
    outer = layers.Dense(3, name="wide")(inner(inputs))
    for key, count in (
        ("conv_base/wide", 1),
        ("conv_base/*", 1),
        ("conv_base/wide/kernel", 1),
        ("wide", 2),
    ):
        model = knc.attach(keras.Model(inputs, outer), {key: LASSO})
        kernels = [v for v in model.variables if v.regularizer is not None]
        assert len(kernels) == count
        knc.strip(model)
    # A nested model does not stand for all in it.
    with pytest.raises(ValueError, match="Near names: .*wide.*'conv"):
        knc.attach(keras.Model(inputs, outer), {"conv*": LASSO, "*": None})


# ---- kernels that do not train


def dense_model():
    inputs = keras.Input((8,))
    x = layers.Dense(8, activation="relu", name="first")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="last")(x))


@pytest.mark.filterwarnings("ignore:Layer InputLayer")
def test_no_penalty_for_kernels_that_are_quantized_or_have_lora():
    quantized, adapted = dense_model(), dense_model()
    quantized.quantize("int8")
    adapted.get_layer("first").enable_lora(2)
    for model, why in ((quantized, "is quantized"), (adapted, "enable_lora")):
        with pytest.raises(ValueError, match=f"'first' .*{why}.* Received: "):
            knc.attach(model, LASSO)
        assert not any(v.regularizer for v in model.variables)
        rows = {row.name: row for row in knc.pruning.plan(model).layers}
        assert "'first' " in rows["first"].reason
    # Biases train as ever.
    knc.attach(adapted, {"*/bias": L1, "*": None})
    model = knc.attach(dense_model(), LASSO)
    model.get_layer("first").enable_lora(2)
    with pytest.raises(ValueError, match="'first' .*enable_lora.* knc.strip"):
        model.compile("sgd", "mse")


# ---- zeros that stay


def test_frozen_are_the_zeros_of_all_weights_but_biases_and_shifts():
    inputs = keras.Input((5, 8))
    x = layers.LayerNormalization()(inputs)
    x = layers.GroupNormalization(2)(x)
    x = layers.PReLU(shared_axes=[1])(Bare(8)(x))
    x = layers.Bidirectional(layers.GRU(4))(x)
    x = layers.Dense(4, bias_regularizer=L1, name="last")(x)
    model = keras.Model(inputs, x)
    rng, zeros = np.random.default_rng(0), []
    for weight in model.trainable_variables:
        value = rng.normal(size=weight.shape)
        value[rng.random(weight.shape) < 0.2] = value.flat[0] = 0.0
        weight.assign(value)
        zeros.append(value == 0)
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(4, 5, 8)), rng.normal(size=(4, 4))
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callbacks.Freeze()])
    kept, free = [], []
    for weight, zero in zip(model.trainable_variables, zeros, strict=True):
        value = keras.ops.convert_to_numpy(weight)
        assert value[~zero].all()
        (free if value[zero].any() else kept).append(weight.path)
        assert weight.constraint is None
    shifts = {path for path in kept + free if "bias" in path or "beta" in path}
    # A bias with a penalty may have zeros on purpose.
    assert set(free) == shifts - {"last/bias"}
    assert {path.split("/")[-1] for path in kept} == {
        *("gamma", "kernel", "scale", "alpha", "recurrent_kernel", "bias")
    }


def test_fine_tuning_keeps_zeros_of_recurrent_kernels():
    inputs = keras.Input((5, 8))
    x = layers.Dense(2, "softmax")(layers.LSTM(4, name="lstm")(inputs))
    model = keras.Model(inputs, x)
    kernel = model.get_layer("lstm").cell.recurrent_kernel
    value = keras.ops.convert_to_numpy(kernel).copy()
    value[:, ::2] = 0.0
    kernel.assign(value)
    x, y = np.random.default_rng(0).normal(size=(8, 5, 8)), np.arange(8) % 2
    knc.fine_tune(model, x, y, epochs=1, keep_zeros=True, verbose=0)
    trained = keras.ops.convert_to_numpy(kernel)
    assert not trained[:, ::2].any() and (trained != value).any()
