"""The main job on answers of yes or no, values, and maps of them."""

import base64
import csv
import io
import json
import types

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

import keras_nonconvex as knc
from keras_nonconvex import datasets
from keras_nonconvex import outputs
from keras_nonconvex.compression import task
from keras_nonconvex.compression import training
from keras_nonconvex.compression.job import Job
from keras_nonconvex.compression.measure import Measure
from keras_nonconvex.compression.report import answers
from keras_nonconvex.compression.report import pictures
from keras_nonconvex.compression.stages import dense
from keras_nonconvex.compression.stages import recovery
from keras_nonconvex.compression.stages import shrinking
from keras_nonconvex.compression.steps import carry_out
from keras_nonconvex.datasets import dividing
from keras_nonconvex.run_folder import BEGUN
from keras_nonconvex.run_folder import Paths
from keras_nonconvex_main import cli
from tflite_export import android_project
from tflite_export import browser_page
from tflite_export import runtime

pytestmark = pytest.mark.usefixtures("converts_here")

DIGITS = load_digits()
X = (DIGITS.images[:400, ..., None] / 16).astype("float32")
Y = DIGITS.target[:400]
COLUMNS = ("even", "high", "round")
SETTINGS = {
    "budget": {"macs": 0.6},
    "round_to": 1,
    "fine_tune_epochs": 1,
    "batch_size": 32,
    "precisions": ["float32"],
    "latency_runs": 1,
}
TRAINED = {
    "train": True,
    "epochs": 6,
    "optimizer": {"name": "adam"},
    "learning_rate": 0.01,
}


