"""Removal is exact: rebuilt = masked, on every graph and every choice."""

import json

import batteries
import keras
import models
import numpy as np
import pytest
from batteries import assert_same
from helpers import examples
from helpers import images
from helpers import run
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import pruning
from keras_nonconvex.pruning import planning
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.costs import Costs
from keras_nonconvex.pruning.selection import Selection
from keras_nonconvex_main import cli


@pytest.mark.parametrize("test", batteries.tests_of(batteries.Removal))
@pytest.mark.parametrize("graph", ["residual", "shared"])
def test_the_battery_of_layer_rules(graph, test):
    getattr(batteries.Removal(), test)(make=models.ZOO[graph])


def random_scores(seed):
    def scores(trace):
        return np.random.default_rng(seed).random(len(trace))

    return scores


@pytest.mark.parametrize("graph", sorted(models.ZOO))
@examples(3)
@given(
    seed=st.integers(0, 10**6),
    budget=st.floats(0.2, 0.9),
    round_to=st.sampled_from([1, 2, 3]),
)
def test_rebuilt_equals_masked(graph, seed, budget, round_to):
    model = models.ZOO[graph](seed, zero_fraction=0.2)
    before = [w.numpy().copy() for w in model.weights]
    plan = pruning.plan(
        model, random_scores(seed), {"params": budget}, round_to
    )
    small, masked = plan.apply(model), plan.mask(model)
    assert_same(masked, small, model)
    assert small.count_params() == plan.after["params"]
    assert knc.summary(small).macs == plan.after["macs"]
    for w, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(w.numpy(), old)
    assert [layer.name for layer in small.layers] == [
        layer.name for layer in masked.layers
    ]


@pytest.mark.parametrize("graph", sorted(models.ZOO))
@pytest.mark.parametrize("seed", range(2))
def test_superfluous_channels_go_without_a_trace(graph, seed):
    # Zero filters still send act(bias): the small model has it in the next
    # bias, or keeps the channel and says why.
    model = models.ZOO[graph](seed, zero_fraction=0.5)
    plan = pruning.plan(model)
    small = plan.apply(model)
    assert_same(model, small, model)
    assert_same(model, plan.mask(model), model)
    assert small.count_params() == plan.after["params"]


def test_zero_filters_of_a_chain_are_removed():
    model = models.chain()
    for name, zero in (("a", [1, 4]), ("b", [0, 2, 3]), ("c", [6])):
        kernel = model.get_layer(name).kernel
        values = kernel.numpy()
        values[..., zero] = 0
        kernel.assign(values)
    plan = pruning.plan(model)
    kept = {p.name: p.channels for p in plan.layers if p.keep}
    assert kept == {"a": (6, 4), "b": (8, 5), "c": (7, 6), "d": (3, 3)}
    assert "2: zero filters" in plan.layers[0].reason
    small = plan.apply(model)
    assert small.get_layer("a").kernel.shape == (3, 3, 2, 4)
    assert small.get_layer("bn").gamma.shape == (4,)
    # 2 x 2 or so positions of 5 channels each reach the dense layer.
    assert small.get_layer("c").kernel.shape[0] % 5 == 0
    assert_same(model, small, model)


def test_unread_units_are_removed():
    model = models.chain()
    kernel = model.get_layer("d").kernel
    values = kernel.numpy()
    values[[0, 5]] = 0
    kernel.assign(values)
    plan = pruning.plan(model)
    assert plan.layers[-2].reason == "2: zero outgoing weights"
    small = plan.apply(model)
    assert small.get_layer("c").units == 5
    assert_same(model, small, model)


def test_zero_scale_of_normalisation_is_constant():
    model = models.chain()
    gamma = model.get_layer("bn").gamma
    gamma.assign(np.where(np.arange(6) == 3, 0, gamma.numpy()))
    plan = pruning.plan(model)
    assert plan.layers[0].channels == (6, 5)
    assert_same(model, plan.apply(model), model)


