"""Removal is exact, and the model that it comes from stays what it was."""

import keras
import models
import numpy as np
import pytest
from helpers import images
from helpers import run
from keras import layers
from keras import ops
from removals import between
from removals import difference
from removals import lost
from removals import pruned

from keras_nonconvex import pruning


@keras.saving.register_keras_serializable("test")
class Transposed(layers.Layer):
    """The decoder of a dense layer that it holds."""

    def __init__(self, dense, **kwargs):
        super().__init__(**kwargs)
        self.dense = dense

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.dense.kernel))

    def get_config(self):
        return {**super().get_config(), "dense": self.dense}


def test_a_layer_in_the_config_of_another_stays_shared_in_the_new_model_alone():
    inputs = keras.Input((12,))
    x = layers.Dense(10, activation="relu", name="encoder")(inputs)
    tied = layers.Dense(6, activation="relu", name="tied")
    x = layers.ReLU()(Transposed(tied, name="decoder")(tied(x)))
    x = layers.Dense(8, activation="relu", name="after")(x)
    model = models.randomize(keras.Model(inputs, layers.Dense(3)(x)), 0)
    plan = pruned(model, budget={"params": 0.9})
    assert lost(plan, "after")[0]
    assert lost(plan, "encoder")[0] == lost(plan, "tied")[0] == 0
    small = plan.apply(model)
    assert small.get_layer("decoder").dense is small.get_layer("tied")


def test_what_a_weight_as_an_argument_meets_stays():
    inputs = keras.Input((12,))
    first = layers.Dense(8, activation="relu", name="a")
    x = layers.Dense(8, activation="relu", name="b")(first(inputs))
    x = layers.Dense(6, activation="relu", name="c")(x + first.bias)
    model = models.randomize(keras.Model(inputs, layers.Dense(3)(x)), 0)
    plan = pruned(model, budget={"params": 0.9})
    assert [lost(plan, name)[0] > 0 for name in "abc"] == [False, False, True]


def test_a_weight_as_an_argument_is_the_new_models_own():
    inputs = keras.Input((12,))
    x = layers.Dense(10, activation="relu", name="encoder")(inputs)
    tied = layers.Dense(6, activation="relu", name="tied")
    x = ops.einsum("ij,kj->ik", tied(x), tied.kernel)
    x = layers.Dense(8, activation="relu", name="after")(x)
    model = models.randomize(keras.Model(inputs, layers.Dense(3)(x)), 0)
    plan = pruned(model, budget={"params": 0.9})
    assert lost(plan, "after")[0] and not lost(plan, "encoder")[0]
    small, x = plan.apply(model), images(model)
    before = run(small, x)
    tied.kernel.assign(tied.kernel * 2)
    assert difference(before, run(small, x)) == 0


@pytest.mark.parametrize("shared", [False, True])
def test_an_activation_with_weights_is_cut_and_not_shared_with_the_original(
    shared,
):
    inputs = keras.Input((8, 8, 3))
    one, two = (layers.PReLU(shared_axes=[1, 2]) for _ in range(2))
    x = layers.Conv2D(8, 3, activation=one, name="a")(inputs)
    x = layers.Conv2D(8, 3, activation=one if shared else two, name="b")(x)
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    run(model, images(model))  # Keras builds such a layer at the first data.
    models.randomize(model, 0)
    plan = pruned(model)
    assert lost(plan, "a")[0] and lost(plan, "b")[0]
    small = plan.apply(model)
    a, b = (small.get_layer(name).activation for name in "ab")
    assert (a is b) == shared


class Handing(layers.Layer):
    """A layer whose config hands over its weight."""

    def __init__(self, scale=None, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, shape):
        if self.scale is None:
            self.scale = self.add_weight((shape[-1],), "ones")

    def call(self, x):
        return x * self.scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def test_a_layer_that_cannot_be_copied_is_refused_by_name():
    model = between(lambda x: Handing(name="mine")(x))
    with pytest.raises(ValueError, match="'mine' cannot be made anew"):
        pruning.plan(model).mask(model)


@pytest.mark.parametrize("more", [False, True])
def test_a_nested_model_called_with_a_dict_gets_its_inputs_by_name(more):
    z, a = (keras.Input((8, 8, 6), name=name) for name in "za")
    y = layers.Subtract()([layers.Conv2D(6, 3, padding="same")(z), a])
    nested = keras.Model([z, a], y)
    inputs = keras.Input((8, 8, 3))
    p, q, r = (
        layers.Conv2D(6, 3, padding="same", activation="relu", name=name)
        for name in "pqr"
    )
    given = {"z": p(inputs), "a": q(inputs)}
    if more:
        given["b"] = r(inputs)
    x = layers.Conv2D(4, 1, activation="relu")(nested(given))
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    same, x = pruning.plan(model).apply(model), images(model)
    assert difference(run(model, x), run(same, x)) <= 1e-5
    plan = pruned(model, budget={"channels": {"p": 0.5}})
    assert lost(plan, "p")[0] and not lost(plan, "q")[0]
    pruned(model, budget={"channels": {"[pq]": 0.5}})


