"""Coupled groups: whole classes of channels become zero, across layers."""

import brute_force
import keras
import models
import numpy as np
import pytest
import strategies
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import pruning
from keras_nonconvex.pruning import costs
from keras_nonconvex.pruning.channels.trace import Trace


def residual(**options):
    model = models.residual(**options)
    return knc.ProximalModel(model.input, model.output, name="residual")


def values_of(coupled):
    return [ops.convert_to_numpy(v) for v in coupled.variables]


def classes(coupled, values):
    """The weights of each class, as one vector per class."""
    found = [[] for _ in range(coupled.count)]
    for part in coupled.classes.parts:
        array = dict(zip(map(id, coupled.variables), values, strict=True))[
            id(part.variable)
        ]
        groups = np.broadcast_to(part.groups, array.shape)
        for group in np.unique(part.groups[part.groups < coupled.count]):
            found[group].append(array[groups == group])
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


def times(coupled, values, factors, parts=None):
    """Each weight times the factors of all groups that it is in."""
    places = [id(variable) for variable in coupled.variables]
    found = dict(zip(places, map(np.copy, values), strict=True))
    for part in parts or coupled.classes.parts:
        known = part.groups < coupled.count
        of_parts = np.append(factors, 1.0)[np.where(known, part.groups, -1)]
        found[id(part.variable)] *= of_parts
    return list(found.values())


def spread(coupled):
    """Weights in float64 whose classes differ by decades, one of them zero."""
    values = [v.astype("float64") for v in values_of(coupled)]
    factors = np.geomspace(1e-3, 30.0, coupled.count)
    factors[2] = 0.0
    return times(coupled, values, np.random.default_rng(0).permutation(factors))


@pytest.fixture(scope="module")
def model():
    return residual()


@pytest.mark.parametrize("weights", ["sqrt_size", None])
@pytest.mark.parametrize("name", strategies.SCALAR)
def test_value_and_prox_are_the_penaltys_of_each_class(name, weights, model):
    """Over all regimes of the step; the directions of the classes stay.

    The strengths of the classes are float32.
    """
    base = penalties.REGISTRY[name]()
    for consumers in (False, True):
        coupled = knc.CoupledGroups(model, base, 0.3, consumers, weights)
        values = spread(coupled)
        vectors = classes(coupled, values)
        norms = np.array([np.linalg.norm(v) for v in vectors])
        sizes = np.array([len(v) for v in vectors])
        multiplier = 0.5 if consumers else 1.0
        # Per weight, and of their root mean square.
        roots = np.sqrt(sizes)
        strength = 0.3 * multiplier / (1.0 if weights else roots)
        strength = np.broadcast_to(strength, norms.shape)
        penalty = base
        if getattr(base, "knee", 1.0) is None:
            knee = ops.convert_to_tensor(strength, "float64")
            penalty = base.at(knee)
        sums = sizes * strength * brute_force.value(penalty, norms / roots)
        value = sums.sum()
        found = float(coupled.value(values, multiplier))
        assert found == pytest.approx(value, rel=1e-6)
        for step in (0.0, 1e-3, 0.1, 1.0, 5.0, np.geomspace(1e-3, 9, 18)):
            new = roots * brute_force.prox(
                penalty, norms / roots, step * strength
            )
            factors = new / np.where(norms > 0, norms, 1.0)
            if not np.ndim(step):
                tensor = step
            else:
                tensor = ops.convert_to_tensor(step, "float64")
            found = coupled.proximal(values, tensor, multiplier)
            expected = times(coupled, values, factors)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(
                    ops.convert_to_numpy(a), b, rtol=1e-5, atol=1e-6
                )


@pytest.mark.parametrize("weights", ["macs", None, tuple(range(1, 19))])
@pytest.mark.parametrize("name", ["L1", "TransformedL1", "MCP"])
def test_no_norm_beats_the_prox_with_weights_and_a_decay(name, weights, model):
    penalty = penalties.REGISTRY[name]()
    coupled = knc.CoupledGroups(
        model, penalty, 0.3, group_weights=weights, decay=0.7
    )
    values = [v.astype("float64") for v in values_of(coupled)]
    vectors = classes(coupled, values)
    sizes = np.array([len(v) for v in vectors])
    norms, roots = np.geomspace(1e-2, 30.0, 18), np.sqrt(sizes)
    if weights == "macs":
        weights = roots * saved(model, "macs") / saved(model, "macs").mean()
    slopes = 0.3 * (1.0 if weights is None else np.array(weights)) / roots
    penalty = penalty.at(ops.convert_to_tensor(slopes[:, None], "float64"))

    def objective(x, step=0.8):
        x = x.reshape(18, -1)
        rise = brute_force.value(penalty, x / roots[:, None])
        term = (sizes * slopes)[:, None] * rise + 0.35 * x**2
        return step * term + (x - norms[:, None]) ** 2 / 2

    found = ops.convert_to_numpy(coupled.term.proximal(norms, 0.8))
    excess = objective(found)[:, 0] - brute_force.least(objective, norms)
    assert np.all(excess <= 1e-6 * norms**2)
    assert (found == 0).any() and (found > 0).any()
    # The prox of the weights goes along their rays.
    rays = [norms[i] / np.linalg.norm(v) for i, v in enumerate(vectors)]
    moved = coupled.proximal(times(coupled, values, rays), 0.8)
    np.testing.assert_allclose(
        ops.convert_to_numpy(coupled.norms(moved)), found, rtol=1e-5, atol=1e-6
    )
    assert coupled.decays


