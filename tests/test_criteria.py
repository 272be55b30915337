"""Criteria give the numbers of their papers."""

import collections

import batteries
import keras
import models
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import graph
from keras_nonconvex import pruning
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.costs import Costs


def samples(model, n=24, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *model.input_shape[1:])).astype("float32")
    return x, rng.integers(0, classes, n)


@pytest.mark.parametrize("test", batteries.tests_of(batteries.Criterion))
@pytest.mark.parametrize("name", sorted(criteria.REGISTRY))
def test_the_battery(name, test):
    inputs = x = keras.Input((10, 10, 2))
    for filters in (8, 9, 6):
        x = layers.Conv2D(filters, 3)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    getattr(batteries.Criterion(), test)(name, model, samples(model))


def scores_of(trace, layer, criterion):
    found = criterion(trace)
    if isinstance(found, list):
        found = criteria.combined(trace, found)
    return found[trace.root_of[trace.made[layer][0]]]


@pytest.mark.parametrize("key", ["macs", "params"])
@pytest.mark.parametrize("name", ["residual", "shared", "chain"])
def test_savings_are_the_difference_of_the_counts(key, name):
    """Of a class that goes alone, others as they are."""
    trace = Trace(getattr(models, name)())
    counted = Costs(trace)
    saved = pruning.savings(trace, key)
    for root in np.flatnonzero(trace.free):
        keep = np.ones(len(trace), bool)
        keep[root] = False
        left = counted.total(keep)[key]
        assert saved[root] == pytest.approx(counted.full[key] - left)


@pytest.mark.parametrize("key", ["macs", "params"])
def test_loss_estimates_are_summed_and_ranked_per_cost(key):
    """Norms are not; `combine` and `per` say otherwise for either."""
    model = models.residual()
    data = samples(model)
    budget = {key: 0.6}

    def keeps(criterion, **options):
        options |= {"data": data, "round_to": 1}
        plan = pruning.plan(model, criterion, budget, **options)
        return [layer.keep for layer in plan.layers]

    def by_hand(trace):
        scores = criteria.Taylor(data)(trace)
        return scores / np.maximum(pruning.savings(trace, key), 1)

    assert keeps("taylor") == keeps(by_hand)
    assert keeps("taylor") == keeps("taylor", per=key)

    def estimate(trace):
        return criteria.GroupNorm()(trace)

    estimate.estimates_loss = True
    assert keeps(estimate) == keeps("group_norm", combine="sum", per=key)
    assert keeps(estimate) != keeps("group_norm")
    plain = keeps("group_norm")
    assert plain == keeps("group_norm", combine="mean", per=None)
    assert plain != keeps("group_norm", per=key)


def test_an_unknown_divisor_is_refused():
    with pytest.raises(ValueError, match="Received: per='flops'"):
        pruning.plan(models.chain(), budget={"macs": 0.5}, per="flops")


def kernel_of(model, layer):
    return keras.ops.convert_to_numpy(model.get_layer(layer).kernel)


@pytest.mark.parametrize("p", [1, 2])
def test_group_norm_does_not_depend_on_size_or_scale(p):
    model = models.chain()
    found = scores_of(Trace(model), "b", criteria.GroupNorm(p))
    kernel = np.abs(kernel_of(model, "b"))
    norms = np.mean(kernel**p, axis=(0, 1, 2)) ** (1 / p)
    np.testing.assert_allclose(found, norms / norms.mean(), rtol=1e-6)
    raw = scores_of(Trace(model), "b", criteria.GroupNorm(p, relative=False))
    np.testing.assert_allclose(raw, norms, rtol=1e-6)


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_scores_of_tied_channels_combine(how):
    trace = Trace(models.residual())
    parts = criteria.GroupNorm()(trace)
    ours = [
        s
        for use, s in parts
        if use.layer.name in ("stem", "one_out", "two_out")
    ]
    assert len(ours) == 3
    expected = getattr(np, how)(ours, axis=0)
    found = criteria.combined(trace, parts, how)
    roots = trace.root_of[trace.made["stem"][0]]
    np.testing.assert_allclose(found[roots], expected, rtol=1e-6)


