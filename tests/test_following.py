"""Channels are followed through operations, by what these do."""

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

import keras_nonconvex as knc
from keras_nonconvex import pruning


@pytest.mark.parametrize(
    "activation",
    [
        "tf.nn.relu",
        ops.relu,
        ops.silu,
        layers.LeakyReLU(),
        layers.ReLU(6.0),
        lambda x: x * ops.sigmoid(x),
    ],
)
def test_an_activation_is_judged_by_what_it_does(activation):
    if activation == "tf.nn.relu":
        activation = pytest.importorskip("tensorflow").nn.relu
    model = between(layers.Activation(activation))
    plan = pruned(model)
    assert plan.met and lost(plan, "a")[0]


@pytest.mark.parametrize(
    "operation",
    [
        ops.log1p,
        ops.cosh,
        lambda x: keras.activations.relu(x, negative_slope=0.1),
        lambda x: ops.where(x > 0, x, 0.1 * x),
        lambda x: ops.logaddexp(x, ops.zeros_like(x)),
        layers.Lambda(lambda x: 2 * x),
    ],
)
def test_an_operation_without_a_rule_is_judged_by_what_it_does(operation):
    plan = pruned(between(lambda x: operation(ops.abs(x))))
    assert lost(plan, "a")[0]


@pytest.mark.parametrize(
    "activation, reason",
    [
        (lambda x: x - ops.mean(x, axis=-1, keepdims=True), "over them"),
        (lambda x: x - ops.mean(x), "over them"),
        (lambda x: x[..., ::-1], "over them"),
        (lambda x: x * np.arange(8.0), "over them"),
        (lambda x: 1 / x, "inf at 0"),
        (layers.Softmax(), "softmax over them"),
    ],
)
def test_an_activation_across_channels_keeps_them(activation, reason):
    plan = pruning.plan(
        between(layers.Activation(activation)), "random", {"params": 0.7}
    )
    assert lost(plan, "a")[0] == 0 and reason in lost(plan, "a")[1]


@pytest.mark.parametrize("place", ["activation", "recurrent_activation"])
def test_a_unit_stays_zero_where_its_activations_allow_it(place):
    for function, goes in (
        (lambda x: ops.sin(x), True),
        (lambda x: x[..., ::-1], False),
    ):
        inputs = keras.Input((5, 3))
        x = layers.LSTM(8, name="a", **{place: function})(inputs)
        model = keras.Model(inputs, layers.Dense(2)(x))
        plan = pruned(models.randomize(model, 0))
        assert bool(lost(plan, "a")[0]) == goes


def cross_stage(x):
    """Halves go different ways and come back in the other order."""
    c = x.shape[-1] // 2
    return ops.concatenate([x[..., c:], layers.ReLU()(x[..., :c])], axis=-1)


def product(x):
    y = layers.Conv2D(8, 1, name="other")(x)
    return ops.einsum("bhwc,bhwc->bhw", x, y)[..., None]


def scores(x):
    """Attention of positions, by an equation with a constant factor."""
    y = ops.einsum("...c,cd->...d", x, np.ones((x.shape[-1], 4)) / 8)
    return layers.Concatenate()([y, layers.Conv2D(4, 1)(x)])


