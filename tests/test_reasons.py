"""Plans say which layers keep all that they have, why, and what is unknown."""

import keras
import models
import pytest
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import pruning

# Nothing can be this small: all that can go does.
LEAST = {"budget": {"params": 1e-9}, "round_to": 1}


class Own(layers.Layer):
    """A matrix of its own, and no rule."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 16), name="matrix")

    def call(self, x):
        return ops.matmul(x, self.matrix)


class Cell(layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x, states):
        y = ops.matmul(x, self.kernel) + states[0]
        return y, [y]


def chain(*stack, shape=(6,)):
    x = inputs = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def shuffled():
    """The groups of both convolutions make one class of all channels."""
    return chain(
        layers.Conv1D(8, 1, name="wide"),
        layers.Conv1D(4, 3, groups=4, name="grouped"),
        layers.Conv1D(1, 1, name="narrow"),
        layers.GlobalAveragePooling1D(),
        shape=(9, 4),
    )


def images_in_time():
    return chain(
        layers.TimeDistributed(layers.Conv2D(5, 3), name="each"),
        layers.ConvLSTM2D(4, 3, name="memory"),
        layers.GlobalAveragePooling2D(),
        shape=(3, 9, 9, 2),
    )


# model: {layer that keeps all that it has: what its reason says}
KEEPING = {
    "own layer": (
        lambda: chain(layers.Dense(9, name="a"), Own(name="own")),
        {"a": "'own'", "own": "no rule for Own 'own'"},
    ),
    "own cell": (
        lambda: chain(layers.RNN(Cell(5), name="rnn"), shape=(4, 3)),
        {"rnn": "no rule for RNN 'rnn'"},
    ),
    "images in time": (
        images_in_time,
        {"each": "'memory'", "memory": "no rule for ConvLSTM2D 'memory'"},
    ),
    "normalization": (
        lambda: chain(
            layers.BatchNormalization(name="norm"), layers.Softmax(name="soft")
        ),
        {"norm": "model input", "head": "model output"},
    ),
    "one channel": (shuffled, {"head": "model output"}),
}


@pytest.mark.parametrize("name", KEEPING)
def test_what_keeps_all_that_it_has_says_why(name):
    make, reasons = KEEPING[name]
    plan = pruning.plan(make(), **LEAST)
    rows = {row.name: row for row in plan.layers}
    for layer, reason in reasons.items():
        assert reason in rows[layer].reason
        assert reason in plan.explain(layer)
    assert all(r.reason for r in plan.layers if r.params[0] == r.params[1])


@pytest.mark.parametrize("graph", sorted(models.ZOO))
def test_every_layer_has_a_row(graph):
    model = models.ZOO[graph](0)
    plan = pruning.plan(model, **LEAST)
    assert not plan.met and plan.limit
    assert sum(r.params[0] for r in plan.layers) == model.count_params()
    assert all(r.reason for r in plan.layers if r.params[0] == r.params[1])


def test_classes_that_are_a_whole_layer_say_so():
    inputs = keras.Input((6,))
    single = layers.Dense(1, name="single")(inputs)
    x = layers.Dense(2, name="tied")(inputs)
    x = layers.Add()([x, layers.Concatenate()([single, single])])
    model = keras.Model(inputs, layers.Dense(2)(x))
    rows = {row.name: row for row in pruning.plan(model, **LEAST).layers}
    assert rows["tied"].channels == (2, 2)
    assert rows["tied"].reason == "all 2 channels of 'tied' would go"
    assert rows["single"].reason == rows["tied"].reason
    model = chain(layers.Dense(1, name="single"))
    (row, _) = pruning.plan(model, **LEAST).layers
    assert row.reason == "'single' has no other channel"


def test_the_limit_blames_what_holds_the_parameters():
    stack = layers.Dense(4, name="a"), Own(name="big"), layers.Dense(3)
    plan = pruning.plan(chain(*stack, shape=(600,)), **LEAST)
    assert "'big'" in plan.limit
    inputs = keras.Input((6,))
    x = layers.Dense(50, activation="softmax", name="soft")(inputs)
    model = keras.Model(inputs, layers.Dense(40, name="wide")(x))
    plan = pruning.plan(model, **LEAST)
    assert plan.limit.endswith(
        "Of 2,390 parameters that stay, 2,040 cannot go (in wide): model "
        "output."
    )
    model = chain(layers.Dense(9, name="a"), layers.Dense(7, name="b"))
    plan = pruning.plan(model, exclude="a", **LEAST)
    # Of b's kernel no weight is held: all of its channels but one go.
    assert "63 cannot go (in a): 'a' is excluded" in plan.limit


def test_criteria_without_a_score_say_so():
    model = chain(
        layers.Dense(8, name="plain"),
        layers.Dense(8, name="scaled"),
        layers.BatchNormalization(),
    )
    plan = pruning.plan(model, "bn_scale", **LEAST)
    assert plan.layers[0].reason == "bn_scale gives it no score"
    assert plan.layers[1].channels[1] < 8


@pytest.mark.parametrize(
    "name,unknown",
    [
        ("own layer", ["own"]),
        ("own cell", ["rnn"]),
        ("images in time", []),
        ("normalization", []),
    ],
)
def test_macs_that_are_not_known_are_not_told(name, unknown):
    model = KEEPING[name][0]()
    plan, summary = pruning.plan(model), knc.summary(model)
    assert plan.uncounted == unknown
    assert [row.name for row in summary.layers if not row.counted] == unknown
    for text in (str(plan), str(summary)):
        assert ("?" in text) == bool(unknown)
        assert ("counted MACs" in text) == bool(unknown)
    for layer in unknown:
        assert "MACs: not known" in plan.explain(layer)
    again = pruning.PruningPlan.from_json(plan.to_json())
    assert again.uncounted == unknown


def test_without_a_size_no_macs_are_known():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x))
    plan = pruning.plan(keras.Model(inputs, x))
    assert plan.uncounted == ["conv"] and "?" in str(plan)
    assert "macs" not in plan.before