def test_an_input_that_only_a_dead_branch_of_a_nested_model_reads_is_kept():
    p, q = keras.Input((8, 6)), keras.Input((8, 6))
    zero = layers.Conv1D(6, 1, kernel_initializer="zeros", name="zero")
    nested = keras.Model([p, q], layers.Add()([layers.ReLU()(p), zero(q)]))
    inputs = keras.Input((8, 3))
    x = [layers.Conv1D(6, 1, activation="relu", name=n)(inputs) for n in "pq"]
    x = layers.Dense(2)(layers.GlobalAveragePooling1D()(nested(x)))
    model = keras.Model(inputs, x)
    plan = pruning.plan(model)
    small, x = plan.apply(model), images(model)
    assert difference(run(model, x), run(small, x)) <= 1e-5
    assert small.get_layer("q").filters == 1 and lost(plan, "q")[0] == 5


def zeroed(model, name, weights):
    """Zeroes some weights of a layer."""
    for variable in model.get_layer(name).weights:
        if variable.name in weights:
            variable.assign(ops.zeros_like(variable))


def branch_of(kind, x):
    """A residual branch that ends in a layer "last"."""
    if kind == "one layer":
        return layers.Conv2D(6, 3, padding="same", name="last")(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="in")(x)
    if kind == "convolution":
        return layers.Conv2D(6, 3, padding="same", name="last")(x)
    if kind == "separable convolution":
        return layers.SeparableConv2D(6, 3, padding="same", name="last")(x)
    x = layers.Conv2D(6, 3, padding="same", name="out")(x)
    if kind == "normalization":
        return layers.BatchNormalization(name="last")(x)
    return layers.EinsumDense(
        "abcd,d->abcd", (8, 8, 6), bias_axes="d", name="last"
    )(x)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    "join", [lambda x: layers.Add()(x), lambda x: ops.add(*x)]
)
@pytest.mark.parametrize(
    "kind",
    ["one layer", "convolution", "separable convolution"]
    + ["normalization", "scale"],
)
def test_a_branch_that_adds_a_constant_goes_whole(kind, join, constant):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    y = branch_of(kind, x)
    x = layers.ReLU()(join([x, y]))
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = models.randomize(keras.Model(inputs, x), 0, zero_fraction=0)
    zeroed(model, "last", ["kernel", "pointwise_kernel", "gamma"])
    if not constant:
        zeroed(model, "last", ["bias", "beta"])
    plan = pruning.plan(model)
    small, x = plan.apply(model), images(model)
    assert difference(run(model, x), run(small, x)) <= 1e-5
    assert small.count_params() == 3 * 9 * 6 + 6 + 6 * 3 + 3
    assert plan.after["params"] == small.count_params()
    assert "last" in plan.removed


@pytest.mark.parametrize("bias", ["zeros", "ones"])
def test_a_branch_of_a_nested_model_stays_for_the_call_that_needs_it(bias):
    p, q = keras.Input((8, 6)), keras.Input((8, 6))
    last = layers.Conv1D(6, 1, name="last")(q)
    nested = keras.Model([p, q], layers.Add()([p, last]))
    inputs = keras.Input((8, 3))
    zero = layers.Conv1D(6, 1, use_bias=False, name="zero")(inputs)
    live = layers.Conv1D(6, 1, activation="relu", name="live")(inputs)
    x = layers.Concatenate()([nested([live, zero]), nested([live, live])])
    x = layers.Dense(2)(layers.GlobalAveragePooling1D()(x))
    model = models.randomize(keras.Model(inputs, x), 0, zero_fraction=0)
    zeroed(model, "zero", ["kernel"])
    nested.get_layer("last").bias.assign(keras.initializers.get(bias)((6,)))
    assert not pruned(model, budget=None).removed


def test_constants_of_one_axis_fold_without_what_another_axis_loses():
    inputs = keras.Input((5, 3))
    x = layers.EinsumDense(
        "abc,cyz->abyz", (5, 4, 2), activation="log_sigmoid", name="two"
    )(inputs)
    x = layers.EinsumDense("abyz,yzk->abk", (5, 3), name="both")(x)
    model = models.randomize(keras.Model(inputs, x), 0, zero_fraction=0)
    kernel = model.get_layer("two").kernel
    kernel.assign(kernel * np.array([0.0, 1.0]))
    plan = pruned(model, budget={"channels": 0.7})
    assert lost(plan, "two")[0] >= 2


@pytest.mark.parametrize("kind", ["separable", "attention"])
def test_dead_filters_with_a_bias_of_layers_of_two_kernels_go(kind):
    inputs = keras.Input((8, 8, 6))
    if kind == "separable":
        x = layers.SeparableConv2D(6, 3, name="a")(inputs)
        kernel = "pointwise_kernel"
    else:
        x = layers.Reshape((64, 6))(inputs)
        x = layers.MultiHeadAttention(2, 3, name="a")(x, x)
        kernel = "attention_output/kernel"
    x = layers.Dense(4, activation="relu")(layers.ReLU()(x))
    x = layers.Dense(3)(layers.Flatten()(x))
    model = models.randomize(keras.Model(inputs, x), 0, zero_fraction=0)
    (weight,) = [
        v for v in model.get_layer("a").weights if v.path.endswith(kernel)
    ]
    weight.assign(weight * np.array([0, 1, 0, 1, 1, 1], "float32"))
    plan = pruning.plan(model)
    small, x = plan.apply(model), images(model)
    assert difference(run(model, x), run(small, x)) <= 1e-5
    assert lost(plan, "a") == (2, "2: zero filters")
