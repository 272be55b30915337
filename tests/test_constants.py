"""What counts as a constant, and how it is measured."""

import keras
import models
import numpy as np
import pytest
from keras import layers
from keras import ops
from removals import pruned

from keras_nonconvex import pruning


def kept(plan, name):
    return next(p for p in plan.layers if p.name == name).channels


def dead(model, name="front"):
    """The model, half of whose front filters send a constant."""
    layer = model.get_layer(name)
    kernel = np.array(layer.kernel)
    kernel[..., :3] = 0
    layer.kernel.assign(kernel)
    layer.bias.assign(np.linspace(0.5, 1.0, 6))
    return model


def of(*inside):
    inputs = keras.Input((4, 4, 6))
    x = inputs
    for layer in inside:
        x = layer(x)
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable("test_constants")
class Noisy(layers.GaussianNoise):
    """In training mode unless told otherwise."""

    def call(self, x, training=True):
        return super().call(x, training=training)


@pruning.rule(Noisy)
class NoisyRule(pruning.Rule):
    def channels(self, layer, inputs, walk):
        return inputs[0]


IN_TRAINING = {
    "dropout": lambda x: layers.Dropout(0.5)(x, training=True),
    "normalization": lambda x: layers.BatchNormalization()(x, training=True),
    "noise": lambda x: layers.GaussianNoise(1.0)(x, training=True),
    "nested": lambda x: of(layers.Dropout(0.5))(x, training=True),
    "twice nested": lambda x: of(of(layers.Dropout(0.5)))(x, training=True),
    "inside": lambda x: of(lambda y: layers.Dropout(0.5)(y, training=True))(x),
    "sequential": lambda x: keras.Sequential([layers.Dropout(0.5)])(
        x, training=True
    ),
    "default": lambda x: Noisy(1.0)(x),
    "handed on": lambda x: layers.BatchNormalization()(
        layers.GaussianNoise(0.0)(x, training=True)
    ),
}