def saved(model, key):
    """What each class saves if it goes alone, by counting what is left."""
    trace = Trace(model)
    counted = costs.Costs(trace)
    found = []
    for root in np.flatnonzero(trace.free):
        keep = np.ones(len(trace), bool)
        keep[root] = False
        found.append(counted.full[key] - counted.total(keep)[key])
    return np.array(found)


@pytest.mark.parametrize("key", ["macs", "params"])
def test_weights_by_cost_are_in_units_of_the_mean_class(key, model):
    coupled = knc.CoupledGroups(model, penalties.L1(), 1.0, group_weights=key)
    vectors = classes(coupled, values_of(coupled))
    share = saved(model, key) / saved(model, key).mean()
    terms = [
        s * np.sqrt(len(v)) * np.linalg.norm(v)
        for s, v in zip(share, vectors, strict=True)
    ]
    assert len(set(share.round(6))) > 1
    assert float(coupled.value(values_of(coupled))) == pytest.approx(
        sum(terms), rel=1e-5
    )


@pytest.mark.parametrize("consumers", [False, True])
def test_the_step_of_a_class_is_the_inverse_of_its_mean_metric(
    consumers, model
):
    coupled = knc.CoupledGroups(model, penalties.L1(), 0.3, consumers=consumers)
    rng = np.random.default_rng(0)
    before, now, metrics = (
        [rng.uniform(0.1, 3.0, v.shape) for v in coupled.variables]
        for _ in range(3)
    )
    points, steps = coupled.classes.points_and_steps(before, now, metrics)
    expected = [1 / m.mean() for m in classes(coupled, metrics)]
    np.testing.assert_allclose(ops.convert_to_numpy(steps), expected)
    # With consumers, a weight moves with the group that makes it.
    first = {}
    for part in coupled.classes.parts:
        first.setdefault(id(part.variable), part)
    stretch = times(coupled, metrics, expected, list(first.values()))
    for point, a, b, s in zip(points, before, now, stretch, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(point), a + (b - a) * s, rtol=1e-9
        )


@pytest.mark.parametrize(
    "optimizer, consumers",
    [("sgd", True), ("momentum", False), ("adam", False), ("adam", True)],
)
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


def test_a_path_of_strengths_thins_coupled_groups_out(tmp_path):
    model = residual()
    groups = knc.CoupledGroups(model, penalties.L1(), 0.02)
    model.compile(keras.optimizers.SGD(0.05), "mse", coupled=groups)
    x = np.random.default_rng(0).normal(size=(64, 10, 10, 3))
    options = {"multipliers": (1, 40), "epochs": 2, "batch_size": 8}
    path = knc.strength_path(
        model, x, np.zeros((64, 4)), out=tmp_path, verbose=0, **options
    )
    assert path[0]["zero_groups"] < path[1]["zero_groups"] <= 18
    assert "CoupledGroups" in (tmp_path / "path.json").read_text()


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
            lambda m: knc.CoupledGroups(
                m, penalties.L1(), 0.1, group_weights="flops"
            ),
            "'macs', 'params', None or a sequence",
        ),
        (
            lambda m: knc.CoupledGroups(
                m, penalties.L1(), 0.1, group_weights=(1.0, 2.0)
            ),
            "one number per class of channels, here 18",
        ),
        (
            lambda m: knc.CoupledGroups(m, penalties.L1(), 0.1, plan="plan"),
            "must be what knc.pruning.plan returns",
        ),
        (
            lambda m: knc.CoupledGroups(
                m, penalties.L1(), 0.1, plan=pruning.plan(m)
            ),
            "must drop channels",
        ),
        (
            lambda m: knc.CoupledGroups(
                m,
                penalties.L1(),
                0.1,
                plan=pruning.plan(models.chain(), budget={"params": 0.5}),
            ),
            "made for another model",
        ),
        (lambda m: knc.CoupledEnvelope(m, 0), "`k` must be"),
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
