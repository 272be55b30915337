"""Removal under conditions that models in the wild have."""

import keras
import models
import numpy as np
import pytest
from helpers import run
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import pruning


def assert_same(first, second, x, tolerance=1e-5):
    for a, b in zip(run(first, x), run(second, x), strict=True):
        assert a.shape == b.shape
        scale = np.abs(a).max() + 1e-6
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)


def check(model, x, **options):
    """Exact without a budget; masked = small with one. Returns the plan."""
    models.randomize(model, 0, zero_fraction=0.3)
    assert_same(model, pruning.plan(model).apply(model), x)
    options = {"budget": {"params": 0.6}, "round_to": 1, **options}
    plan = pruning.plan(model, **options)
    small = plan.apply(model)
    assert_same(plan.mask(model), small, x)
    assert small.count_params() == plan.after["params"]
    return plan


def kept(plan, name):
    return next(p for p in plan.layers if p.name == name).channels


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def words(*shape):
    return np.random.default_rng(0).integers(0, 9, size=shape)


def test_adapted_normalization_keeps_what_it_learned():
    x = 3.0 + 5.0 * noise(32, 6, 6, 2)
    norm = layers.Normalization()
    norm.adapt(x)
    inputs = keras.Input((6, 6, 2))
    z = layers.Conv2D(8, 3, name="a")(norm(inputs))
    z = layers.Dense(3)(layers.Flatten()(z))
    model = keras.Model(inputs, z)
    rng = np.random.default_rng(0)
    for weight in model.get_layer("a").weights:
        weight.assign(rng.normal(size=weight.shape))
    plan = pruning.plan(model, budget={"params": 0.5}, round_to=1)
    assert_same(plan.mask(model), plan.apply(model), x[:4])
    assert_same(model, pruning.plan(model).apply(model), x[:4])


def test_attention_scores_are_an_output_of_all_heads():
    inputs = keras.Input((5, 6))
    z = layers.Dense(8, name="a")(inputs)
    heads = layers.MultiHeadAttention(4, 3, name="heads")
    z, scores = heads(z, z, return_attention_scores=True)
    model = keras.Model(inputs, [layers.Dense(2)(z), scores])
    plan = check(model, noise(3, 5, 6))
    assert all(next(p.keep for p in plan.layers if p.name == "heads")[:4])


@pytest.mark.parametrize("biased", [False, True])
def test_a_head_that_sends_its_bias_alone_is_no_constant(biased):
    inputs = keras.Input((6, 8))
    attention = layers.MultiHeadAttention(3, 4, name="attention")
    x = layers.Dense(2)(attention(inputs, inputs))
    model = models.randomize(keras.Model(inputs, x), 0)
    for variable in attention.weights:
        value = keras.ops.convert_to_numpy(variable).copy()
        if "output" in variable.path:
            continue
        if variable.name == "kernel":
            value[:, 0] = 0
        elif not biased:
            value[0] = 0
        variable.assign(value)
    small = pruning.plan(model).apply(model)
    heads = small.get_layer("attention").num_heads
    assert heads == (3 if biased else 2)
    x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
    assert_same(model, small, x)


def test_a_mask_made_from_channels_has_to_stay():
    inputs = keras.Input((5, 6))
    mask = ops.cast(
        layers.Dense(5, activation="relu", name="m")(inputs), "bool"
    )
    heads = layers.MultiHeadAttention(4, 3)
    z = heads(inputs, inputs, attention_mask=mask)
    model = keras.Model(inputs, layers.Dense(2)(z))
    assert kept(check(model, noise(3, 5, 6)), "m") == (5, 5)


@pytest.mark.parametrize(
    "tail",
    [
        lambda x: layers.LSTM(8, name="b")(x),
        lambda x: layers.Bidirectional(layers.GRU(8), name="b")(x),
        lambda x: layers.GlobalAveragePooling1D()(
            layers.TimeDistributed(layers.Dense(8, name="d"), name="b")(x)
        ),
        lambda x: layers.GlobalAveragePooling1D()(
            keras.Sequential([layers.Dense(8, name="d")], name="b")(x)
        ),
    ],
)
def test_implicit_masks_of_embeddings(tail):
    inputs = keras.Input((7,), dtype="int32")
    z = layers.Embedding(9, 8, mask_zero=True, name="words")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(tail(z)))
    plan = check(model, words(4, 7), ranking="layer")
    full, left = kept(plan, "words")
    assert left < full
    assert any(p.name.startswith("b") and not all(p.keep) for p in plan.layers)