def network(units, maps=False, activation=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    if maps:
        outputs = keras.layers.Conv2D(units, 1, activation=activation)(x)
        return keras.Model(inputs, outputs)
    x = keras.layers.Flatten()(x)
    return keras.Model(
        inputs, keras.layers.Dense(units, activation=activation)(x)
    )


def yes_or_no():
    return np.stack([Y % 2 == 0, Y > 4, np.isin(Y, (0, 6, 8, 9))], 1)


def splits_of(y, **more):
    parts = {"train": slice(240), "validation": slice(240, 300)}
    parts["test"] = slice(300, 400)
    return {**{k: (X[rows], y[rows]) for k, rows in parts.items()}, **more}


def begun(folder, model, data, **settings):
    """A job whose networks are made, and their measures; nothing else."""
    recipe = knc.Recipe(**SETTINGS, name="mine", **settings)
    paths = Paths(folder)
    paths.steps.mkdir(parents=True)
    (paths.steps / BEGUN).touch()
    job = Job(recipe, paths, Console(quiet=True), model=model, data=data)
    made = (dense, shrinking, recovery)
    steps = [step for stage in made for step in stage.steps(job)]
    assert carry_out(steps, job.records)
    return job


def outside(folder, name, x):
    """What Keras gives outside of the run."""
    model = keras.models.load_model(folder / f"{name}.keras")
    return model.predict(x, verbose=0)


def test_answers_of_yes_or_no_are_compressed(tmp_path):
    y = yes_or_no().astype("float32")
    model = network(3)
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    job = begun(tmp_path, model, splits_of(y, classes=COLUMNS), **TRAINED)
    for name, step in (("dense", "dense"), ("small", "fine-tune.small")):
        right = np.mean((outside(tmp_path, name, X[300:]) > 0) == y[300:])
        measured = job.records.measured(step)
        assert measured["accuracy"] == pytest.approx(right)
        assert right > 0.7
    assert not job.task.classifies and job.task.labels == COLUMNS
    told = answers.changed(job, "small")
    assert told["pairs"] == [] and 0.7 < told["agreement"] <= 1
    texts = {picture["target"]["text"] for picture in told["pictures"]}
    assert texts <= {
        *("none", "even", "high", "round", "even, high", "even, round"),
        *("high, round", "even, high, round"),
    }


def test_values_are_compressed_by_the_models_own_loss_and_metric(tmp_path):
    # Whole numbers are values where the loss says so.
    model = network(1)
    model.compile(keras.optimizers.Adam(0.01), "huber", metrics=["mae"])
    model.fit(X[:240], Y[:240], epochs=6, batch_size=32, verbose=0)
    model.save(tmp_path / "mine.keras")
    arrays = {
        f"{name}_{split}": part
        for split, pair in splits_of(Y).items()
        for name, part in zip("xy", pair, strict=True)
    }
    np.savez(tmp_path / "data.npz", **arrays)
    recipe = tmp_path / "recipe.json"
    paths = {"model": "mine.keras", "dataset": "data.npz"}
    paths = {key: str(tmp_path / name) for key, name in paths.items()}
    recipe.write_text(json.dumps({**SETTINGS, **paths}))
    out = tmp_path / "run"
    assert cli.main(["compress", str(recipe), "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    error = "mean_absolute_error"
    assert metrics["task"] == {
        "outputs": "values",
        "one_class_per_image": False,
        "measure": error,
        "higher_is_better": False,
    }
    # The numbers of a run are those of stock Keras and of LiteRT.
    for name in ("dense", "small"):
        file = f"{name}.float32.tflite"
        for measured, found in (
            (metrics[name], outside(out, name, X[300:])),
            (metrics["tflite"][file], runtime.predict(out / file, X[300:])),
        ):
            right = np.mean(np.abs(found[:, 0] - Y[300:]))
            assert measured[error] == pytest.approx(right, rel=1e-3)
    small = metrics["small"]
    assert small["macs"] <= 0.6 * metrics["dense"]["macs"]
    # The mean of all targets is 2.5 from one of them.
    assert small[error] < 2.4
    history = list(csv.DictReader((out / "history.csv").open()))
    assert float(history[-1][f"val_{error}"]) == pytest.approx(
        small[f"validation_{error}"], rel=1e-3
    )
    page = (out / "report.html").read_text()
    assert "test mean absolute error" in page
    # The drawing of the layers has a column for each.
    assert page.count(">conv2d") >= 2 and "as high as it has channels" in page
    assert "keras-nonconvex android" not in page
    for write in (android_project.write, browser_page.write):
        with pytest.raises(ValueError, match="one class. Received: run="):
            write(out, tmp_path / "app")
    assert not (tmp_path / "app").exists()


def write_maps(folder, kind, maps):
    for name, arrays in (("images", X[..., 0]), (kind, maps)):
        (folder / name).mkdir(parents=True)
        for i, pixels in enumerate(arrays[:150]):
            pixels = (
                pixels if kind == "masks" and name == kind else 255 * pixels
            )
            Image.fromarray(pixels.round().astype("uint8")).save(
                folder / name / f"{i:03}.png"
            )


def test_masks_are_compressed_by_the_overlap_of_classes(tmp_path):
    maps = (X[..., 0] > 0.3).astype("int64") + (X[..., 0] > 0.7)
    write_maps(tmp_path / "data", "masks", maps)
    model = network(3, maps=True)
    job = begun(tmp_path / "run", model, str(tmp_path / "data"))
    x, y = job.data.test.arrays()
    found = outside(tmp_path / "run", "small", x).argmax(-1)
    overlap = np.mean(
        [
            ((found == c) & (y == c)).sum() / ((found == c) | (y == c)).sum()
            for c in range(3)
        ]
    )
    measured = job.records.measured("fine-tune.small")
    assert measured["mean_iou"] == pytest.approx(overlap, abs=1e-4)
    told = answers.changed(job, "small")
    assert all(p["target"]["png"] != p["png"] for p in told["pictures"])


@keras.saving.register_keras_serializable("test_tasks")
class Cubes(keras.losses.Loss):
    """A loss that Keras does not know."""

    def call(self, y, given):
        return keras.ops.mean(keras.ops.abs(y - given) ** 3, axis=-1)


def grays(shown):
    """The gray values of a picture of the report."""
    png = io.BytesIO(base64.b64decode(shown["png"]))
    return np.asarray(Image.open(png))[..., 0]


def test_maps_of_values_are_compressed_by_a_loss_of_ones_own(tmp_path):
    model = network(1, maps=True)
    model.compile("adam", Cubes())
    depths = 2 + 3 * X
    job = begun(tmp_path, model, splits_of(depths), **{**TRAINED, "epochs": 3})
    x, y = job.data.test.arrays()
    for name, step in (("dense", "dense"), ("small", "fine-tune.small")):
        right = np.mean(np.abs(outside(tmp_path, name, x) - y) ** 3)
        measured = job.records.measured(step)["cubes"]
        assert measured == pytest.approx(right, rel=1e-4)
        # Better than the mean of all depths.
        assert measured < np.mean(np.abs(y.mean() - y) ** 3)
    # From the least depth, which is black, to the greatest.
    for shown in answers.changed(job, "small")["pictures"]:
        seen = grays(shown["target"])
        assert seen.min() == 0 and len(np.unique(seen)) > 5


@pytest.mark.parametrize("shape", [(5,), (6, 2), (2, 3, 4, 1)])
def test_samples_that_are_no_pictures_are_seen_as_rows_of_numbers(shape):
    sample = np.arange(np.prod(shape)).reshape(shape)
    seen = grays({"png": pictures.image(sample)})
    assert seen.shape == (shape[0], sample[0].size)
    assert (np.diff(seen.astype(int).ravel()) > 0).all()


def test_pictures_beside_pictures_are_maps_of_values(tmp_path):
    write_maps(tmp_path, "targets", 1 - X[..., 0])
    model = network(1, maps=True)
    model.compile("sgd", "mse")
    data = datasets.splits(tmp_path, model)
    x, y = data.train.arrays(5)
    assert data.kind == "values" and y.dtype == np.float32
    np.testing.assert_allclose(y, 1 - x, atol=1.1 / 255)
    found = task.of(model, data)
    assert found.maps and found.loss() == "mse"
    assert found.measure == Measure("mean_squared_error", higher=False)
    score = found.score(0.5 + y, y)
    assert score == pytest.approx(0.25)


def small_data(y, model=None, **more):
    return datasets.splits(splits_of(y, **more), model)


@pytest.mark.parametrize(
    "y,units,maps,activation,settings,measure,loss",
    [
        # One class per image is judged by its accuracy, whatever the metrics.
        (Y, 10, False, "softmax", {}, "accuracy", None),
        (
            *(Y, 10, False, None, {"loss": "categorical_hinge"}),
            *("accuracy", "SparseCategoricalCrossentropy"),
        ),
        (Y == 3, 1, False, "sigmoid", {}, "accuracy", "BinaryCrossentropy"),
        # Answers of yes or no.
        (yes_or_no(), 3, False, None, {}, "accuracy", "BinaryCrossentropy"),
        (
            *(yes_or_no(), 3, False, "sigmoid"),
            {"loss": "binary_crossentropy", "metrics": ["auc"]},
            *("auc", "binary_crossentropy"),
        ),
        # Values: where nothing tells, the data does.
        (Y / 10, 1, False, None, {}, "mean_squared_error", None),
        (
            *(Y, 1, False, None),
            {"loss": "huber", "metrics": [keras.metrics.R2Score()]},
            *("r2_score", "huber"),
        ),
        (Y, 1, False, None, {"loss": "log_cosh"}, "log_cosh", "log_cosh"),
        # Maps.
        (X[..., 0].round().astype(int), 2, True, None, {}, "mean_iou", None),
        (
            *(X[..., 0].round().astype(int), 1, True, "sigmoid"),
            {"loss": "binary_crossentropy"},
            *("mean_iou", "binary_crossentropy"),
        ),
        (
            *(X[..., 0].round().astype(int), 2, True, "softmax"),
            {"metrics": ["accuracy"]},
            *("accuracy", "SparseCategoricalCrossentropy"),
        ),
    ],
)
def test_what_a_run_is_judged_by(
    y, units, maps, activation, settings, measure, loss
):
    model = network(units, maps, activation)
    if settings:
        model.compile("sgd", **settings)
    y = y.astype("int64") if y.dtype == bool else y
    found = task.of(model, small_data(y, model))
    assert found.measure.name == measure
    if loss is not None:
        chosen = found.loss()
        assert loss in (chosen, type(chosen).__name__)
    # It is a number that the loss can be trained by.
    model.compile("sgd", found.loss(), metrics=found.metrics())
    if found.metric is not None:
        values = model.evaluate(X[300:], y[300:], verbose=0)
        made = model.predict(X[300:], verbose=0)
        assert found.score(made, y[300:]) == pytest.approx(values[-1], abs=1e-4)


@pytest.mark.parametrize(
    "y,units,maps,settings,message",
    [
        (yes_or_no().astype(float), 4, False, {}, "each of 3 columns"),
        (yes_or_no() * 0.3, 2, False, {}, "values in the form of the targets"),
        (X[..., 0] > 0.3, 1, False, {}, r"a map of classes .* \(8, 8\)"),
        (
            *(Y, 1, False, {}),
            r"has 1 output and the data 10 classes \(0, 1, 2, \.\.\.\)",
        ),
        (Y, 10, False, {"loss": "mse"}, "values in the form"),
    ],
)
def test_models_that_do_not_give_what_the_data_has_are_refused(
    y, units, maps, settings, message, tmp_path
):
    model = network(units, maps)
    if settings:
        model.compile("sgd", **settings)
    y = y.astype("int64") if y.dtype == bool else y
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        knc.compress(model, splits_of(y), tmp_path / "run", **SETTINGS)
    assert not list(tmp_path.iterdir())


def test_quantized_training_of_values_is_refused_before_the_run(tmp_path):
    model = network(1)
    with pytest.raises(ValueError, match="`qat_epochs` must be 0 unless"):
        knc.compress(
            model,
            splits_of(Y / 10),
            tmp_path / "run",
            **SETTINGS,
            qat_epochs=1,
        )
    assert not list(tmp_path.iterdir())


def test_measures_are_told_in_points_or_in_percent():
    accuracy, error = Measure(), Measure("error", higher=False)
    assert accuracy.behind(0.9, 0.92) == pytest.approx(2)
    assert accuracy.change(0.9, 0.92) == "-2.00 points"
    assert error.behind(1.1, 1.0) == pytest.approx(10)
    assert error.change(0.9, 1.0) == "-10.00 %"
    assert accuracy.gain(0.9) > accuracy.gain(0.8)
    assert error.gain(0.8) > error.gain(0.9)
    assert (accuracy.text(0.5), error.text(0.25)) == ("50.00 %", "0.25")


def test_samples_have_of_each_class_its_share_in_random_order():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    places = dividing.sample(1000, labels, 50, seed=0)
    assert len(set(places.tolist())) == 50
    assert np.bincount(labels[places]).tolist() == [30, 15, 5]
    # Not class after class, nor the same rows of each seed.
    assert (np.diff(labels[places]) != 0).sum() > 10
    others = dividing.sample(1000, labels, 50, seed=1)
    assert set(others.tolist()) != set(places.tolist())
    values = np.random.default_rng(0).random(1000)
    ordered = np.sort(values[dividing.sample(1000, values, 10, seed=0)])
    assert np.abs(ordered - np.arange(0.05, 1, 0.1)).max() < 0.1
    data = small_data(Y)
    _, y = data.train.arrays(100, seed=3)
    shares = np.bincount(Y[:240], minlength=10) * 100 / 240
    assert np.abs(np.bincount(y, minlength=10) - shares).max() <= 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_networks_of_float32(policy, tmp_path):
    model = network(10)
    job = types.SimpleNamespace(
        recipe=knc.Recipe(dtype_policy=policy), strategy=None
    )
    before = model.get_weights()
    with training.replicated(job, model) as replica:
        names = [layer.dtype_policy.name for layer in replica.layers[1:]]
        # The last layer gives the outputs.
        assert names == [policy] * 3 + ["float32"]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        replica.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
        scales = type(replica.optimizer).__name__ == "LossScaleOptimizer"
        assert scales == (policy == "mixed_float16")
        logs = replica.fit(X, Y, epochs=4, batch_size=50, verbose=0).history
        assert logs["accuracy"][-1] > logs["accuracy"][0] + 0.2
    assert keras.config.dtype_policy().name == "float32"
    assert all(layer.dtype_policy.name == "float32" for layer in model.layers)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert new.dtype == "float32" and not np.array_equal(old, new)


def test_the_last_layer_of_a_model_inside_stays_in_float32():
    inner = network(10, activation="softmax")
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, inner(inputs))
    made = training.copied(model, "mixed_float16")
    policies = [layer.dtype_policy.name for layer in made.layers[-1].layers]
    assert policies[1:] == ["mixed_float16"] * 3 + ["float32"]


def test_unknown_precisions_of_training_are_refused():
    with pytest.raises(ValueError, match="dtype_policy='float16'"):
        knc.Recipe(dtype_policy="float16")


def test_kinds_that_the_model_tells_count():
    regression, sigmoid = network(1), network(3, activation="sigmoid")
    regression.compile("sgd", "mse")
    assert small_data(Y, regression).kind == outputs.VALUES
    assert small_data(Y).kind == outputs.CLASSES
    one_each = np.eye(3, dtype=int)[Y % 3]
    assert small_data(one_each, sigmoid).kind == outputs.YES_NO
    assert small_data(one_each).kind == outputs.CLASSES


def test_a_fine_tuning_that_loses_on_validation_images_is_not_kept(tmp_path):
    model = network(10, activation="softmax")
    settings = {**TRAINED, "fine_tune": {"learning_rate": 1e3}}
    job = begun(tmp_path, model, splits_of(Y), **settings)
    _, path = shrinking.start(job, job.recipe.points[0])
    start = keras.models.load_model(path)
    for kept, old in zip(job.load("small").weights, start.weights, strict=True):
        np.testing.assert_array_equal(kept, old)
    assert job.records.measured("fine-tune.small") == job.measure(start)
