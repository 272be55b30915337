"""Own layers and subclassed models are followed to the layers inside."""

import keras
import numpy as np
import pytest
from helpers import run
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import pruning
from keras_nonconvex import unfolding

SHAPE = (6, 6, 3)


class Block(layers.Layer):
    """Convolution and norm, a Sequential and a list, around a shortcut."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(filters, 3, padding="same")
        self.bn = layers.BatchNormalization()
        self.rest = keras.Sequential(
            [layers.Conv2D(2 * filters, 1), layers.ReLU()]
        )
        self.last = [layers.Dropout(0.5), layers.Conv2D(filters, 1)]

    def call(self, x, training=None):
        y = ops.relu(self.bn(self.conv(x), training=training))
        y = self.rest(y)
        for layer in self.last:
            y = layer(y)
        return x + y


class Outer(layers.Layer):
    """Own layers inside of an own layer."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(filters, 3)
        self.blocks = [Block(filters), Block(filters, name="named")]

    def call(self, x, training=None):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return ops.mean(x, axis=(1, 2))


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.body = Outer(8)
        self.head = layers.Dense(3)

    def call(self, x, training=None):
        return self.head(self.body(x, training=training))


class Doubled(keras.Model):
    """A functional model whose own `call` does more than its graph."""

    def call(self, x, training=None, mask=None):
        return super().call(2.0 * x, training=training) + 1.0


def moved(model, seed=0):
    """No weight is at its start: what fresh models have hides mistakes."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight + rng.uniform(0.05, 0.3, weight.shape))
    return model


def subclassed():
    model = Subclassed(name="subclassed")
    model(np.zeros((2, *SHAPE)))
    return moved(model)


def with_blocks():
    inputs = keras.Input(SHAPE)
    outputs = layers.Dense(3, name="head")(Outer(8, name="body")(inputs))
    return moved(keras.Model(inputs, outputs))


def doubled():
    inputs = keras.Input(SHAPE)
    x = layers.ReLU()(layers.Conv2D(8, 3, name="conv")(inputs))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(3, name="head")(x)
    return moved(Doubled(inputs, outputs))


def around_doubled():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, layers.Dense(2)(doubled()(inputs)))


MODELS = [subclassed, with_blocks, doubled, around_doubled]


def x(seed=0, n=3):
    return (
        np.random.default_rng(seed).normal(size=(n, *SHAPE)).astype("float32")
    )


def difference(a, b):
    return float(np.abs(a - b).max() / np.abs(a).max())


@pytest.mark.parametrize("build", MODELS)
def test_what_unfolds_is_pruned_exactly(build, tmp_path):
    model = build()
    before, expected = model.get_weights(), run(model, x())[0]
    unfolded, whole, _ = unfolding.unfold(model)
    assert not whole
    assert difference(expected, run(unfolded, x())[0]) < 1e-6
    plan = pruning.plan(model, budget={"params": 0.6}, round_to=1)
    assert plan.met
    small, masked = plan.apply(model), plan.mask(model)
    assert small.count_params() == plan.after["params"]
    small.save(tmp_path / "small.keras")
    # None of the classes here is registered: the file needs none.
    loaded = keras.models.load_model(tmp_path / "small.keras")
    for again in (small, loaded):
        assert difference(run(masked, x())[0], run(again, x())[0]) < 1e-5
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(expected, run(model, x())[0])


def nodes(model):
    return [
        (layer.name, len(layer._inbound_nodes), len(layer._outbound_nodes))
        for layer in model._flatten_layers()
    ]


@pytest.mark.parametrize("build", MODELS)
def test_unfolding_leaves_no_trace_at_the_layers(build):
    model = build()
    before = nodes(model)
    unfolding.unfold(model)
    assert nodes(model) == before


def test_layers_are_named_as_the_attributes_that_hold_them():
    """A name of the user's own stays; what Keras made up goes."""
    names = [layer.name for layer in pruning.plan(subclassed()).layers]
    assert names == [
        "body/stem",
        "body/blocks_0/conv",
        "body/blocks_0/bn",
        "body/blocks_0/rest/conv2d",
        "body/blocks_0/last_1",
        "body/named/conv",
        "body/named/bn",
        "body/named/rest/conv2d",
        "body/named/last_1",
        "head",
    ]


