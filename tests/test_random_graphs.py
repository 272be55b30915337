"""Removal is exact on random graphs of every layer family.

FUZZ_GRAPHS is how many graphs are tried, FUZZ_START the first seed.
"""

import collections
import os

import graphs
import keras
import numpy as np
import pytest
from keras import layers

from keras_nonconvex import pruning

GRAPHS = int(os.environ.get("FUZZ_GRAPHS", "90"))
START = int(os.environ.get("FUZZ_START", "0"))
CHUNK = 30

# Of a chunk of graphs, at least so many have to lose channels to a budget,
# to have superfluous ones, to need carriers, and to bear a keep mask of the
# user's own.
LEAST = {"lost": 0.4, "zeros": 0.3, "carried": 0.1, "edited": 0.5}


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize("first", range(START, START + GRAPHS, CHUNK))
def test_random_graphs(first):
    seeds = range(first, min(first + CHUNK, START + GRAPHS))
    found = collections.Counter()
    failures = []
    for seed in seeds:
        try:
            found.update(graphs.check(seed))
        except Exception as error:
            failures.append(
                f"{graphs.describe(seed)}\n{type(error).__name__}: {error}\n"
                f"Once more: PYTHONPATH=tests python -m graphs {seed}\n"
            )
    assert not failures, "\n".join(failures)
    if len(seeds) == CHUNK:
        for what, part in LEAST.items():
            assert found[what] >= part * CHUNK, f"{what}: {dict(found)}"


# Kinds that the channels before them cannot be pruned through: their values
# depend on all of the channels, or no rule says how.
FREEZING = {
    "batch_norm_of_positions",
    "group_norm_of_all",
    "op_mean_of_channels",
    "softmax",
    "unknown",
}

# What is in them is drawn from all kinds; see the test of their own below.
DRAWN = {"nested_functional", "nested_sequential"}

PRUNABLE = sorted(graphs.KINDS.keys() - FREEZING - DRAWN)


# After these, two axes have channels: Flatten would merge them.
OF_TWO_AXES = {"einsum_positions"}


def sandwich(block, shape, flat=True):
    """dense - block - dense, where nothing else reads the channels."""
    inputs = keras.Input(shape)
    x = layers.Dense(8, name="front")(inputs)
    x = block(x)
    x = layers.Dense(2)(layers.Flatten()(x) if flat else x)
    return keras.Model(graphs.sources(inputs, x), x)


def lost(model):
    """How many channels the front layer loses, and why not more."""
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    (front,) = [layer for layer in plan.layers if layer.name == "front"]
    return len(front.keep) - sum(front.keep), front.reason


def sandwiches(kind, count=4):
    build, ranks = graphs.KINDS[kind].build, graphs.KINDS[kind].ranks
    for seed in range(count):
        rng = np.random.default_rng(seed)
        shape = ((6,) * (ranks[seed % len(ranks)] - 2)) + (3,)
        yield sandwich(
            lambda x, rng=rng: build(x, rng), shape, kind not in OF_TWO_AXES
        )


@pytest.mark.parametrize("kind", PRUNABLE)
def test_family_is_prunable(kind):
    with graphs.within(60):
        for model in sandwiches(kind):
            count, reason = lost(model)
            assert count, reason


@pytest.mark.parametrize("kind", sorted(FREEZING))
def test_family_freezes(kind):
    for model in sandwiches(kind):
        assert lost(model)[0] == 0


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_nested_models_are_prunable(kind):
    inputs = keras.Input((6, 6, 8))
    model = keras.Sequential(
        [inputs, layers.ReLU(), layers.Conv2D(4, 3), layers.ReLU()]
    )
    if kind == "functional":
        model = keras.Model(inputs, model(inputs))
    assert lost(sandwich(model, (6, 6, 3)))[0]
