"""`max_rise` stops where the loss has risen enough."""

import keras
import models
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import pruning
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning.channels.trace import Trace


def classifier(seed=0):
    inputs = x = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, activation="relu", name="a")(x)
    x = layers.Conv2D(5, 3, activation="relu", name="b")(x)
    x = layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x))
    return models.randomize(keras.Model(inputs, x), seed)


def labelled(model, n=40):
    """Samples with the model's own answers: less than it is costs loss."""
    x = np.random.default_rng(1).normal(size=(n, *model.input_shape[1:]))
    x = x.astype("float32")
    y = keras.ops.convert_to_numpy(model(x)).argmax(-1)
    return x, y


def loss(model, x, y):
    p = keras.ops.convert_to_numpy(model(x, training=False))
    return -np.log(p[np.arange(len(y)), y].astype("float64")).mean()


def choices(model, criterion, data):
    """(keep lists, rise of the loss) without the n lowest scores, all n."""
    trace = Trace(model)
    scores = criteria.scores_of(trace, criterion, data)
    free = np.flatnonzero(trace.free)
    order = free[np.argsort(scores[free])]
    full, found = loss(model, *data), []
    for n in range(len(order)):
        plan = pruning.plan(model)
        for layer in plan.layers:
            roots = trace.root_of[np.concatenate(trace.made[layer.name])]
            layer.keep = (~np.isin(roots, order[:n])).tolist()
        keeps = [layer.keep for layer in plan.layers]
        if not all(map(any, keeps)):
            break
        found.append((keeps, loss(plan.apply(model), *data) - full))
    return found


@pytest.mark.parametrize("name,seed", [("group_norm", 3), ("greedy", 2)])
def test_the_most_channels_go_that_the_rise_allows(name, seed):
    """Of all choices in the order of the scores, tried one by one."""
    model = classifier(seed)
    data = labelled(model)
    criterion = name
    if name == "greedy":
        criterion = criteria.LossRise(
            data, mode="greedy", rounds=11, candidates=1.0, verbose=False
        )
    found = choices(model, criterion, data)
    for max_rise in (0.03, 0.1, 0.3):
        plan = pruning.plan(
            model, criterion, None, 1, data=data, max_rise=max_rise
        )
        n = [keeps for keeps, _ in found].index([la.keep for la in plan.layers])
        assert plan.rise == pytest.approx(found[n][1], abs=1e-5)
        assert 0 < n < len(found) - 1
        assert found[n][1] <= max_rise < found[n + 1][1]


def test_a_budget_stops_earlier_or_is_not_met():
    model = classifier(3)
    data = labelled(model)
    options = {"round_to": 1, "data": data}
    budget = {"params": 0.5}
    free = pruning.plan(model, "group_norm", budget, max_rise=100.0, **options)
    plain = pruning.plan(model, "group_norm", budget, **options)
    assert [la.keep for la in free.layers] == [la.keep for la in plain.layers]
    assert free.met and plain.rise is None
    assert f"the loss rises by {free.rise:.3g} (at most 100)" in free.headline()
    tight = pruning.plan(model, "group_norm", budget, max_rise=0.01, **options)
    assert not tight.met and tight.rise <= 0.01 < free.rise
    assert "max_rise=0.01" in tight.limit
    again = pruning.PruningPlan.from_json(tight.to_json())
    assert (again.rise, again.max_rise) == (tight.rise, 0.01)


def test_without_a_budget_the_default_criterion_ranks():
    model = classifier()
    plan = pruning.plan(model, data=labelled(model), max_rise=0.1)
    assert plan.criterion != "zeros" and plan.met
    with pytest.warns(UserWarning, match="cannot be met"):
        small = knc.prune(
            model, budget={"params": 0.1}, data=labelled(model), max_rise=0.0
        )
    assert small.count_params() <= model.count_params()


def test_the_loss_is_the_criterion_s_own():
    model = classifier()
    x, y = labelled(model)
    own = criteria.Taylor(
        (x, np.eye(3)[y]), loss=lambda t, p: 10 * ops.mean((t - p) ** 2, -1)
    )
    plan = pruning.plan(model, own, None, 1, max_rise=0.05)
    p, q = (
        keras.ops.convert_to_numpy(m(x)) for m in (model, plan.apply(model))
    )
    errors = [10 * np.mean((a - np.eye(3)[y]) ** 2) for a in (p, q)]
    assert plan.rise == pytest.approx(errors[1] - errors[0], abs=1e-5)
    assert plan.rise <= 0.05


def test_each_step_may_raise_the_loss():
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy")
    data = labelled(model)
    small, plans = pruning.iterative(
        model,
        data,
        steps=2,
        round_to=1,
        epochs=0,
        criterion="group_norm",
        max_rise=0.05,
        verbose=False,
    )
    assert len(plans) == 2 and all(plan.rise <= 0.05 for plan in plans)
    total = loss(small, *data) - loss(model, *data)
    assert total == pytest.approx(sum(p.rise for p in plans), abs=1e-4)
    whole = plans[0].then(plans[1])
    assert whole.rise is None and whole.max_rise is None


@pytest.mark.parametrize(
    "options,message",
    [
        ({"max_rise": 0.1}, "`max_rise` needs samples"),
        ({"max_rise": 0.1, "data": "x"}, "with targets"),
        ({"max_rise": -1.0, "data": "xy"}, "`max_rise`"),
        (
            {"max_rise": 0.1, "criterion": "zeros", "data": "xy"},
            "criterion that ranks",
        ),
    ],
)
def test_what_has_no_loss_is_refused(options, message):
    model = classifier()
    x, y = labelled(model)
    options = dict(options)
    if "data" in options:
        options["data"] = {"x": (x, None), "xy": (x, y)}[options["data"]]
    with pytest.raises(ValueError, match=message) as error:
        pruning.plan(model, **options)
    assert "Received:" in str(error.value)
