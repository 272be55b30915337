"""Coupled groups: whole classes of channels become zero, across layers."""

import keras
import models
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import pruning


def residual(**options):
    model = models.residual(**options)
    return knc.ProximalModel(model.input, model.output, name="residual")


def values_of(coupled):
    return [ops.convert_to_numpy(v) for v in coupled.variables]


def classes(coupled, values):
    """The weights of each class, as one vector per class."""
    found = [[] for _ in range(coupled.count)]
    for part in coupled.parts:
        array = values[coupled._places[id(part.variable)]]
        rows = np.moveaxis(array, part.axis, 0).reshape(len(part.groups), -1)
        for group, row in zip(part.groups, rows, strict=True):
            if group < coupled.count:
                found[group].append(row)
    return [np.concatenate(rows) for rows in found]


def test_groups_are_the_classes_of_the_channel_graph():
    model = residual()
    coupled = knc.CoupledGroups(model, penalties.L1(), 0.1)
    assert coupled.count == 8 + 5 + 5
    vectors = classes(coupled, values_of(coupled))
    # Stem: kernel 27, scale, shift; two convolutions of 5 inputs.
    assert sorted({len(v) for v in vectors}) == [27 + 2 + 5 + 5, 8 * 9 + 1 + 1]
    norms = ops.convert_to_numpy(coupled.norms(values_of(coupled)))
    np.testing.assert_allclose(
        norms, [np.linalg.norm(v) for v in vectors], rtol=1e-5
    )
    value = sum(0.1 * np.sqrt(len(v)) * np.linalg.norm(v) for v in vectors)
    assert float(coupled.value(values_of(coupled))) == pytest.approx(
        value, rel=1e-5
    )


@pytest.mark.parametrize(
    "penalty",
    [penalties.L1(), penalties.TransformedL1(1.0), penalties.MCP(3.0, 1.0)],
)
def test_the_prox_beats_its_neighbours(penalty):
    coupled = knc.CoupledGroups(residual(), penalty, 0.2)
    values = values_of(coupled)
    step = 0.5
    new = [ops.convert_to_numpy(v) for v in coupled.proximal(values, step)]

    def objective(points):
        distance = sum(
            float(((a - b).astype("float64") ** 2).sum())
            for a, b in zip(points, values, strict=True)
        )
        return step * float(coupled.value(points)) + distance / 2

    best = objective(new)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1e-2, 1e-1):
        for _ in range(5):
            near = [
                v + scale * rng.normal(size=v.shape).astype("float32")
                for v in new
            ]
            assert objective(near) >= best - 1e-5 * abs(best)
    for factor in (0.0, 0.9, 1.1):
        assert objective([factor * v for v in new]) >= best - 1e-5 * abs(best)


@pytest.mark.parametrize("consumers", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_whole_classes_die_in_training_and_are_removed(optimizer, consumers):
    keras.utils.set_random_seed(0)
    model = residual()
    optimizer, strength = {
        "sgd": (keras.optimizers.SGD(0.05), 0.14),
        "momentum": (keras.optimizers.SGD(0.005, momentum=0.9), 0.18),
        "adam": (keras.optimizers.Adam(0.02), 0.0025),
    }[optimizer]
    coupled = knc.CoupledGroups(
        model,
        penalties.L1(),
        strength * (0.65 if consumers else 1.0),
        consumers=consumers,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, coupled=coupled)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 10, 10, 3)).astype("float32")
    y = rng.integers(0, 4, 64)
    model.fit(x, y, epochs=30, batch_size=32, verbose=0)
    norms = ops.convert_to_numpy(model.coupled.norms(model.coupled.variables))
    assert 0 < (norms == 0).sum() < len(norms)
    plan = pruning.plan(model)
    stem = next(p for p in plan.layers if p.name == "stem")
    dead = sum(norms[:8] == 0)
    full, kept = stem.channels
    assert full - kept >= min(dead, 7)
    small = plan.apply(model)
    a, b = (ops.convert_to_numpy(m(x, training=False)) for m in (model, small))
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(a).max())
    assert small.count_params() < model.count_params()