@pytest.mark.parametrize("build", [subclassed, with_blocks])
def test_a_plan_applies_to_another_model_of_the_same_kind(build):
    plan = pruning.plan(build(), budget={"macs": 0.6}, round_to=1)
    plan = pruning.PruningPlan.from_json(plan.to_json())
    model = build()
    small, masked = plan.apply(model), plan.mask(model)
    assert knc.summary(small).macs == plan.after["macs"]
    assert difference(run(masked, x())[0], run(small, x())[0]) < 1e-5


def test_training_reaches_the_layers_inside():
    model = with_blocks()
    unfolded = unfolding.functional(model)
    first, second = (unfolded(x(), training=True) for _ in range(2))
    # The dropout draws, and the moving averages of the original move.
    assert difference(first.numpy(), second.numpy()) > 1e-3
    assert difference(run(unfolded, x())[0], run(model, x())[0]) < 1e-6


def around(*parts, shape=SHAPE):
    """convolution - own layers - pooling - dense."""
    inputs = keras.Input(shape)
    y = layers.Conv2D(8, 1, name="front")(inputs)
    for part in parts:
        y = part(y)
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(y))
    return moved(keras.Model(inputs, outputs))


class Frozen(layers.Layer):
    """Its norm is in inference mode, whatever the model does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bn = layers.BatchNormalization()

    def call(self, x, training=None):
        return self.bn(x, training=False)


class OwnWeight(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale


class OnlyTrains(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8)

    def call(self, x, training=None):
        return self.dense(x) + 1.0 if training else self.dense(x)


class ReadsWeights(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8)

    def call(self, x):
        return ops.matmul(self.dense(x), ops.transpose(self.dense.kernel))


class Draws(layers.Layer):
    def call(self, x):
        return x + keras.random.normal((8,))


class OnlyValues(layers.Layer):
    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise TypeError("no symbols")
        return 2.0 * x


def test_a_layer_that_stays_whole_says_which_condition_failed():
    regularized = Block(8, activity_regularizer="l2")
    for layer, reason in (
        (OwnWeight(), "its weight 'scale' is not of a layer inside it"),
        (OnlyTrains(), "it calls something else with training=True"),
        (ReadsWeights(), "the calls on record compute something else"),
        (Frozen(), "with training=False, whatever its own is"),
        (Draws(), "it calls something else each time"),
        (OnlyValues(), "does not take symbolic tensors (TypeError: no symbols"),
        (regularized, "it has an activity regularizer"),
    ):
        model = around(layer)
        plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
        (front,) = [la for la in plan.layers if la.name == "front"]
        assert all(front.keep), layer
        assert reason in front.reason, front.reason
        small, masked = plan.apply(model), plan.mask(model)
        if not isinstance(layer, Draws):
            assert difference(run(masked, x())[0], run(small, x())[0]) < 1e-5


def test_a_model_that_does_not_unfold_is_refused_by_name():
    class Halved(Doubled):
        def call(self, x, training=None, mask=None):
            y = super().call(x, training=training)
            return 0.5 * y if training else y

    inputs = keras.Input(SHAPE)
    outputs = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    model = Halved(inputs, outputs, name="halved")
    with pytest.raises(ValueError, match="training=True.*'halved' .Halved"):
        pruning.plan(model)


class DropPath(layers.Layer):
    """Noise in training, nothing else: as stochastic depth is written."""

    def call(self, x, training=None):
        if training:
            shape = (ops.shape(x)[0], 1, 1, 1)
            return x * keras.random.uniform(shape)
        return x


def test_channels_pass_a_layer_that_only_acts_in_training():
    model = around(DropPath(), layers.Conv2D(8, 3))
    small = knc.prune(model, "random", {"channels": 0.5}, 1)
    assert small.get_layer("front").filters < 8
    names = [type(layer).__name__ for layer in small.layers]
    assert "DropPath" in names
    small.compile("sgd", "mse")
    small.fit(x(), np.zeros((3, 2)), verbose=0)


def test_a_function_in_a_lambda_becomes_operations(tmp_path):
    model = around(layers.Lambda(lambda t: ops.relu(2.0 * t) + 1.0))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    small, masked = plan.apply(model), plan.mask(model)
    assert small.get_layer("front").filters < 8
    assert difference(run(masked, x())[0], run(small, x())[0]) < 1e-5
    small.save(tmp_path / "small.keras")
    keras.models.load_model(tmp_path / "small.keras")


class TwoInputs(layers.Layer):
    """A dict goes in, a tuple comes out; the second output is an input."""

    def __init__(self, conv, **kwargs):
        super().__init__(**kwargs)
        self.conv = conv

    def call(self, given):
        y = self.conv(given["a"]) + given["b"]
        return y, given["b"]


def test_a_layer_shared_by_blocks_stays_one():
    conv = layers.Conv2D(8, 1, name="conv")
    first, second = TwoInputs(conv), TwoInputs(conv, name="second")
    inputs = keras.Input(SHAPE)
    a = layers.Conv2D(8, 1, name="front")(inputs)
    y, b = first({"a": a, "b": layers.ReLU()(a)})
    y, b = second({"a": y, "b": b})
    # Once more, at another size.
    z, _ = second({"a": y[:, ::2], "b": b[:, ::2]})
    outputs = [layers.GlobalMaxPooling2D()(t) for t in (y, z)]
    outputs = layers.Dense(2)(layers.Add()(outputs))
    model = moved(keras.Model(inputs, outputs))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    small, masked = plan.apply(model), plan.mask(model)
    n = small.get_layer("front").filters
    assert n < 8
    assert small.count_params() == n * (3 + 1) + n * (n + 1) + 2 * (n + 1)
    assert difference(run(masked, x())[0], run(small, x())[0]) < 1e-5


def test_a_layer_with_a_rule_of_its_own_is_not_unfolded():
    class Ruled(Block):
        pass

    @pruning.rule(Ruled)
    class RuledRule(pruning.Rule):
        def channels(self, layer, inputs, walk):
            raise pruning.CannotFollow("it has a rule")

    plan = pruning.plan(around(Ruled(8, name="ruled")))
    assert [layer.kind for layer in plan.layers][1] == "Ruled"


def test_attach_reaches_the_layers_inside_a_subclassed_model(tmp_path):
    model = subclassed()
    trained = knc.attach(model, {"body/*conv": knc.GroupLasso(0.1), "*": None})
    trained.compile("sgd", "mse")
    trained.fit(x(n=8), np.zeros((8, 3)), verbose=0)
    # The weights are those of the model that was handed in.
    assert difference(run(trained, x())[0], run(model, x())[0]) < 1e-6
    trained.save(tmp_path / "trained.keras")
    loaded = keras.models.load_model(tmp_path / "trained.keras")
    assert len(loaded.losses) == len(trained.losses) == 2
    plain = knc.strip(trained)
    assert not plain.losses


def test_counts_of_a_subclassed_model_are_those_of_its_layers():
    model = subclassed()
    counted = knc.summary(model)
    assert counted.params == model.count_params()
    assert counted.macs == pruning.plan(model).before["macs"] > 0
    groups = knc.CoupledGroups(model, knc.penalties.L1(), 0.1)
    mine = {id(v) for v in model.trainable_variables}
    assert {id(v) for v in groups.variables} <= mine