# What is followed: a block of 8 channels, and how many channels of 8 the
# layer before it loses to half a channel budget.
FOLLOWED = {
    "several outputs of a channel": lambda x: layers.DepthwiseConv2D(
        3, depth_multiplier=2
    )(x),
    "halves in the other order": cross_stage,
    "every other channel": lambda x: ops.concatenate(
        [x[..., 1::2], x[..., ::2]], axis=-1
    ),
    "channels turned round": lambda x: x[:, 1:-1, ::-1, ::-1],
    "some channels of some positions": lambda x: x[:, 1:, 2:5, 2:7],
    "take": lambda x: ops.take(x, [5, 1, 1, 6, 0], axis=-1),
    "flip": lambda x: ops.flip(x, axis=-1),
    "roll": lambda x: ops.roll(x, 3, axis=-1),
    "tile": lambda x: ops.tile(x, (1, 1, 1, 2)),
    "repeat": lambda x: ops.repeat(x, 2, axis=3),
    "maxout": lambda x: ops.max(ops.reshape(x, (-1, 8, 8, 4, 2)), axis=-1),
    "maxout of halves": lambda x: layers.Maximum()(ops.split(x, 2, axis=-1)),
    "maxout of few channels": lambda x: ops.max(
        ops.reshape(layers.Conv2D(2, 1)(x), (-1, 8, 8, 1, 2)), axis=-1
    ),
    "pixel shuffle in the other order": lambda x: ops.reshape(
        ops.transpose(ops.reshape(x, (-1, 8, 8, 2, 2, 2)), (0, 1, 4, 2, 5, 3)),
        (-1, 16, 16, 2),
    ),
    "slice": lambda x: ops.slice(x, (0, 0, 1, 3), (4, 8, 4, 5)),
    "broadcast_to": lambda x: ops.broadcast_to(x[:, :1], (4, 8, 8, 8)),
    "zeros_like": lambda x: ops.maximum(x, ops.zeros_like(x)),
    "depth_to_space": lambda x: ops.nn.depth_to_space(x, 2),
    "space_to_depth": lambda x: ops.nn.space_to_depth(x, 2),
    "resize": lambda x: ops.image.resize(x, (5, 11)),
    "average_pool": lambda x: ops.average_pool(x, 2, 1, "same"),
    "max_pool": lambda x: ops.max_pool(x, 2, 2),
    "where": lambda x: ops.where(x > 0.1, x, 0.2 * x),
    "einsum": product,
    "einsum with a constant": scores,
    "glu": lambda x: ops.glu(x, axis=-1),
    "normalize": lambda x: ops.normalize(x, axis=-1, order=2),
    "normalize by another norm": lambda x: ops.normalize(x, axis=-1, order=3),
    "norm": lambda x: ops.norm(x, axis=-1, keepdims=True),
    "norm of positions": lambda x: ops.norm(x, axis=1, keepdims=True),
    "sum": lambda x: ops.sum(x, axis=-1, keepdims=True),
    "pad by reflection": lambda x: ops.pad(
        x, ((0, 0), (1, 2), (2, 1), (0, 0)), mode="reflect"
    ),
    "pad by a value": lambda x: ops.pad(
        x, ((0, 0), (1, 2), (2, 1), (0, 0)), constant_values=0.5
    ),
    "layer normalization": layers.LayerNormalization(),
    "layer normalization without a shift": layers.LayerNormalization(
        center=False
    ),
    "spectral normalization": lambda x: layers.SpectralNormalization(
        layers.Conv2D(8, 3)
    )(x),
    "normalized dot": lambda x: layers.Dot(axes=-1, normalize=True)(
        [layers.Reshape((64, 8))(y) for y in (x, layers.Conv2D(8, 1)(x))]
    )[:, None],
}


# These name the size of the batch.
FIXED = ("slice", "broadcast_to")


@pytest.mark.parametrize("kind", FOLLOWED)
def test_channels_are_followed_through(kind):
    shape = (8, 8, 3)
    inputs = keras.Input(shape, batch_size=4 if kind in FIXED else None)
    x = layers.Conv2D(8, 3, padding="same", name="a")(inputs)
    x = FOLLOWED[kind](x)
    x = layers.Conv2D(4, 1, activation="relu", name="b")(x)
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    plan = pruned(model, budget={"channels": 0.5})
    assert 2 <= lost(plan, "a")[0] < 8, lost(plan, "a")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_block_of_positions_is_removed_whole_or_not_at_all(data_format):
    first = data_format == "channels_first"
    inputs = keras.Input((4, 6, 8) if first else (6, 8, 4))
    x = layers.Activation("relu")(inputs)
    x = layers.EinsumDense(
        "abcd,be->aecd" if first else "abcd,de->abce",
        (4, 6, 8) if first else (6, 8, 4),
        bias_axes="e",
        name="a",
    )(x)
    x = ops.nn.depth_to_space(x, 2, data_format=data_format)
    x = layers.Permute((3, 2, 1))(x)
    x = layers.GlobalAveragePooling2D(data_format=data_format)(x)
    model = models.randomize(keras.Model(inputs, layers.Dense(2)(x)), 0)
    kept, why = lost(pruned(model, budget={"channels": 0.5}), "a")
    assert kept == 0 and "'depth_to_space" in why


WRAPPED = {
    "spectral normalization": lambda **options: layers.SpectralNormalization(
        layers.Conv2D(4, 3, **options), name="b"
    ),
    "over time": lambda **options: layers.TimeDistributed(
        layers.Dense(4, **options), name="b"
    ),
    "images over time": lambda **options: layers.TimeDistributed(
        layers.Conv1D(4, 3, **options), name="b"
    ),
}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", WRAPPED)
def test_a_constant_goes_into_the_bias_of_the_layer_inside(kind, use_bias):
    inputs = keras.Input((6, 7, 3))
    x = layers.Conv2D(8, 1, activation="relu", name="a")(inputs)
    x = WRAPPED[kind](use_bias=use_bias, activation="relu")(x)
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    layer = model.get_layer("a")
    kernel = np.array(layer.kernel)
    kernel[..., :3] = 0
    layer.kernel.assign(kernel)
    layer.bias.assign(np.linspace(0.5, 1.0, 8))
    x = images(model)
    plan = pruned(model, criterion=None, budget=None)
    assert lost(plan, "a")[0] == 3
    assert difference(run(model, x), run(plan.apply(model), x)) <= 1e-5