def test_images_in_time():
    inputs = keras.Input((3, 6, 6, 2))
    z = layers.TimeDistributed(layers.Conv2D(6, 3, name="c"), name="a")(inputs)
    z = layers.TimeDistributed(layers.Flatten())(z)
    model = keras.Model(inputs, layers.Dense(3)(layers.LSTM(5)(z)))
    full, left = kept(check(model, noise(2, 3, 6, 6, 2)), "a")
    assert left < full


def test_free_image_sizes():
    inputs = keras.Input((None, None, 3))
    z = inputs
    for name in "abcde":
        z = layers.Conv2D(8, 3, padding="same", name=name)(z)
        z = layers.MaxPooling2D()(layers.ReLU()(z))
    z = layers.Dense(3)(layers.GlobalAveragePooling2D()(z))
    model = keras.Model(inputs, z)
    plan = check(model, noise(2, 32, 32, 3))
    assert "macs" not in plan.after
    with pytest.raises(ValueError, match="MACs need a fixed input size"):
        pruning.plan(model, budget={"macs": 0.5})


def test_what_cannot_be_stored_can_be_rebuilt():
    inputs = keras.Input((6, 6, 3))
    z = layers.Conv2D(8, 3, activation=lambda t: ops.tanh(t), name="a")(inputs)
    z = layers.Conv2D(8, 1, activation="relu", name="b")(z)
    z = layers.Lambda(lambda t: 2.0 * t)(z)
    z = layers.Conv2D(8, 1, name="c")(z)
    z = layers.Dense(3)(layers.GlobalAveragePooling2D()(z))
    model = keras.Model(inputs, z)
    plan = check(model, noise(2, 6, 6, 3), budget={"params": 0.85})
    reasons = {p.name: p.reason for p in plan.layers}
    assert reasons["a"] and "lambda" not in reasons["a"].lower()
    assert reasons["b"] and "Lambda" not in reasons["b"]


def test_a_nested_model_keeps_an_input_that_dies_inside():
    first, second = keras.Input((8,)), keras.Input((4,))
    joined = layers.Concatenate()([layers.Dense(6)(first), second])
    nested = keras.Model([first, second], joined)
    inputs = keras.Input((8,))
    z = nested([inputs, layers.Dense(4, name="a")(inputs)])
    model = keras.Model(inputs, layers.Dense(3)(z))
    budget = {"channels": {"a": 0.01}}
    plan = check(model, noise(2, 8), budget=budget, min_channels=0)
    assert kept(plan, "a") == (4, 1)


def test_one_dropout_serves_tensors_of_several_sizes():
    inputs = keras.Input((8,))
    drop = layers.Dropout(0.1)
    z = drop(layers.Dense(16, activation="gelu", name="a")(inputs))
    z = drop(layers.Dense(12, name="b")(z))
    model = keras.Model(inputs, layers.Dense(3)(z))
    check(model, noise(2, 8), budget={"channels": {"a": 0.5, "b": 0.25}})


def test_own_loss_metrics_and_nested_weights_come_along():
    base = keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, activation="relu")], name="base"
    )
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(3)(base(inputs)))

    def own(y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred), axis=-1)

    metric = keras.metrics.MeanAbsoluteError(name="error")
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), own, metrics=[metric]
    )
    x, y = noise(64, 8), noise(64, 3)
    model.fit(x, y, verbose=0)
    plan = pruning.plan(model, budget={"params": 0.6}, round_to=1)
    small = plan.apply(model, optimizer=True)
    assert small.loss is own
    keep = np.array(plan.layers[0].keep)
    old, new = (m.optimizer.momentums[0].numpy() for m in (model, small))
    assert np.any(new)
    np.testing.assert_array_equal(new, old[:, keep])
    small.fit(x, y, verbose=0)