@keras.saving.register_keras_serializable("test_constants")
class Block(layers.Layer):
    """An own layer, which is unfolded."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = layers.BatchNormalization()

    def call(self, x, training=None):
        return self.norm(x, training=training)


IN_TRAINING["own block"] = lambda x: Block()(x, training=True)

IN_INFERENCE = {
    "dropout": lambda x: layers.Dropout(0.5)(x),
    "told not to": lambda x: Noisy(1.0)(x, training=False),
    "nested": lambda x: of(layers.Dropout(0.5))(x, training=False),
    "own block": lambda x: Block()(x),
    "nothing to train": lambda x: of(layers.ReLU())(x, training=True),
}


def model_with(tail):
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 1, name="front")(inputs)
    return dead(keras.Model(inputs, layers.Conv2D(2, 1)(tail(x))))


@pytest.mark.parametrize("name", IN_TRAINING)
def test_what_passes_a_layer_in_training_mode_is_no_constant(name):
    plan = pruning.plan(model_with(IN_TRAINING[name]))
    assert kept(plan, "front") == (6, 6)


@pytest.mark.parametrize("name", IN_INFERENCE)
def test_what_passes_a_layer_in_inference_is_constant(name):
    plan = pruning.plan(model_with(IN_INFERENCE[name]))
    assert kept(plan, "front") == (6, 3)


def test_augmentation_says_nothing_of_other_layers():
    inputs = keras.Input((4, 4, 3))
    x = layers.RandomFlip()(inputs)
    x = layers.Conv2D(6, 1, name="front")(x)
    x = layers.Conv2D(2, 1)(layers.BatchNormalization()(x))
    plan = pruning.plan(dead(keras.Model(inputs, x)))
    assert kept(plan, "front") == (6, 3)


def test_zero_scales_in_training_mode_are_exact():
    def tail(x):
        norm = layers.BatchNormalization(name="norm")
        return layers.Conv2D(6, 1)(norm(x, training=True))

    model = model_with(tail)
    model.get_layer("norm").gamma.assign([0, 0, 1, 1, 1, 1])
    plan = pruning.plan(model)
    small = plan.apply(model)
    assert kept(plan, "front")[1] < 6
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(model(x), small(x), atol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="eager TensorFlow's bias"
)
def test_channels_first_is_measured_as_predict_runs_it():
    # As many filters as columns: eager TensorFlow takes these for channels.
    inputs = keras.Input((3, 6, 6))
    options = {"data_format": "channels_first"}
    x = layers.Conv2D(6, 1, name="front", **options)(inputs)
    x = layers.Conv2D(2, 3, **options)(layers.ReLU()(x))
    model = dead(keras.Model(inputs, x))
    plan = pruning.plan(model)
    assert kept(plan, "front") == (6, 3), plan.explain("front")
    x = np.random.default_rng(0).normal(size=(3, 3, 6, 6)).astype("float32")
    first, second = (
        m.predict(x, verbose=0) for m in (model, plan.apply(model))
    )
    np.testing.assert_allclose(first, second, atol=1e-5)


def cosines(x, join):
    """Each needs zeros of the channels that are dropped."""
    x = layers.UnitNormalization()(join(x))
    return layers.Dot(axes=2)([x, x])


PRODUCTS = {
    "dot": lambda x, y: layers.Dot(axes=-1)([x, y]),
    "matmul": lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
    "einsum": lambda x, y: ops.einsum("bic,bjc->bij", x, y),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_constant_stays_where_a_product_sums_over_it(name):
    """It adds to the sum, and there is no bias that could do so."""
    inputs = keras.Input((4, 3))
    x = layers.Dense(6, activation="relu", name="front")(inputs)
    y = layers.Dense(6, name="other")(inputs)
    x = PRODUCTS[name](x, y)
    model = dead(dead(keras.Model(inputs, layers.Dense(2)(x))), "other")
    plan = pruning.plan(model)
    assert kept(plan, "front") == (6, 6)
    (row,) = [row for row in plan.layers if row.name == "front"]
    assert "which needs a zero there" in row.reason
    # Behind constants of zero nothing is left of a product.
    for layer in ("front", "other"):
        model.get_layer(layer).bias.assign([0.0] * 6)
    plan = pruning.plan(model)
    assert kept(plan, "front") == (6, 3)
    x = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    np.testing.assert_allclose(
        plan.apply(model)(x), model(x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("broadcast", [True, False])
def test_a_channel_that_takes_from_others_is_no_zero(broadcast):
    def join(x):
        return x + ops.sum(x, axis=-1, keepdims=True) if broadcast else 2.0 * x

    inputs = keras.Input((4, 3))
    x = layers.Dense(6, use_bias=False, name="front")(inputs)
    model = keras.Model(inputs, cosines(x, join))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    assert (kept(plan, "front")[1] == 6) == broadcast
    x = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    np.testing.assert_allclose(
        plan.mask(model)(x), plan.apply(model)(x), atol=1e-5
    )


@pytest.mark.parametrize("weight", ["depthwise_kernel", "pointwise_kernel"])
def test_a_channel_that_one_of_two_kernels_does_not_read_goes(weight):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 1, activation="relu", name="a")(inputs)
    layer = layers.SeparableConv2D(3, 2, depth_multiplier=2, name="b")
    x = layers.GlobalAveragePooling2D()(layer(x))
    model = models.randomize(keras.Model(inputs, layers.Dense(2)(x)), 0)
    depthwise = np.array(layer.depthwise_kernel)
    pointwise = np.array(layer.pointwise_kernel)
    # Of channel 1 both outputs go, of 2 one; of 3 each by another kernel.
    if weight == "depthwise_kernel":
        depthwise[:, :, [1, 1, 2], [0, 1, 0]] = 0
    else:
        pointwise[:, :, [2, 3, 4]] = 0
    depthwise[:, :, 3, 0] = 0
    pointwise[:, :, 7] = 0
    layer.depthwise_kernel.assign(depthwise)
    layer.pointwise_kernel.assign(pointwise)
    plan = pruned(model, criterion=None, budget=None)
    (row,) = [row for row in plan.layers if row.name == "a"]
    assert row.keep == [True, False, True, False, True]


def test_what_a_layer_without_a_rule_mixes_is_not_constant():
    """Its outputs are tied with its inputs where both are added up."""
    inputs = keras.Input((5,))
    x = layers.EinsumDense("ab,byz->ayz", (2, 2), bias_axes="yz", name="front")(
        inputs
    )
    x = layers.Add()([x, ops.roll(x, 1, axis=-1)])
    x = layers.GlobalMaxPooling1D()(layers.Conv1D(3, 1, name="back")(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    models.randomize(model, 0)
    front, back = model.get_layer("front"), model.get_layer("back")
    front.kernel.assign(np.array(front.kernel) * [0.0, 1.0])
    back.kernel.assign(np.array(back.kernel) * [[1.0], [0.0]])
    pruned(model, budget=None)


def test_constants_of_several_inputs_of_a_layer_are_told_apart():
    """The first channel of the query and that of the value are two."""
    inputs = keras.Input((5, 3))
    query = layers.Dense(4, name="query")(inputs)
    value = layers.Dense(4, name="value")(inputs)
    attention = layers.MultiHeadAttention(2, 3, use_bias=False, name="a")
    model = keras.Model(inputs, layers.Dense(2)(attention(query, value)))
    models.randomize(model, 0)
    for name in ("query", "value"):
        layer = model.get_layer(name)
        layer.kernel.assign(np.array(layer.kernel) * [0.0, 1.0, 1.0, 1.0])
    plan = pruned(model, budget=None)
    for name in ("query", "value"):
        assert kept(plan, name) == (4, 4)


@pytest.mark.parametrize("dtype, left", [("float32", 3), ("float64", 4)])
def test_what_differs_by_rounding_of_its_kind_of_number_is_equal(dtype, left):
    """1e-8 at the border is rounding in float32, and not in float64."""
    sizes = {"front": 1, "middle": 3, "back": 1}
    x = inputs = keras.Input((6, 6, 2), dtype=dtype)
    for name, size in sizes.items():
        x = layers.Conv2D(4, size, padding="same", dtype=dtype, name=name)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    front, middle = model.get_layer("front"), model.get_layer("middle")
    front.kernel.assign(np.array(front.kernel) * [0, 1, 1, 1])
    front.bias.assign([1, 0, 0, 0])
    # One filter reads the constant alone, next to nothing of its neighbours.
    kernel = np.array(middle.kernel)
    kernel[..., 0] = 0
    kernel[1, 1, 0, 0], kernel[0, 0, 0, 0] = 1, 1e-8
    middle.kernel.assign(kernel)
    plan = pruning.plan(model, on_constant="keep")
    assert kept(plan, "middle") == (4, left)