def test_logged_loss_is_data_loss_and_penalty():
    model = residual()
    coupled = knc.CoupledGroups(model, penalties.L1(), 0.01)
    model.compile(keras.optimizers.SGD(0.0), "mse", coupled=coupled)
    x = np.random.default_rng(0).normal(size=(8, 10, 10, 3)).astype("float32")
    y = np.zeros((8, 4), "float32")
    data = float(np.mean(ops.convert_to_numpy(model(x, training=False)) ** 2))
    value = float(coupled.value(values_of(coupled)))
    logged = model.evaluate(x, y, verbose=0)
    assert logged == pytest.approx(data + value, rel=1e-5)


def test_adam_has_the_fixed_point_of_the_objective():
    # One linear layer, its class a column of the kernel with its bias.
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, 3)).astype("float32")
    target = (x @ rng.normal(size=(3, 4)) * [1, 0.02, 1, 0.05]).astype(
        "float32"
    )

    def solution(optimizer, steps):
        inputs = keras.Input((3,))
        z = layers.Dense(4, name="a", kernel_initializer="ones")(inputs)
        outputs = layers.EinsumDense("ab,b->ab", 4, name="b", trainable=False)
        outputs.build((None, 4))
        outputs.set_weights([np.ones(4)])
        z = outputs(z)
        z = layers.Dense(4, name="c", trainable=False, use_bias=False)(z)
        model = knc.ProximalModel(inputs, z)
        model.get_layer("c").set_weights([np.eye(4)])
        coupled = knc.CoupledGroups(model, penalties.L1(), 0.03)
        model.compile(optimizer, "mse", coupled=coupled)
        data = np.tile(x, (50, 1)), np.tile(target, (50, 1))
        model.fit(
            *data, epochs=steps // 50, batch_size=64, shuffle=False, verbose=0
        )
        kernel = model.get_layer("a").get_weights()
        return np.concatenate([kernel[0], kernel[1][None]])

    exact = solution(keras.optimizers.SGD(0.3), 300)
    adam = solution(keras.optimizers.Adam(0.02), 600)
    assert 0 < (exact == 0).all(axis=0).sum() < 4
    np.testing.assert_array_equal(adam == 0, exact == 0)
    np.testing.assert_allclose(adam, exact, atol=2e-4)


def test_save_and_load(tmp_path):
    model = residual()
    coupled = knc.CoupledGroups(
        model, penalties.TransformedL1(0.5), 0.01, consumers=True
    )
    model.compile("sgd", "mse", coupled=coupled)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.coupled.get_config() == coupled.get_config()
    assert loaded.coupled.count == coupled.count
    assert loaded.coupled.variables[0] is loaded.trainable_variables[0]
    small = knc.prune(model, "group_norm", {"params": 0.7}, 1)
    assert small.loss == "mse"


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda m: knc.CoupledGroups(m, "l1", 0.1), "scalar penalty"),
        (
            lambda m: knc.CoupledGroups(m, penalties.L1MinusL2(), 0.1),
            "scalar penalty",
        ),
        (lambda m: knc.CoupledGroups(m, penalties.L1(), -1), "`strength`"),
        (
            lambda m: m.compile("sgd", "mse", coupled=0.1),
            "must be a knc.CoupledGroups",
        ),
        (
            lambda m: m.compile(
                "sgd",
                "mse",
                solver=knc.solvers.Subgradient(),
                coupled=knc.CoupledGroups(m, penalties.L1(), 0.1),
            ),
            "need solver=ProximalGradient",
        ),
        (
            lambda m: knc.attach(
                m, {"stem": knc.GroupLasso(1e-3), "*": None}
            ).compile(
                "sgd",
                "mse",
                coupled=knc.CoupledGroups(m, penalties.L1(), 0.1),
            ),
            "cannot have a prox of their own",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make(residual())
    assert "Received:" in str(error.value)
