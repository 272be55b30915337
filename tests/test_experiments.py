"""Experiments: rows that add up, trainings that go on, data as papers do it."""

import json

import keras
import numpy as np
import pytest

import keras_nonconvex as knc
from keras_nonconvex import experiments


def table(path):
    return experiments.Table(
        path,
        "A table",
        {
            "penalty": lambda rows: rows[0]["penalty"],
            "error": lambda rows: experiments.spread(rows, "error"),
        },
        ["what a reader has to know"],
    )


def test_rows_are_made_once_and_their_seeds_share_a_line(tmp_path):
    made = []

    def row(penalty, seed, error):
        made.append((penalty, seed))
        return {"error": error}

    for _ in range(2):
        for penalty, seed, error in (
            ("l1", 0, 1.0),
            ("tl1", 0, 3.0),
            ("l1", 1, 2.0),
        ):
            settings = {"penalty": penalty, "seed": seed}
            found = table(tmp_path / "x.json").row(
                settings,
                lambda p=penalty, s=seed, e=error: row(p, s, e),
            )
            assert found["error"] == error
    assert made == [("l1", 0), ("tl1", 0), ("l1", 1)]
    rows = json.loads((tmp_path / "x.json").read_text())
    assert [row["error"] for row in rows] == [1.0, 3.0, 2.0]
    text = (tmp_path / "x.md").read_text()
    assert "| l1 | 1.50 (1.00 to 2.00) |" in text
    assert "| tl1 | 3.00 |" in text
    assert "- what a reader has to know" in text