def test_frozen_layers_stay_frozen():
    base = keras.Sequential([keras.Input((8,)), layers.Dense(16)], name="base")
    base.trainable = False
    inputs = keras.Input((8,))
    z = layers.Dense(16, name="a", trainable=False)(base(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="b")(z))
    small = knc.prune(model, budget={"params": 0.6}, round_to=1)
    assert not small.get_layer("base").trainable
    assert not small.get_layer("a").trainable
    assert [v.path for v in small.trainable_variables] == ["b/kernel", "b/bias"]


def test_loss_scaling_stays():
    inputs = keras.Input((8,), dtype="float32")
    z = layers.Dense(16, dtype="mixed_float16", name="a")(inputs)
    model = keras.Model(inputs, layers.Dense(3, dtype="mixed_float16")(z))
    inner = keras.optimizers.Adam()
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    model.fit(noise(32, 8), noise(32, 3), verbose=0)
    plan = pruning.plan(model, budget={"params": 0.6}, round_to=1)
    small = plan.apply(model, optimizer=True)
    assert isinstance(small.optimizer, keras.optimizers.LossScaleOptimizer)
    names = [v.path for v in small.optimizer.variables]
    assert len(names) == len(model.optimizer.variables)
    assert small.get_layer("a").compute_dtype == "float16"
    small.fit(noise(32, 8), noise(32, 3), verbose=0)


def test_the_batch_axis_is_none_of_the_channels():
    inputs = keras.Input((4, 6))
    z = layers.Dense(8, name="a")(inputs)
    z = ops.reshape(z, (-1, 8))
    z = layers.Dense(6, name="b")(z)
    z = ops.reshape(z, (-1, 4, 6))
    z = ops.transpose(z, (2, 0, 1))
    z = ops.transpose(ops.relu(z), (1, 2, 0))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(z)))
    plan = pruning.plan(model, budget={"params": 0.6}, round_to=1)
    assert_same(plan.mask(model), plan.apply(model), noise(2, 4, 6))
    assert any("batch axis" in p.reason for p in plan.layers)


def test_tied_layers_of_different_size_each_keep_their_least():
    inputs = keras.Input((4, 4, 3))
    z = layers.Dense(128, name="a_dense")(layers.Flatten()(inputs))
    z = layers.Reshape((4, 4, 8))(z)
    z = layers.Add()([z, layers.Conv2D(8, 1, name="b_conv")(inputs)])
    z = layers.Dense(2)(layers.GlobalAveragePooling2D()(z))
    model = models.randomize(keras.Model(inputs, z), 0)
    for options, least in (
        ({"min_channels": 4}, 4),
        ({"max_ratio": 0.5}, 4),
        ({"round_to": 4}, 4),
    ):
        plan = pruning.plan(
            model, budget={"params": 0.1}, **{"round_to": 1, **options}
        )
        assert kept(plan, "b_conv")[1] == least
        assert kept(plan, "a_dense")[1] == 16 * least


def test_a_channel_budget_is_judged():
    model = models.residual()
    plan = pruning.plan(model, budget={"channels": 0.5})
    assert not plan.met and "round_to=8" in plan.limit
    plan = pruning.plan(model, budget={"channels": 0.5}, round_to=1)
    assert plan.met and plan.after["channels"] == 8
    with pytest.raises(ValueError, match="needs patterns of layers"):
        pruning.plan(model, budget={"channels": {"zz*": 0.5}})
    with pytest.raises(ValueError, match="Budget 'channels'"):
        pruning.plan(model, budget={"channels": {}})


def test_frozen_models_have_no_coupled_groups():
    model = models.residual()
    model.trainable = False
    with pytest.raises(ValueError, match="no trainable weights"):
        knc.CoupledGroups(model, knc.penalties.L1(), 0.1)


def test_an_input_of_a_nested_model_is_never_emptied():
    a, b = keras.Input((4,)), keras.Input((6,))
    inner = keras.Model([a, b], layers.Concatenate()([a, b]))
    inputs = keras.Input((3,))
    first = layers.Dense(4, name="first")(inputs)
    dead = layers.Dense(6, kernel_initializer="zeros", name="dead")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(inner([first, dead])))
    plan = pruning.plan(model)
    assert kept(plan, "dead") == (6, 1)
    assert_same(model, plan.apply(model), noise(5, 3))
