"""Layers are named by patterns of their names and of their whole paths."""

import keras
import pytest
from keras import layers

from keras_nonconvex import layer_names
from keras_nonconvex import pruning

PATHS = [
    f"backbone/stage_{i}/block_{j}_expand" for i in range(9) for j in "abc"
]


@pytest.fixture(scope="module")
def nested():
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, name="wide"), layers.Dense(4)],
        name="backbone",
    )
    inputs = keras.Input((6,))
    outputs = layers.Dense(3, name="head")(inner(inputs))
    return keras.Model(inputs, outputs)


def test_patterns_mean_names_and_paths():
    path = "phone/backbone/conv_1"
    for pattern in ("conv_1", "conv*", "*", "*/conv_1", path, "phone/*"):
        assert layer_names.matches(pattern, path), pattern
    for pattern in ("backbone", "conv", "backbone/conv_1", "Conv*", "phone"):
        assert not layer_names.matches(pattern, path), pattern
    assert not layer_names.matches("conv*", "conv_base/head")


@pytest.mark.parametrize("pattern", ["wide", "backbone/wide", "back*/wide*"])
def test_options_of_plans_take_names_and_paths(nested, pattern):
    plan = pruning.plan(nested, budget={"params": 0.6}, exclude=pattern)
    (wide,) = [entry for entry in plan.layers if entry.name == "backbone/wide"]
    assert wide.channels == (8, 8) and "is excluded" in wide.reason
    parts = {"channels": {pattern: 0.5}}
    plan = pruning.plan(nested, budget=parts, round_to=1)
    assert plan.layers[0].channels == (8, 3)
    assert plan.explain(pattern).startswith("backbone/wide (Dense)")


def test_a_wrong_name_brings_the_nearest_not_all():
    for path in PATHS:
        for wrong in (path[:-2], f"{path[9:]}*", path.replace("stage", "stge")):
            told = layer_names.near(wrong, PATHS)
            assert told.count(",") == 2 and path in told
    own = "block_b_expnd"
    assert all("block_b_" in t for t in layer_names.near(own, PATHS).split(","))
    assert layer_names.near("conv", []) == "Near names: none."


def test_wrong_names_in_options_bring_the_nearest(nested):
    for call in (
        lambda: pruning.plan(nested, budget={"params": 0.6}, exclude="wid"),
        lambda: pruning.plan(nested, budget={"channels": {"wid": 0.5}}),
        lambda: pruning.plan(nested).explain("wid"),
        lambda: pruning.plan(nested).explain("dense*e*x"),
    ):
        with pytest.raises(ValueError, match="Near names: .*wide.* Received:"):
            call()


def test_long_lists_are_cut():
    assert layer_names.some("abcde") == "a, b, c, d, e"
    assert layer_names.some([*"abcde", "a", "f"]) == "a, b, c, d, e and 1 more"