def test_the_rate_drops_at_its_shares_of_the_training():
    rate = experiments.drops(1.0, 0.1, (0.5, 0.75), epochs=8, steps=3)
    steps = np.asarray([rate(step) for step in (0, 12, 13, 18, 19)])
    np.testing.assert_allclose(steps, [1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_a_normalized_network_is_the_network_of_normalized_images():
    model = knc.models.lenet5()
    made = experiments.normalized(model, (0.3,), (0.5,))
    assert [layer.name for layer in made.layers[2:]] == [
        layer.name for layer in model.layers[1:]
    ]
    made.set_weights(made.get_weights()[:-8] + model.get_weights())
    x = np.random.default_rng(0).uniform(size=(3, 28, 28, 1)).astype("float32")
    np.testing.assert_allclose(
        made.predict(x, verbose=0),
        model.predict((x - 0.3) / 0.5, verbose=0),
        rtol=1e-4,
        atol=1e-6,
    )


def test_columns_are_settings_shares_in_percent_and_the_number_of_seeds():
    columns = experiments.columns(["penalty", "images"], ["left"])
    row = {"penalty": "l1", "images": None}
    rows = [{**row, "left": left} for left in (0.25, 0.75)]
    cells = {heading: cell(rows) for heading, cell in columns.items()}
    percent = experiments.columns([], ["left"], digits=2)["left, %"]
    assert percent(rows) == "50.00 (25.00 to 75.00)"
    assert cells == {
        "penalty": "l1",
        "images": "-",
        "left, %": "50.0 (25.0 to 75.0)",
        "seeds": "2",
    }


def test_each_setting_has_a_file_of_its_own(tmp_path):
    settings = {"penalty": "l1/2", "strength": 1e-4, "seed": 0}
    path = experiments.file_of(tmp_path, settings)
    assert path.parent == tmp_path and path.suffix == ".keras"
    others = [{**settings, key: 7} for key in settings]
    files = {experiments.file_of(tmp_path, other) for other in others}
    assert len({path, *files}) == 4


def test_the_command_can_be_run_again(monkeypatch, tmp_path):
    (tmp_path / "scripts").mkdir()
    monkeypatch.chdir(tmp_path)
    script = str(tmp_path / "scripts" / "slim.py")
    monkeypatch.setattr("sys.argv", [script, "--penalty", "l1", "two words"])
    text = "python scripts/slim.py --penalty l1 'two words'"
    assert experiments.command() == text


def test_a_part_has_fewer_training_images_and_all_others():
    data = knc.datasets.splits("digits")
    assert experiments.part(data, None) is data
    assert experiments.part(data, 10**6) is data
    part = experiments.part(data, 100)
    for found, whole in ((part.test, data.test), (part.train, data.train)):
        assert found.shape == whole.shape
    assert len(part.train) == 100 and len(part.classes) == 10
    for x, y in zip(part.test.arrays(), data.test.arrays(), strict=True):
        np.testing.assert_array_equal(x, y)
    whole = {x.tobytes() for x in data.train.arrays()[0]}
    assert {x.tobytes() for x in part.train.arrays()[0]} <= whole


def test_curves_go_through_the_means_over_seeds(tmp_path):
    rows = [
        {"penalty": p, "k": 1, "percent": x, "seed": seed, "pruned": y + seed}
        for p in ("l1", "tl1")
        for x, y in ((0.7, 1.0), (0.3, 2.0))
        for seed in (0, 1)
    ]
    path = tmp_path / "figures" / "curves.svg"
    figure = experiments.curves(
        path, rows, ["k", "penalty"], ("percent", "gone"), ["pruned", "seed"]
    )
    assert "<svg" in path.read_text()
    pruned, _ = figure.axes
    assert [line.get_label() for line in pruned.lines] == ["l1", "tl1"]
    np.testing.assert_array_equal(
        pruned.lines[0].get_xydata(), [[0.3, 2.5], [0.7, 1.5]]
    )


def test_decay_is_of_every_weight_and_a_penalty_takes_its_place():
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    rules = {"conv": knc.regularizers.GroupLasso(0.3, decay=0.2)}
    made = experiments.with_decay(model, 0.5, rules)
    squares = {
        weight.path: np.square(weight).sum()
        for weight in model.trainable_variables
    }
    assert len(squares) == 6
    kernel = model.get_layer("conv").kernel
    expected = 0.25 * (sum(squares.values()) - squares[kernel.path])
    expected += float(rules["conv"](kernel))
    assert float(sum(made.losses)) == pytest.approx(expected, 1e-5)


class Stop(Exception):
    """What a test is stopped by."""


def test_a_stopped_training_ends_as_if_it_had_not_been(tmp_path):
    data = knc.datasets.splits("digits")

    def make():
        inputs = keras.Input((28, 28, 1))
        x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(inputs))
        model = keras.Model(inputs, keras.layers.Dense(10)(x))
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    def train(name, callbacks=()):
        return experiments.trained(
            tmp_path / name,
            make,
            data.train,
            epochs=3,
            batch_size=256,
            augment={"crop": 2},
            callbacks=callbacks,
        )

    def stop(epoch, logs):
        if epoch == 2:
            raise Stop

    stopping = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
    with pytest.raises(Stop):
        train("stopped.keras", [stopping])
    assert not (tmp_path / "stopped.keras").exists()
    whole, stopped = train("whole.keras"), train("stopped.keras")
    for a, b in zip(whole.get_weights(), stopped.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "stopped.keras",
        "whole.keras",
    ]
    again = train("whole.keras", [stopping])
    assert experiments.accuracy(again, data.test) == experiments.accuracy(
        whole, data.test
    )
    assert experiments.accuracy(again, data.test) > 0.5


def test_decay_is_on_every_weight_and_penalties_in_its_place():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3)(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    scales = knc.Elementwise(knc.penalties.L1(), 0.1)
    made = experiments.with_decay(model, 0.5, {"*/gamma": scales})
    found = {v.name: v.regularizer for v in made.trainable_variables}
    assert set(found) == {"kernel", "bias", "gamma", "beta"}
    assert found.pop("gamma") == scales
    assert all(float(l2.l2) == 0.25 for l2 in found.values())


def test_neurons_are_filters_and_the_inputs_of_dense_layers():
    model = knc.models.lenet5()
    conv, dense = model.get_layer("conv1"), model.get_layer("dense2")
    kernel = np.ones(conv.kernel.shape, "float32")
    # A filter of nearly zeros, one of zeros, and a mean above the tolerance.
    kernel[..., 0], kernel[..., 1], kernel[..., 2] = 5e-6, 0.0, 0.0
    kernel[0, 0, 0, 2] = 1e-3
    conv.kernel.assign(kernel)
    kernel = np.ones(dense.kernel.shape, "float32")
    kernel[:4], kernel[:, 0] = 0.0, 0.0
    dense.kernel.assign(kernel)
    for name in ("conv2", "dense1"):
        other = model.get_layer(name).kernel
        other.assign(np.ones(other.shape))
    for one in model.layers:
        if one.weights:
            one.bias.assign(np.ones(one.bias.shape))
    zeros = 25 + 24 + 4 * 10 + 496
    near, exact = (experiments.near_zeros(model, t) for t in (1e-5, 0.0))
    assert exact == ((zeros) / 431_080, 5 / 1370)
    assert near == ((zeros + 25) / 431_080, 6 / 1370)
    assert experiments.near_zeros(experiments.cleared(model), 0.0) == near


def test_decay_of_every_weight_leaves_penalties_as_they_are():
    model = knc.models.lenet5()
    penalty = knc.GroupLasso(1e-3)
    kernels = ("conv1", "conv2", "dense1", "dense2")
    found = experiments.with_decay(model, 0.5, dict.fromkeys(kernels, penalty))
    for weight in found.trainable_variables:
        if weight.name == "bias":
            assert float(weight.regularizer.l2) == 0.25
        else:
            assert isinstance(weight.regularizer, knc.GroupLasso)


def test_a_quick_run_leaves_what_was_measured_as_it_is():
    parser = experiments.parser("", ("a",), ("b",), ("c",), 3, "results/x.json")
    out = {
        tuple(words): parser.parse_args(words).out.as_posix()
        for words in ([], ["--quick"], ["--quick", "--out", "mine.json"])
    }
    assert out == {
        (): "results/x.json",
        ("--quick",): "runs/papers/quick-x.json",
        ("--quick", "--out", "mine.json"): "mine.json",
    }