def test_zero_scale_of_an_equation_is_constant():
    inputs = keras.Input((6, 4))
    x = layers.Dense(5, name="a")(inputs)
    x = layers.EinsumDense("btc,c->btc", (None, 5), name="scale")(x)
    x = layers.Dense(2, name="b")(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    kernel = model.get_layer("scale").kernel
    kernel.assign(kernel * np.array([1, 0, 1, 1, 0]))
    small = pruning.plan(model).apply(model)
    assert small.get_layer("a").units == 3
    assert_same(model, small, model)


def test_constant_into_same_padding_stays_and_says_why():
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    x = layers.Conv2D(2, 3, padding="same", name="b")(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    kernel, bias = model.get_layer("a").weights
    values = kernel.numpy()
    values[..., :2] = 0
    kernel.assign(values)
    bias.assign([0.5, 0.0, 0.1, 0.1])
    plan = pruning.plan(model)
    assert plan.layers[0].keep == [True, False, True, True]
    assert "sends 0.5 into 'b'" in plan.layers[0].reason
    assert_same(model, plan.apply(model), model)


def test_residual_channels_go_together():
    model = models.residual()
    for name in ("stem", "one_out", "two_out"):
        kernel = model.get_layer(name).kernel
        values = kernel.numpy()
        values[..., 3] = 0
        kernel.assign(values)
    plan = pruning.plan(model, "group_norm", {"params": 0.7}, round_to=1)
    kept = {p.name: p.keep for p in plan.layers if p.keep}
    assert kept["stem"] == kept["one_out"] == kept["two_out"]
    assert_same(plan.mask(model), plan.apply(model), model)


def test_a_layer_is_never_emptied():
    model = models.chain(zero_fraction=1.0)
    plan = pruning.plan(model)
    for layer in plan.layers:
        assert not layer.keep or sum(layer.keep) >= 1
    assert "kept so that the layer stays" in plan.layers[0].reason
    assert_same(model, plan.apply(model), model)


def test_budget_is_met_and_least_scores_go():
    model = knc.models.lenet5()
    plan = pruning.plan(model, "group_norm", {"params": 0.3, "macs": "50%"})
    assert plan.after["params"] <= 0.3 * 431_080
    assert plan.after["macs"] <= 0.5 * 2_293_000
    small = plan.apply(model)
    for name in ("conv2", "dense1"):
        assert small.get_layer(name).kernel.shape[-1] % 8 == 0
    assert "met" in str(plan) and "NOT" not in str(plan)
    unreachable = pruning.plan(model, "group_norm", {"params": 10})
    assert "NOT met" in str(unreachable)


def test_a_budget_of_what_a_model_does_not_have():
    inputs = keras.Input((4,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(5, 3)(inputs))
    plan = pruning.plan(keras.Model(inputs, x), budget={"macs": 0.5})
    assert plan.met and "0.0% of the MACs stay" in plan.headline()


def test_rounding_keeps_multiples():
    model = models.chain()
    plan = pruning.plan(model, "group_norm", {"params": 0.5}, round_to=4)
    for layer in plan.layers[:4]:
        if layer.keep:
            full, kept = layer.channels
            assert kept % 4 == 0 or kept == full


def test_rounding_brings_the_best_of_the_dropped_back():
    inputs = keras.Input((4,))
    x = layers.Dense(24, name="a")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(x))
    trace = Trace(model)
    scores = random_scores(0)(trace)
    selection = Selection(trace, scores, trace.free, round_to=8)
    roots = trace.root_of[trace.made["a"][0]]
    ranked = roots[np.argsort(scores[roots])]
    for dropped in range(1, 24):
        keep = selection.dropping(dropped)
        stays = -(-(24 - dropped) // 8) * 8
        assert set(ranked[24 - stays :]) == set(roots[keep[roots]])


def test_result_is_plain_keras(tmp_path):
    model = knc.attach(models.chain(), knc.SparseGroupTL1(1e-3))
    small = knc.prune(model, "group_norm", {"params": 0.5})
    assert type(small) is type(keras.Model(small.input, small.output))
    assert "keras_nonconvex" not in json.dumps(small.get_config())
    path = tmp_path / "small.keras"
    small.save(path)
    assert_same(small, keras.models.load_model(path), small, 0)


def test_plan_is_data():
    model = models.residual(zero_fraction=0.3)
    plan = pruning.plan(model, "group_norm", {"macs": 0.5}, 1)
    again = knc.PruningPlan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    assert_same(plan.apply(model), again.apply(model), model, 0)


def test_a_model_is_followed_once(monkeypatch):
    traced = []
    monkeypatch.setattr(
        planning, "Trace", lambda *args: traced.append(args) or Trace(*args)
    )
    model = models.residual(zero_fraction=0.3)
    options = {"budget": {"macs": 0.5}, "round_to": 1}
    small = knc.prune(model, **options)
    assert len(traced) == 1
    plan = pruning.plan(model, **options)
    assert_same(plan.apply(model), small, model, 0)
    # What a removal builds shares no layer with what it built before.
    _, removal = planning.planned(model, **options)
    first, second, masked = removal.small(), removal.small(), removal.masked()
    assert not {*map(id, first.layers)} & {*map(id, second.layers)}
    assert_same(first, second, model, 0)
    assert_same(masked, plan.mask(model), model, 0)


def test_edited_plans_are_checked():
    model = models.residual()
    plan = pruning.plan(model)
    by_name = {layer.name: layer for layer in plan.layers}
    by_name["one_in"].keep[2] = False
    assert plan.apply(model).get_layer("one_in").filters == 4
    by_name["stem"].keep[0] = False
    with pytest.raises(ValueError, match="disagrees"):
        plan.apply(model)
    by_name["stem"].keep[0] = True
    by_name["head"].keep[0] = False
    with pytest.raises(ValueError, match="cannot lose channels: model output"):
        plan.apply(model)
    with pytest.raises(ValueError, match="another model"):
        plan.apply(models.chain())


class Unknown(layers.Layer):
    """A layer with a weight of its own, which no rule speaks of."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(), name="factor")

    def call(self, x):
        return x * self.factor


def test_unknown_layers_freeze_what_they_touch():
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    x = Unknown(name="odd")(x)
    x = layers.Conv2D(4, 3, name="b")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(2, name="c")(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    plan = pruning.plan(model, "group_norm", {"params": 0.5}, 1)
    by_name = {layer.name: layer for layer in plan.layers}
    assert all(by_name["a"].keep)
    assert "no rule for Unknown 'odd'" in by_name["a"].reason
    assert not all(by_name["b"].keep)
    assert_same(plan.mask(model), plan.apply(model), model)


def test_users_register_rules():
    @keras.saving.register_keras_serializable("test")
    class Scale(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight((shape[-1],), name="scale")

        def call(self, x):
            return x * self.scale

    @pruning.rule(Scale)
    class ScaleRule(pruning.Rule):
        def channels(self, layer, inputs, walk):
            (x,) = inputs
            walk.use(layer, "scale", 0, x.ids, "scale")
            return x.ids

    try:
        inputs = keras.Input((6, 6, 1))
        x = layers.Conv2D(6, 3, name="a")(inputs)
        x = Scale(name="s")(x)
        x = layers.Dense(2)(layers.Flatten()(x))
        model = models.randomize(keras.Model(inputs, x), 0)
        plan = pruning.plan(model, "group_norm", {"params": 0.5}, 1)
        small = plan.apply(model)
        kept = plan.layers[0].channels[1]
        assert kept < 6 and small.get_layer("s").scale.shape == (kept,)
        assert_same(plan.mask(model), small, model)
    finally:
        del rules.REGISTRY[Scale]


def test_a_consumer_gets_a_bias_only_when_needed():
    model = models.sequential()
    kernel, bias = model.get_layer("a").weights
    values = kernel.numpy()
    values[..., 0] = 0
    kernel.assign(values)
    bias.assign(np.full(6, 0.5))
    small = knc.prune(model)
    assert small.get_layer("b").use_bias
    assert_same(model, small, model)
    bias.assign(np.full(6, -0.5))
    small = knc.prune(model)
    assert not small.get_layer("b").use_bias
    assert_same(model, small, model)


@pytest.mark.parametrize("activation", ["sparsemax", "softmax"])
def test_activations_across_channels_freeze_them(activation):
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(8, 3, activation=activation, name="a")(inputs)
    x = layers.Conv2D(4, 3, activation="relu", name="b")(x)
    x = layers.Dense(2, name="c")(layers.Flatten()(x))
    model = models.randomize(keras.Model(inputs, x), 0)
    plan = pruning.plan(model, "group_norm", {"params": 0.5}, 1)
    assert all(plan.layers[0].keep) and activation in plan.layers[0].reason
    assert_same(plan.mask(model), plan.apply(model), model)


def test_frozen_layers_keep_all_their_weights():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dense(4)]
    )
    inputs = keras.Input((6,))
    x = layers.Dense(4, name="a")(inputs)
    x = inner(x)
    x = layers.Dense(8, name="b")(x)
    model = keras.Model(inputs, layers.Dense(2, name="c")(x))
    model = knc.attach(models.randomize(model, 3), {"*": "group_lasso"})
    plan = pruning.plan(model, "group_norm", {"params": 0.7}, 1)
    small = plan.apply(model)
    assert small.count_params() < model.count_params()
    assert "keras_nonconvex" not in json.dumps(small.get_config())
    assert_same(plan.mask(model), small, model)
    assert_same(model, pruning.plan(model).apply(model), model)


def test_constants_equal_up_to_rounding_are_folded():
    inputs = keras.Input((20, 20, 2))
    x = layers.Conv2D(6, 9, padding="same", use_bias=False, name="a")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("silu")(x)
    x = layers.AveragePooling2D(3, padding="same")(x)
    x = layers.Conv2D(3, 3, name="b")(x)
    model = models.randomize(keras.Model(inputs, x), 1)
    kernel = model.get_layer("a").kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[..., :3] = 0
    kernel.assign(values)
    plan = pruning.plan(model)
    assert plan.layers[0].channels == (6, 3)
    assert_same(model, plan.apply(model), model)


def test_channels_that_must_stay_do_not_spoil_budget_or_rounding():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, use_bias=False, name="a")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(8, 3, padding="same", name="b")(x)
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = models.randomize(keras.Model(inputs, x), 0, zero_fraction=0.3)
    model.get_layer("bn").beta.assign(np.full(16, 0.7))
    for round_to in (1, 4, 8):
        plan = pruning.plan(model, "group_norm", {"params": 0.6}, round_to)
        kept = plan.layers[0].channels[1]
        assert plan.met and kept % round_to == 0
        assert_same(plan.mask(model), plan.apply(model), model)


def test_rounding_brings_live_channels_back_first():
    inputs = keras.Input((24,))
    x = layers.Dense(24, name="a")(inputs)
    x = layers.Dense(3, name="b")(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    kernel = model.get_layer("b").kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[:4] = 0
    kernel.assign(values)
    plan = pruning.plan(model, "group_norm", {"params": 0.7}, 8)
    assert plan.layers[0].keep[:4] == [False] * 4
    assert plan.layers[0].channels == (24, 16)


def test_edited_plans_that_cannot_be_exact_are_refused():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="sigmoid", name="a")(inputs)
    x = layers.Conv2D(2, 3, padding="same", name="b")(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    plan = pruning.plan(model)
    plan.layers[0].keep[1] = False  # Live: zeroed, with what reads it.
    assert_same(plan.mask(model), plan.apply(model), model)
    kernel = model.get_layer("a").kernel
    kernel.assign(kernel.numpy() * (np.arange(4) != 1))
    with pytest.raises(ValueError, match="Channel 1 of 'a' cannot be removed"):
        plan.apply(model)


def border_model():
    """Zero filters whose bias a 'same' convolution reads."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="sigmoid", name="a")(inputs)
    x = layers.Conv2D(2, 3, padding="same", use_bias=False, name="b")(x)
    model = models.randomize(keras.Model(inputs, x), 0)
    kernel = model.get_layer("a").kernel
    kernel.assign(kernel.numpy() * (np.arange(4) > 1))
    return model


def test_folded_constants_are_exact_inside_and_measured_at_the_border():
    model = border_model()
    assert all(pruning.plan(model, on_constant="keep").layers[0].keep)
    plan = pruning.plan(model, on_constant="fold")
    assert plan.layers[0].channels == (4, 2)
    (before,), (after,) = (
        run(m, images(model)) for m in (model, plan.apply(model))
    )
    inside = np.s_[:, 1:-1, 1:-1]
    np.testing.assert_allclose(before[inside], after[inside], atol=1e-5)
    error = np.abs(before - after).max()
    assert error > 0.01
    assert plan.border_error == {"b": pytest.approx(error, rel=1e-3)}
    assert "Constants folded at borders" in str(plan)
    assert "error at the border" in plan.explain("b")


def residual_with(zero):
    model = models.residual()
    for name in zero:
        for weight in model.get_layer(name).weights:
            weight.assign(np.zeros(weight.shape))
    return model


@pytest.mark.parametrize("zero", [["one_in"], ["one_out"], ["two_out"]])
def test_dead_branches_go_whole(zero):
    # The normalization behind a dead convolution still sends a constant.
    model = residual_with(zero)
    plan = pruning.plan(model)
    small = plan.apply(model)
    block = zero[0].split("_")[0]
    assert {f"{block}_in", f"{block}_out"} <= set(plan.removed)
    names = {layer.name for layer in small.layers}
    assert not names & set(plan.removed)
    assert_same(model, small, model)
    assert small.count_params() == plan.after["params"]
    assert "removed" in plan.diff()


def test_a_branch_with_a_constant_leaves_the_constant():
    model = residual_with(["one_in"])
    layer = model.get_layer("two_in")
    plan = pruning.plan(model)
    small = plan.apply(model)
    ours = [op for op in small.operations if type(op).__name__ == "Add"]
    assert len(ours) == 2  # One sum of branches, one of a constant.
    assert layer.name in {la.name for la in small.layers}
    assert_same(model, small, model)


def test_a_budget_takes_branches_only_when_asked():
    model = models.residual()
    limits = {"params": 0.05}
    plan = pruning.plan(model, "group_norm", limits, 1)
    assert not plan.removed and not plan.met and plan.limit
    assert all(sum(p.keep) for p in plan.layers if p.keep)
    with pytest.warns(UserWarning, match="budget cannot be met"):
        knc.prune(model, "group_norm", limits, 1)
    plan = pruning.plan(model, "group_norm", limits, 1, min_channels=0)
    assert plan.removed
    assert_same(plan.mask(model), plan.apply(model), model)
    assert plan.apply(model).count_params() == plan.after["params"]


def test_emptied_concatenation_inputs_go():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    y = layers.Conv2D(4, 1, name="b")(inputs)
    z = layers.Concatenate()([x, y])
    z = layers.Conv2D(3, 1, name="c")(z)
    model = models.randomize(keras.Model(inputs, z), 0)
    for weight in model.get_layer("b").weights:
        weight.assign(np.zeros(weight.shape))
    plan = pruning.plan(model)
    assert plan.removed == ["b", "concatenate"] or "b" in plan.removed
    assert_same(model, plan.apply(model), model)


def test_options_of_the_selection():
    model = models.residual()
    options = {"round_to": 1, "criterion": "group_norm"}
    budget = {"params": 0.5}
    plan = pruning.plan(model, budget=budget, exclude="one_*", **options)
    kept = {p.name: p for p in plan.layers}
    assert all(kept["one_in"].keep) and all(kept["stem"].keep)
    assert "'one_in' is excluded" in kept["one_in"].reason
    plan = pruning.plan(model, budget=budget, max_ratio=0.4, **options)
    for entry in plan.layers:
        assert not entry.keep or sum(entry.keep) >= 0.6 * len(entry.keep)
    plan = pruning.plan(
        model, budget={"params": 0.01}, min_channels=2, **options
    )
    assert all(sum(p.keep) >= 2 for p in plan.layers if p.keep)
    plan = pruning.plan(model, budget=budget, ranking="layer", **options)
    ratios = [np.mean(p.keep) for p in plan.layers if p.keep][:-1]
    assert np.ptp(ratios) <= 0.2 + 1e-9
    parts = {"channels": {"one_in": 0.6, "stem": "50%"}}
    plan = pruning.plan(model, budget=parts, **options)
    kept = {p.name: p.channels for p in plan.layers}
    # int(n percent) and what is above it: one more goes than percent says.
    assert kept["one_in"] == (5, 2) and kept["stem"] == (8, 3)
    assert kept["two_in"] == (5, 5)


def test_explanation_and_drawing():
    model = models.residual()
    plan = pruning.plan(model, "group_norm", {"params": 0.5}, 1)
    text = plan.explain("stem")
    assert "goes together with: one_out, two_out" in text
    assert "lowest group_norm" in text
    assert "model output" in plan.explain("head")
    with pytest.raises(
        ValueError, match="Near names: stem, .*Received: layer='steam'"
    ):
        plan.explain("steam")
    dot = plan.dot()
    assert dot.count("subgraph") == 4 and '"one_out"' in dot


def test_compile_settings_and_optimizer_state_come_along():
    model = models.chain()
    model.compile(
        keras.optimizers.Adam(3e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    x, y = images(model, n=32), np.arange(32) % 3
    model.fit(x, y, verbose=0)
    plan = pruning.plan(model, "group_norm", {"params": 0.6}, 1)
    small = plan.apply(model)
    assert small.loss == model.loss and float(
        small.optimizer.learning_rate
    ) == (pytest.approx(3e-3))
    assert int(small.optimizer.iterations) == 0
    small = plan.apply(model, optimizer=True)
    assert int(small.optimizer.iterations) == 1
    keep = np.array(plan.layers[0].keep)
    old = model.optimizer._momentums[0].numpy()
    new = small.optimizer._momentums[0].numpy()
    np.testing.assert_array_equal(new, old[..., keep])
    small.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="must be compiled and trained"):
        plan.apply(models.chain(), optimizer=True)


def test_prune_from_the_command_line(tmp_path, capsys):
    source, small = tmp_path / "model.keras", tmp_path / "small.keras"
    models.residual().save(source)
    options = "--channels 60% --criterion random --round-to 1 --exclude one_*"
    drawing = tmp_path / "groups.dot"
    arguments = ["prune", str(source), str(small), *options.split()]
    assert cli.main([*arguments, "--dot", str(drawing)]) == 0
    assert "'one_in' is excluded" in " ".join(capsys.readouterr().out.split())
    assert drawing.read_text().startswith("graph")
    loaded = keras.models.load_model(small)
    assert loaded.get_layer("one_in").filters == 5
    assert loaded.get_layer("two_in").filters < 5
    for bad, message in (
        (["--max-ratio", "2"], "`max_ratio`"),
        (["--exclude", "nothing"], "no layer is called"),
        (["--channels", "x"], "Budget 'channels'"),
    ):
        code = cli.main([*arguments, "--force", *bad])
        assert code == 2 and message in capsys.readouterr().err


def test_measured_budgets():
    model = models.chain()

    @pruning.measure("heads")
    def heads(small):
        return sum(
            layer.filters for layer in small.layers if layer.name in "ab"
        )

    try:
        plan = pruning.plan(model, "group_norm", {"heads": 8}, 1)
        assert plan.before["heads"] == 14 and plan.after["heads"] == 8
        assert plan.met and "of the heads stay" in plan.headline()
        plan = pruning.plan(model, "group_norm", {"heads": 0.1}, 1)
        assert plan.after["heads"] == 2 and not plan.met
    finally:
        del pruning.budget.MEASURES["heads"]
    for measure in (
        tflite_export.measures.size,
        tflite_export.measures.latency,
    ):
        assert measure(plan.apply(model)) > 0
    assert {"size", "latency"} <= set(pruning.budget.MEASURES)


def test_iterative_pruning_reaches_the_budget():
    model = models.chain()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = images(model, n=32), np.arange(32) % 3
    small, plans = pruning.iterative(
        model, (x, y), 3, {"params": 0.4}, round_to=1, verbose=False
    )
    sizes = [plan.after["params"] for plan in plans]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 3
    assert small.count_params() <= 0.4 * model.count_params()
    assert small.optimizer.iterations > 1
    with pytest.raises(ValueError, match="must be compiled"):
        pruning.iterative(models.chain(), (x, y), 2, {"params": 0.4})
    with pytest.raises(ValueError, match="takes fractions"):
        pruning.iterative(model, (x, y), 2, {"params": 400})


def test_trace_of_lenet5():
    trace = Trace(knc.models.lenet5())
    blocks = trace.blocks()
    assert {names: len(roots) for names, roots in blocks.items()} == {
        ("conv1",): 20,
        ("conv2",): 50,
        ("dense1",): 500,
    }
    everything = np.ones(len(trace), dtype=bool)
    assert Costs(trace).total(everything) == {
        "params": 431_080,
        "macs": 2_293_000,
    }


class Subclassed(keras.Model):
    """A model with a weight of its own, which cannot be unfolded."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
        self.factor = self.add_weight(shape=(), name="factor")

    def call(self, x):
        return self.dense(x) * self.factor


@pytest.mark.parametrize(
    "change,message",
    [
        ({"criterion": "group_nrm"}, "`criterion` must be one of"),
        ({"criterion": "group_norm"}, "needs a budget"),
        ({"budget": {"params": 0.5}}, "A budget needs a criterion"),
        ({"budget": {"speed": 0.5}}, "counts params, macs, channels"),
        ({"budget": {"channels": 2}}, "Budget 'channels'"),
        ({"budget": {"channels": {"a": "half"}}}, "Budget 'channels'"),
        ({"exclude": "conv_9"}, "no layer is called 'conv_9'"),
        ({"ranking": "local"}, "`ranking`"),
        ({"on_constant": "drop"}, "`on_constant`"),
        ({"min_channels": -1}, "`min_channels`"),
        ({"max_ratio": 1.5}, "`max_ratio`"),
        (
            {"criterion": "taylor", "budget": {"params": 0.5}},
            "looks at samples",
        ),
        ({"budget": {"params": 0}}, "Budget 'params'"),
        ({"budget": {"macs": "120%"}}, "Budget 'macs'"),
        ({"budget": {"macs": "half"}}, "Budget 'macs'"),
        ({"budget": {"params": 1.5}}, "Budget 'params'"),
        ({"budget": 0.5}, "`budget` must be a dict"),
        ({"round_to": 0}, "`round_to`"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"criterion": "zeros", **change}
    if "budget" in change and not (
        "A budget needs" in message or "criterion" in change
    ):
        arguments["criterion"] = "group_norm"
    with pytest.raises(ValueError, match=message) as error:
        pruning.plan(models.chain(), **arguments)
    assert "Received:" in str(error.value)


def test_models_without_a_graph_are_refused():
    model = Subclassed()
    with pytest.raises(ValueError, match="no weights yet"):
        pruning.plan(model)
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match="subclassed model has no graph"):
        pruning.plan(model)
    with pytest.raises(ValueError, match="must be a keras.Model"):
        pruning.plan("model.keras")


def _three_sets_of_classes():
    """A concatenation of five and four, read by a convolution in groups."""
    inputs = keras.Input((6, 6, 3))
    parts = [
        layers.Conv2D(5, 1, name="first")(inputs),
        layers.Conv2D(4, 1, name="second")(inputs),
    ]
    x = layers.ReLU()(layers.Concatenate()(parts))
    x = layers.Conv2D(6, 1, groups=3, name="grouped")(x)
    x = layers.Dense(2)(layers.GlobalMaxPooling2D()(x))
    return models.randomize(keras.Model(inputs, x), 0)


def test_one_channel_of_a_layer_is_enough_in_whichever_set_of_classes():
    model = _three_sets_of_classes()
    # The set in the middle has two channels of one and one of the other.
    for name, strong in (("first", [3, 4]), ("second", [0])):
        kernel = np.array(model.get_layer(name).kernel)
        kernel[..., strong] *= 10
        model.get_layer(name).kernel.assign(kernel)
    plan = pruning.plan(model, "group_norm", {"params": 1e-9}, 1)
    kept = {layer.name: layer.keep for layer in plan.layers}
    assert kept["first"] == [False, False, False, True, True]
    assert kept["second"] == [True, False, False, False]
    assert kept["grouped"] == [False, False, True, True, False, False]
    np.testing.assert_allclose(
        run(plan.apply(model), x0 := images(model))[0],
        run(plan.mask(model), x0)[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_what_has_to_stay_is_enough_for_its_layer():
    def scores(trace):
        (first,), (second,) = trace.made["first"], trace.made["second"]
        found = np.ones(len(trace))
        # No score lets the first set go.
        found[trace.root_of[first[0]]] = np.inf
        found[trace.root_of[second[3]]] = 2.0
        return found

    plan = pruning.plan(_three_sets_of_classes(), scores, {"params": 1e-9}, 1)
    kept = {layer.name: layer.keep for layer in plan.layers}
    assert kept["first"] == [True, True, True, False, False]
    assert kept["second"] == [False, True, True, True]
    assert kept["grouped"] == [True, True, False, False, True, True]
