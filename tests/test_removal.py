"""Removal is exact, and the model that it comes from stays what it was."""

import keras
import models
import numpy as np
import pytest
from helpers import images
from helpers import run
from keras import layers
from keras import ops

from keras_nonconvex import pruning


def difference(first, second):
    """The greatest one, in units of the greatest value."""
    return max(
        float(np.abs(a - b).max() / np.abs(a).max())
        for a, b in zip(first, second, strict=True)
    )


def pruned(model, **options):
    """A plan whose small model computes what the masked one does.

    The original keeps its values, and shares no variable with either.
    """
    options = {"budget": {"params": 0.6}, "round_to": 1, **options}
    x = images(model)
    before = run(model, x)
    plan = pruning.plan(model, **options)
    small, masked = plan.apply(model), plan.mask(model)
    assert difference(run(masked, x), run(small, x)) <= 1e-5
    assert difference(before, run(model, x)) == 0
    for other in (small, masked):
        own = {id(v) for v in other.variables}
        assert not own & {id(v) for v in model.variables}
    assert small.count_params() == plan.after["params"]
    return plan


def lost(plan, name):
    """How many channels of a layer go, and what is said of the rest."""
    (layer,) = [p for p in plan.layers if p.name == name]
    return layer.keep.count(False), layer.reason


def between(block, shape=(8, 8, 3), filters=8):
    """conv "a" - block - conv "b" - head, with random weights."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(filters, 3, padding="same", name="a")(inputs)
    x = layers.Conv2D(4, 1, activation="relu", name="b")(block(x))
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    return models.randomize(keras.Model(inputs, x), 0)


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
    plan = pruned(model, budget={"channels": {"p": 0.5}})
    assert lost(plan, "p")[0] and not lost(plan, "q")[0]
    pruned(model, budget={"channels": {"[pq]": 0.5}})


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
    again = pruning.plan(small, "random", {"channels": 0.5}, round_to=1)
    assert lost(again, "stream")[0]