@pytest.mark.parametrize("percent", [0.0, 0.3, 0.5, 0.7])
def test_bn_scale_keeps_what_network_slimming_keeps(percent):
    model = knc.models.vgg16(input_shape=(32, 32, 3))
    rng = np.random.default_rng(3)
    norms = [la for la in model.layers if hasattr(la, "gamma")]
    for layer in norms:
        layer.gamma.assign(rng.uniform(0.1, 1, layer.gamma.shape) ** 2)
    plan = pruning.plan(model, "bn_scale", {"channels": 1 - percent}, 1)
    every = np.sort(np.concatenate([la.gamma.numpy() for la in norms]))
    threshold = every[int(len(every) * percent)]
    kept = [
        np.array(p.keep) for p in plan.layers if p.keep and p.name != "dense"
    ]
    assert len(kept) == len(norms)
    for layer, mask in zip(norms, kept, strict=True):
        wanted = layer.gamma.numpy() > threshold
        if percent == 0:
            wanted[:] = True
        np.testing.assert_array_equal(mask, wanted)


def test_bn_scale_in_its_optimal_form():
    model = models.residual()
    layer = model.layers[2]
    layer.gamma.assign([3, 1, 2, 0.5, 4, 1.5, 2.5, 0.1])
    found = scores_of(Trace(model), "stem", criteria.BNScale("optimal"))
    order = np.argsort(layer.gamma.numpy())
    shares = np.cumsum(np.sort(layer.gamma.numpy()) ** 2)
    # The stem is tied to two more layers, which have no such scale.
    np.testing.assert_allclose(found[order], shares / shares[-1], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_bn_importance_is_the_mean_of_a_rectified_normal(options):
    inputs = x = keras.Input((6, 6, 2))
    x = layers.Conv2D(7, 3, name="a")(x)
    norm = layers.BatchNormalization(**options)
    x = layers.ReLU()(norm(x))
    x = layers.Dense(3)(layers.Flatten()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    gamma, beta = np.ones(7), np.zeros(7)
    if norm.scale:
        gamma = np.array([0.5, -2.0, 1.0, 0.0, 0.0, 0.1, 3.0], "float32")
        norm.gamma.assign(gamma)
    if norm.center:
        beta = np.array([0.3, 1.0, -1.0, 0.7, -0.7, -2.0, 0.0], "float32")
        norm.beta.assign(beta)
    found = scores_of(Trace(model), "a", criteria.BNImportance())
    # The integral over the normal density, by the midpoint rule.
    edges = np.linspace(-10, 10, 40_001)
    z = (edges[1:] + edges[:-1]) / 2
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    rectified = np.maximum(0, beta[:, None] + np.abs(gamma)[:, None] * z)
    expected = (rectified * density).sum(axis=1) * (z[1] - z[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_geometric_median_is_the_mean_distance():
    model = models.chain()
    found = scores_of(Trace(model), "a", criteria.GeometricMedian())
    filters = kernel_of(model, "a").reshape(-1, 6).T
    distances = [sum(np.linalg.norm(f - g) for g in filters) for f in filters]
    np.testing.assert_allclose(found, distances / np.mean(distances), rtol=1e-5)


def test_random_scores_have_a_seed():
    model = models.chain()
    plans = [
        pruning.plan(model, criteria.Random(seed), {"params": 0.5}, 1)
        for seed in (1, 1, 2)
    ]
    keeps = [[p.keep for p in plan.layers] for plan in plans]
    assert keeps[0] == keeps[1] != keeps[2]


def loss_without(model, x, y, keep_lists):
    """The mean loss of the model with these channels masked."""
    plan = pruning.plan(model)
    for layer in plan.layers:
        layer.keep = keep_lists.get(layer.name, layer.keep)
    p = keras.ops.convert_to_numpy(plan.mask(model)(x, training=False))
    return -np.log(p[np.arange(len(y)), y]).mean()


# All samples and several classes in a batch; the samples in three parts.
@pytest.mark.parametrize("batch_size", [64, 10])
@pytest.mark.parametrize("make", [models.chain, models.residual])
def test_loss_rise_is_that_of_the_masked_model(make, batch_size):
    model = make()
    if make is models.residual:
        # It gives logits.
        shares = layers.Softmax()(model.outputs[0])
        model = keras.Model(model.inputs[0], shares)
    x, y = samples(model)
    trace = Trace(model)
    rise = criteria.LossRise(
        (x, y), candidates=1.0, batch_size=batch_size, verbose=False
    )
    found = rise(trace)
    base = loss_without(model, x, y, {})
    for names, roots in trace.blocks().items():
        for root in roots[::3]:
            keep = {
                name: list(trace.root_of[trace.made[name][0]] != root)
                for name in names
            }
            loss = loss_without(model, x, y, keep)
            assert found[root] == pytest.approx(loss - base, abs=2e-5)


def test_a_run_without_a_class_starts_where_the_class_is_made(monkeypatch):
    model = models.chain()
    trace = Trace(model)
    ran = collections.Counter()
    outputs_for = graph.outputs_for

    def counted(call, inputs):
        ran[call.operation.name] += 1
        return outputs_for(call, inputs)

    monkeypatch.setattr(graph, "outputs_for", counted)
    rise = criteria.LossRise(
        samples(model), candidates=1.0, batch_size=24, verbose=False
    )
    rise(trace)
    # Six channels of "a", eight of "b", seven of "c", each run by itself.
    assert {k: ran[k] for k in ("a", "b", "c")} == {"a": 1, "b": 7, "c": 15}


def test_runs_start_where_the_samples_are_the_first_axis():
    inputs = keras.Input((24, 3))
    x = layers.Conv1D(4, 1, activation="relu", name="first")(inputs)
    # Time comes first while the other branch is run, with as many steps as
    # there are samples.
    turned = ops.transpose(x, (1, 0, 2))
    x = layers.Conv1D(4, 1, activation="relu", name="second")(x)
    x = layers.Concatenate()([x, ops.transpose(turned, (1, 0, 2))])
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    x, y = samples(model)
    trace = Trace(model)
    rise = criteria.LossRise((x, y), candidates=1.0, verbose=False)
    found = rise(trace)
    base = loss_without(model, x, y, {})
    for channel, root in enumerate(trace.root_of[trace.made["second"][0]]):
        keep = {"second": [i != channel for i in range(4)]}
        loss = loss_without(model, x, y, keep)
        assert found[root] == pytest.approx(loss - base, abs=2e-5)


@pytest.mark.parametrize("name", ["loss_rise", "taylor"])
def test_labels_of_any_form_give_the_same_scores(name):
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(5, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    one = models.randomize(
        keras.Model(inputs, layers.Dense(1, "sigmoid")(x)), 0
    )
    several = models.randomize(keras.Model(inputs, layers.Dense(3)(x)), 0)
    make = criteria.REGISTRY[name]
    options = {
        "loss_rise": {"candidates": 1.0, "verbose": False},
        "taylor": {},
    }[name]
    x, y = samples(one, classes=2)

    def scores(model, y):
        trace = Trace(model)
        found = make((x, y), **options)(trace)
        if isinstance(found, list):
            found = criteria.combined(trace, found)
        return found

    expected = scores(one, y)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(scores(one, y[:, None]), expected, rtol=1e-5)
    expected = scores(several, y)
    for labels in (y[:, None], np.eye(3)[y]):
        np.testing.assert_allclose(
            scores(several, labels), expected, rtol=1e-4, atol=1e-7
        )
    # The model's own loss counts, also that of a Sequential model.
    own = keras.Sequential(several.layers)
    own.compile("sgd", "mse")
    doubled = keras.Sequential(several.layers)
    doubled.compile(
        "sgd", lambda y, p: 2 * keras.losses.mean_squared_error(y, p)
    )
    factor = {"loss_rise": 2.0, "taylor": 4.0}[name]
    np.testing.assert_allclose(
        scores(doubled, np.eye(3)[y]),
        factor * scores(own, np.eye(3)[y]),
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_losses_of_several_outputs_add_up():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(5, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    heads = [
        layers.Dense(3, "softmax", name="what")(x),
        layers.Dense(1, name="size")(x),
    ]
    both = models.randomize(keras.Model(inputs, heads), 0)
    x, what = samples(both)
    size = np.random.default_rng(1).normal(size=len(x))

    def scores(loss, weights, y):
        both.compile("sgd", loss, loss_weights=weights)
        rise = criteria.LossRise((x, y), candidates=1.0, verbose=False)
        return rise(Trace(both))

    first = scores(
        {"what": "sparse_categorical_crossentropy"}, None, [what, size]
    )
    second = scores([None, "mse"], None, {"what": what, "size": size})
    found = scores(
        {"what": "sparse_categorical_crossentropy", "size": "mse"},
        {"what": 2.0, "size": 0.5},
        [what, size],
    )
    np.testing.assert_allclose(found, 2 * first + 0.5 * second, atol=1e-5)


def test_loss_rise_of_heads_inside_of_a_layer():
    inputs = keras.Input((5, 8))
    z = layers.MultiHeadAttention(4, 3, name="heads")(inputs, inputs)
    z = layers.Dense(3, activation="softmax")(layers.Flatten()(z))
    model = models.randomize(keras.Model(inputs, z), 0)
    x, y = samples(model)
    trace = Trace(model)
    found = criteria.LossRise((x, y), candidates=1.0, verbose=False)(trace)
    heads, outputs = trace.made["heads"]
    base = loss_without(model, x, y, {})
    keep = [i != 2 for i in range(len(heads))] + [True] * len(outputs)
    rise = loss_without(model, x, y, {"heads": keep}) - base
    assert found[trace.root_of[heads[2]]] == pytest.approx(rise, abs=2e-5)


def test_greedy_loss_rise_scores_again():
    model = models.chain()
    data = samples(model)
    trace = Trace(model)
    greedy = criteria.LossRise(
        data, mode="greedy", rounds=6, candidates=1.0, verbose=False
    )
    scores = greedy(trace)[trace.free]
    assert sorted(scores) == list(range(trace.free.sum()))
    once = criteria.LossRise(data, candidates=1.0, verbose=False)(trace)
    # The first to go is the same; what follows depends on what is gone.
    assert np.argmin(scores) == np.argmin(once[trace.free])
    few = criteria.LossRise(data, candidates=0.5, verbose=False)(trace)
    few, once = few[trace.free], once[trace.free]
    norms = criteria.combined(trace, criteria.GroupNorm()(trace))[trace.free]
    looked, rest = np.split(np.argsort(norms), [round(len(norms) * 0.5)])
    np.testing.assert_allclose(few[looked], once[looked], atol=1e-6)
    assert few[rest].min() > few[looked].max()


def slopes(values, weights):
    """The slopes of some numbers as (weight, indices) pairs are scaled."""
    old = [ops.convert_to_numpy(weight).copy() for weight, _ in weights]
    found = []
    for scale in (1.0002, 0.9998):
        for (weight, places), array in zip(weights, old, strict=True):
            new = array.copy()
            new[places] *= scale
            weight.assign(new)
        found.append(np.asarray(values(), "float64"))
    for (weight, _), array in zip(weights, old, strict=True):
        weight.assign(array)
    return (found[0] - found[1]) / 0.0004


def mean_loss(model, x, y, training=False):
    with graph.without_dropout(model):
        p = ops.convert_to_numpy(model(x, training=training))
    return -np.log(p[np.arange(len(y)), y].astype("float64")).mean()


def reading(model, layer, channel):
    """What reads a channel of a layer of `models.chain`."""
    reader = model.get_layer({"a": "b", "c": "d"}[layer])
    return [(reader.kernel, (..., channel, slice(None)))]


def test_taylor_is_the_mean_squared_slope_over_batches():
    """Along the weights that read the channel, by batch statistics."""
    model = models.chain()
    x, y = samples(model)
    trace = Trace(model)
    found = criteria.Taylor((x, y), 24, 8)(trace)
    for layer in ("a", "c"):
        roots = trace.root_of[trace.made[layer][0]]
        for channel in (0, 3):
            expected = [
                slopes(
                    lambda i=i: mean_loss(
                        model, x[i : i + 8], y[i : i + 8], True
                    ),
                    reading(model, layer, channel),
                )
                for i in (0, 8, 16)
            ]
            assert found[roots[channel]] == pytest.approx(
                np.mean(np.square(expected)), 0.08, 1e-9
            )


def test_fisher_is_the_squared_slope_along_the_filter():
    """Of the mean loss of all samples, whatever the batches are."""
    model = models.chain()
    x, y = samples(model)
    trace = Trace(model)
    found = criteria.Fisher((x, y), 24, 8)(trace)
    for layer in ("a", "c"):
        roots = trace.root_of[trace.made[layer][0]]
        for channel in (2, 3):
            weights = model.get_layer(layer).weights
            places = [(weight, (..., channel)) for weight in weights]
            expected = slopes(lambda: mean_loss(model, x, y), places) ** 2
            assert found[roots[channel]] == pytest.approx(expected, 0.08, 1e-9)


@pytest.mark.parametrize("units,draws,rel", [(1, 1, 0.03), (3, 120, 0.25)])
def test_output_change_is_the_squared_slope_of_all_outputs(units, draws, rel):
    """Of each sample: exactly for one number, else on average over signs."""
    chain = models.chain()
    last = layers.Dense(units, name="d")(chain.get_layer("c").output)
    model = models.randomize(keras.Model(chain.inputs, last), 0)
    model.compile("sgd", "mse")
    x, _ = samples(model, 12)
    rows = np.concatenate([x] * draws)
    change = criteria.OutputChange(rows, len(rows), min(draws, 12))
    trace = Trace(model)
    found = change(trace)
    for layer in ("a", "c"):
        jacobians = [
            slopes(
                lambda: ops.convert_to_numpy(model(x)),
                reading(model, layer, channel),
            )
            for channel in range(len(trace.made[layer][0]))
        ]
        expected = np.square(jacobians).sum(axis=2).mean(axis=1)
        scores = found[trace.root_of[trace.made[layer][0]]]
        best = expected > np.median(expected)
        np.testing.assert_allclose(scores[best], expected[best], rtol=rel)


def test_what_reads_a_class_changes_the_outputs_together():
    """A trunk has several readers; a depthwise layer in between is none."""
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="stem")(x)
    first = layers.Conv2D(4, 1, name="first")(x)
    x = layers.Add()([x, first])
    x = layers.DepthwiseConv2D(2)(x)
    second = layers.Dense(1, name="second")(layers.Flatten()(x))
    model = models.randomize(keras.Model(inputs, second), 0)
    images, _ = samples(model, 5)
    trace = Trace(model)
    found = scores_of(trace, "stem", criteria.OutputChange(images, 5, 1))
    first, second = (model.get_layer(n).kernel for n in ("first", "second"))
    for channel in range(4):
        jacobian = slopes(
            lambda: ops.convert_to_numpy(model(images)),
            [
                (first, (..., channel, slice(None))),
                (second, slice(channel, None, 4)),
            ],
        )
        expected = np.square(jacobian).mean()
        assert found[channel] == pytest.approx(expected, 0.02)


def test_output_change_looks_behind_a_softmax():
    model = models.chain()
    logits = layers.Dense(3, name="logits")
    inner = keras.Model(model.inputs, logits(model.get_layer("c").output))
    logits.set_weights(model.get_layer("d").get_weights())
    x, _ = samples(model)
    own, plain = (
        criteria.scores_of(Trace(m), criteria.OutputChange(x))
        for m in (model, inner)
    )
    assert own.min() < 0.1 * np.median(own)
    np.testing.assert_allclose(own, plain, rtol=1e-3)


def test_outputs_of_any_structure_change():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(inputs)
    maps = layers.Conv2D(2, 1, activation="sigmoid", name="maps")(x)
    x = layers.Dense(3, name="what")(layers.GlobalAveragePooling2D()(x))
    scores = []
    for outs in ([maps, x], {"b": x, "a": maps}):
        model = models.randomize(keras.Model(inputs, outs), 0)
        trace = Trace(model)
        images = np.random.default_rng(0).normal(size=(8, 8, 8, 2))
        scores.append(scores_of(trace, "conv", criteria.OutputChange(images)))
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_frozen_weights_have_gradients_too():
    make = criteria.Fisher
    model = models.chain()
    data = samples(model)
    trace = Trace(model)
    expected = make(data)(trace)
    model.trainable = False
    trace = Trace(model)
    found = make(data)(trace)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not model.trainable


@pytest.mark.parametrize("batch_size", [128, 10])
def test_activations_are_those_that_readers_get(batch_size):
    """|a| in units of the layer's mean; the share that is not zero."""
    model = models.chain()
    x, _ = samples(model)
    trace = Trace(model)
    # "b" reads "a" behind pooling, "d" reads "c" behind tanh.
    for reader, makes in (("b", "a"), ("d", "c")):
        inner = keras.Model(model.input, model.get_layer(reader).input)
        a = keras.ops.convert_to_numpy(inner(x, training=False))
        axes = tuple(range(a.ndim - 1))
        mean = np.abs(a).mean(axis=axes)
        options = {"batch_size": batch_size}
        found = scores_of(trace, makes, criteria.MeanActivation(x, **options))
        np.testing.assert_allclose(found, mean / mean.mean(), rtol=1e-5)
        found = scores_of(trace, makes, criteria.APoZ((x, None), **options))
        np.testing.assert_allclose(found, (a != 0).mean(axis=axes), rtol=1e-6)


def test_criteria_with_data_through_plan():
    model = models.residual()
    x, y = samples(model, classes=4)
    for name in ("taylor", "loss_rise"):
        plan = pruning.plan(model, name, {"params": 0.5}, 1, data=(x, y))
        assert plan.met and plan.criterion == name
    own = criteria.LossRise((x, y), samples=8, verbose=False)
    assert pruning.plan(model, own, {"params": 0.5}, 1).criterion == "LossRise"


def test_the_usual_criterion_looks_at_samples_where_there_are_some():
    """Those of a repair too; labels are not needed."""
    model = models.residual()
    x, _ = samples(model)
    budget = {"params": 0.5}
    for options, name in (
        ({}, "zeros"),
        ({"data": x}, "zeros"),
        ({"budget": budget}, "group_norm"),
        ({"budget": budget, "data": x}, "output_change"),
    ):
        assert pruning.plan(model, **options).criterion == name
    small = knc.prune(model, None, budget, 1, repair=x)
    plan = pruning.plan(model, "output_change", budget, 1, data=x)
    same, _ = knc.repair(plan.apply(model), plan, model, x)
    y, z = (ops.convert_to_numpy(m(x)) for m in (small, same))
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda d: criteria.LossRise(d, mode="both"), "`mode`"),
        (lambda d: criteria.LossRise(d, candidates=0), "`candidates`"),
        (lambda d: criteria.LossRise(d[0]), "`data` must be"),
        (lambda d: criteria.Taylor((d[0], d[1][:3])), "as many labels"),
        (lambda d: criteria.Taylor(d, samples=0), "`samples`"),
        (lambda d: criteria.Fisher((d[0], d[1][:3])), "as many labels"),
        (lambda d: criteria.APoZ(d[0], batch_size=0), "`batch_size`"),
        (lambda d: criteria.GroupNorm(3), "`p`"),
        (lambda d: criteria.BNScale("local"), "`form`"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make(samples(models.chain()))
    assert "Received:" in str(error.value)


def test_bad_scores_of_a_function():
    model = models.chain()
    for scores in (np.zeros(3), np.full(len(Trace(model)), np.nan)):
        with pytest.raises(ValueError, match="one number per channel id"):
            pruning.plan(model, lambda trace, s=scores: s, {"params": 0.5})