@pytest.mark.parametrize("followed_first", [False, True])
def test_what_is_not_followed_in_one_call_stays_whole_in_all(followed_first):
    shared = layers.Conv1D(8, 1, groups=4)
    inputs = keras.Input((8, 4))
    positions = layers.Permute((2, 1))(inputs)
    found = [layers.Conv1D(8, 1, name="a")(positions), positions]
    # A layer is called in the order of its depth in the graph.
    if followed_first:
        found[1] = layers.Permute((2, 1))(inputs)
        for _ in range(3):
            found[1] = layers.Permute((1, 2))(found[1])
    branches = [layers.ReLU()(shared(x)) for x in found]
    branches = [layers.Conv1D(3, 1)(x) for x in branches]
    model = keras.Model(inputs, layers.Concatenate()(branches))
    plan = pruned(models.randomize(model, 0))
    for name in "a", shared.name:
        count, reason = lost(plan, name)
        assert not count and "must stay, in groups" in reason


def test_spectral_normalization_is_cut_as_the_layer_inside_is():
    inputs = keras.Input((8, 8, 3))
    x = layers.SpectralNormalization(layers.Conv2D(8, 3), name="a")(inputs)
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    model = models.randomize(keras.Model(inputs, x), 0)
    plan = pruned(model, budget={"channels": 0.5})
    assert lost(plan, "a")[0] >= 4
    small, x = plan.apply(model), images(model)
    small.compile("sgd", "mse")
    small.fit(x, np.ones((len(x), 2)), verbose=0)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_layer_normalization_keeps_the_statistics_of_all_channels(
    policy, tmp_path
):
    inputs = keras.Input((6, 8))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x = t = layers.Dense(8, name="stream")(inputs)
        x = layers.LayerNormalization(name="norm")(x)
        x = layers.Dense(16, activation="gelu")(x)
        x = layers.Add()([t, layers.Dense(8, name="out")(x)])
        x = layers.Dense(3)(layers.LayerNormalization(name="last")(x))
        model = keras.Model(inputs, x)
    finally:
        keras.config.set_dtype_policy(before)
    models.randomize(model, 0)
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    small, masked, x = plan.apply(model), plan.mask(model), images(model)
    limit = 1e-5 if policy == "float32" else 5e-3
    assert difference(run(masked, x), run(small, x)) <= limit
    assert lost(plan, "stream")[0] >= 3
    assert small.count_params() == plan.after["params"]
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    assert difference(run(small, x), run(loaded, x)) == 0
    # The small model's normalization is followed in turn, by its operations.
    again = pruning.plan(small, "random", {"channels": 0.5}, round_to=1)
    masked, smaller = again.mask(small), again.apply(small)
    assert difference(run(masked, x), run(smaller, x)) <= limit
    assert lost(again, "stream")[0] > 0


def repeated():
    """Convolutions of images over time, with a sum, in one model."""
    inputs = keras.Input((6, 6, 2))
    x = t = layers.Conv2D(8, 3, padding="same", name="first")(inputs)
    x = layers.Conv2D(8, 3, padding="same", name="second")(
        layers.ReLU()(layers.BatchNormalization()(x))
    )
    x = layers.GlobalAveragePooling2D()(layers.Add()([t, x]))
    return keras.Model(inputs, layers.Dense(8, name="third")(x), name="frame")


def test_a_model_over_time_is_followed_as_a_nested_one():
    model = keras.Sequential(
        [
            keras.Input((4, 6, 6, 2)),
            layers.TimeDistributed(repeated(), name="each"),
            layers.Conv1D(6, 2, activation="relu", name="last"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    models.randomize(model, 0).compile("sgd", "mse")
    x = images(model)
    rise = pruning.criteria.LossRise((x, np.zeros((len(x), 2))), verbose=False)
    for criterion in ("random", rise):
        plan = pruned(model, criterion=criterion, budget={"channels": 0.4})
        for name in ("first", "second", "third"):
            assert lost(plan, f"each/{name}")[0] > 0, name
    assert plan.before["macs"] == knc.summary(model).macs
    small = plan.apply(model)
    assert type(small.get_layer("each")) is layers.TimeDistributed
    assert plan.after["macs"] == knc.summary(small).macs


def test_a_model_over_a_free_number_of_steps_says_that_it_stays():
    inputs = keras.Input((None, 6, 6, 2))
    x = layers.TimeDistributed(repeated(), name="each")(inputs)
    x = layers.Dense(2)(layers.GlobalAveragePooling1D()(x))
    plan = pruning.plan(keras.Model(inputs, x), "random", {"params": 0.5})
    assert lost(plan, "each") == (0, "no rule for Functional in 'each'")
