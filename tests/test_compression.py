"""The main job, end to end, on real images."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex.compression import front
from keras_nonconvex.compression import points
from keras_nonconvex.compression.measure import Measure
from keras_nonconvex.datasets import base as datasets_base
from keras_nonconvex_main import cli
from tflite_export import android_project
from tflite_export import browser_page

FILES = {
    "recipe.json",
    "dense.keras",
    "sparse.keras",
    "small.keras",
    "small.plan.json",
    "splits.json",
    "front.csv",
    "history.csv",
    "metrics.json",
    "dense.float32.tflite",
    "dense.float16.tflite",
    "dense.dynamic.tflite",
    "dense.int8.tflite",
    "small.float32.tflite",
    "small.float16.tflite",
    "small.dynamic.tflite",
    "small.int8.tflite",
    "report.html",
}
SETTINGS = {
    "name": "tiny",
    "dataset": "digits",
    "regularizers": {
        "conv*": {
            "name": "sparse_group_tl1",
            "strength": 1e-4,
            "group_strength": 2e-3,
        },
        "dense1": {
            "name": "sparse_group_tl1",
            "strength": 3e-5,
            "group_strength": 5e-4,
        },
    },
    "learning_rate": 0.02,
    "epochs": 20,
    "fine_tune_epochs": 8,
    "keep_zeros": True,
    "latency_runs": 200,
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return knc.compress(SETTINGS, out=out)


def test_run_folder(result):
    assert {path.name for path in result.folder.iterdir()} == FILES
    assert not result.folder.with_name("tiny.part").exists()
    stored = json.loads((result.folder / "metrics.json").read_text())
    assert stored == result.metrics
    recipe = knc.Recipe.load(result.folder / "recipe.json")
    assert recipe == knc.Recipe.from_dict(SETTINGS)


def test_metrics(result, digits):
    m = result.metrics
    assert m["dataset"] == "digits" and m["seconds"] > 0
    assert m["dense"]["params"] == m["sparse"]["params"] == 431_080
    assert m["sparse"]["zero_filters"] > 10
    assert m["sparse"]["zero_weights"] > 10_000
    pruned = m["small"]["after_prune"]
    assert pruned["params"] == m["small"]["params"] < 0.7 * 431_080
    assert pruned["max_abs_diff"] <= 1e-4
    # Exact removal: the accuracy is that of the sparse model.
    assert pruned["accuracy"] == m["sparse"]["accuracy"]
    assert m["points"] == ["small"] and m["chosen"] == "small"
    assert all(cost["seconds"] > 0 for cost in m["steps"].values())
    assert m["small"]["accuracy"] > 0.93
    assert set(m["tflite"]) == {f for f in FILES if f.endswith(".tflite")}
    for name, entry in m["tflite"].items():
        assert entry["bytes"] == (result.folder / name).stat().st_size
        assert 0 < entry["latency_ms"] <= entry["latency_p95_ms"]
        limit = {"dynamic": 0.3, "int8": 0.3, "float16": 0.02}
        precision = name.split(".")[1]
        assert entry["max_abs_diff"] <= limit.get(precision, 1e-4)
        stage = name.split(".")[0]
        assert abs(entry["accuracy"] - m[stage]["accuracy"]) < 0.05
        assert entry["parity"] and entry["agreement"] > 0.95
        stored = tflite_export.metadata.read(result.folder / name)
        assert stored.labels == digits.classes
        assert (stored.mean, stored.std) == ((0,), (255,))
    small = m["tflite"]["small.float32.tflite"]
    dense = m["tflite"]["dense.float32.tflite"]
    assert small["latency_ms"] < dense["latency_ms"]


def test_stored_models(result, digits):
    measured = {}
    for name in ("dense", "sparse", "small"):
        model = keras.models.load_model(result.folder / f"{name}.keras")
        outputs = model.predict(digits.x_test, verbose=0)
        measured[name] = np.mean(outputs.argmax(-1) == digits.y_test)
    for name, accuracy in measured.items():
        assert accuracy == pytest.approx(result.metrics[name]["accuracy"])
    small = keras.models.load_model(result.folder / "small.keras")
    plan = knc.PruningPlan.from_json(
        (result.folder / "small.plan.json").read_text()
    )
    sparse = keras.models.load_model(result.folder / "sparse.keras")
    assert plan.apply(sparse).count_params() == small.count_params()
    # keep_zeros: single zeros survived the fine-tuning.
    assert knc.summary(small).zero_weights > 0


def test_small_model_needs_only_keras(result):
    code = (
        "import keras, sys; "
        f"m = keras.models.load_model({str(result.folder / 'small.keras')!r});"
        "assert 'keras_nonconvex' not in sys.modules; print(m.count_params())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == str(result.metrics["small"]["params"])


def test_history(result):
    rows = list(csv.DictReader((result.folder / "history.csv").open()))
    stages = [row["stage"] for row in rows]
    expected = ["dense"] * 20 + ["sparse"] * 20 + ["fine-tune.small"] * 8
    assert stages == expected
    sparse = [row for row in rows if row["stage"] == "sparse"]
    assert (
        float(sparse[-1]["zero_filters"])
        == (result.metrics["sparse"]["zero_filters"])
    )
    assert float(sparse[-1]["val_accuracy"]) == pytest.approx(
        result.metrics["sparse"]["validation_accuracy"]
    )
    # The logged loss has the penalty in it.
    assert float(sparse[0]["loss"]) > float(rows[0]["loss"]) + 0.5


def test_report_in_a_browser(result, tmp_path):
    page = (result.folder / "report.html").read_text()
    # Nothing to fetch: names of XML languages are no addresses.
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page and page.count("data:image/png") >= 20
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    shot = tmp_path / "report.png"
    for action in (f"--screenshot={shot}", "--dump-dom"):
        done = subprocess.run(
            [
                chromium,
                *options,
                "--window-size=1100,3000",
                action,
                (result.folder / "report.html").as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    import matplotlib.image

    pixels = matplotlib.image.imread(shot)
    assert pixels.shape[:2] == (3000, 1100)
    # Not a blank page: the green of the bars is there.
    green = np.abs(pixels[..., :3] - np.array([18, 121, 107]) / 255).max(-1)
    assert (green < 0.02).sum() > 2000
    text = done.stdout
    for words in (
        *("Dense against small", "What was removed", "Exports"),
        *("Answers that changed", "Time and memory", "Go on"),
    ):
        assert words in text
    assert f"{result.metrics['small']['params']:,}" in text


def test_killed_runs_resume(tmp_path, capsys):
    settings = {**SETTINGS, "epochs": 3, "fine_tune_epochs": 1}
    settings["precisions"] = ["float32"]
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(settings))
    out = tmp_path / "run"
    arguments = ["compress", str(recipe), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "keras_nonconvex", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        for line in process.stdout:
            if "sparse 2/3" in line:
                process.kill()
                break
    part = tmp_path / "run.part"
    assert part.exists() and not out.exists()
    stored = (part / "dense.keras").stat().st_mtime_ns

    # The rest happens here, in a process that knows nothing of the first.
    assert cli.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main([*arguments, "--resume"]) == 0
    said = capsys.readouterr().out
    assert "dense 1/3" not in said
    assert "sparse 1/3" not in said and "sparse 3/3" in said
    assert (out / "dense.keras").stat().st_mtime_ns == stored
    rows = list(csv.DictReader((out / "history.csv").open()))
    sparse = [int(r["epoch"]) for r in rows if r["stage"] == "sparse"]
    assert sparse == [1, 2, 3]
    assert not part.exists()
    # Complete: nothing to resume, nothing overwritten by accident.
    for more in (["--resume"], []):
        assert cli.main([*arguments, *more]) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert error.startswith("keras-nonconvex: ")


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(knc, "compress", interrupted)
    assert cli.main(["compress", "demo"]) == 130
    assert "--resume" in capsys.readouterr().err


@pytest.fixture
def halves(digits, monkeypatch):
    """A data set of two classes: digits below 5, and the others."""
    data = dataclasses.replace(
        digits,
        name="halves",
        y_train=(digits.y_train > 4).astype("int64"),
        y_test=(digits.y_test > 4).astype("int64"),
        classes=("low", "high"),
    )
    monkeypatch.setitem(
        knc.datasets.REGISTRY,
        "halves",
        datasets_base.Source("halves", lambda n: n == "halves", lambda n: data),
    )
    return data


def own_model(path, shape, units, loss):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(32, activation="relu", name="dense1")(x)
    model = keras.Model(inputs, keras.layers.Dense(units, name="head")(x))
    if loss is not None:
        model.compile("sgd", loss)
    model.save(path)
    return {
        "name": "own",
        "dataset": "halves",
        "model": str(path),
        "train": True,
        "regularizers": {
            "dense1": SETTINGS["regularizers"]["dense1"],
            "head": None,
        },
        "epochs": 3,
        "fine_tune_epochs": 1,
        "precisions": ["float32"],
        "latency_runs": 1,
    }


def test_own_models_may_give_one_logit(halves, tmp_path):
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    recipe = own_model(tmp_path / "own.keras", halves.input_shape, 1, loss)
    metrics = knc.compress(recipe, out=tmp_path / "run").metrics
    assert metrics["small"]["accuracy"] > 0.8
    entry = metrics["tflite"]["small.float32.tflite"]
    expected = pytest.approx(metrics["small"]["accuracy"], abs=1e-3)
    assert entry["accuracy"] == expected
    path = tmp_path / "run" / "small.float32.tflite"
    assert tflite_export.metadata.read(path).labels == ("high",)
    with pytest.raises(ValueError, match="one output per class"):
        browser_page.write(tmp_path / "run", tmp_path / "page")


@pytest.mark.parametrize(
    "units,loss,received",
    [
        (1, None, r"None of shape \(1,\)"),
        (2, "mse", r"values of shape \(2,\)"),
        (3, None, r"classes of shape \(3,\)"),
    ],
)
def test_own_models_that_do_not_answer_are_refused(
    halves, tmp_path, units, loss, received
):
    shape = halves.input_shape
    recipe = own_model(tmp_path / "own.keras", shape, units, loss)
    with pytest.raises(ValueError, match=f"logits of 2 classes.*{received}"):
        knc.compress(recipe, out=tmp_path / "run")
    assert not list(tmp_path.glob("run*"))


@pytest.fixture
def recipe_file(tmp_path):
    def write(**changes):
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps({**SETTINGS, **changes}))
        return path

    return write


def test_several_workers_need_their_cluster(monkeypatch, capsys):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    command = ["compress", "demo", "--strategy", "multi-worker"]
    assert cli.main(command) == 2
    assert "TF_CONFIG" in capsys.readouterr().err
    with pytest.raises(ValueError, match="`strategy` must be one of"):
        knc.compress("demo", strategy="horovod")


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"dataset": "fashion_mnst"}, "Near names: "),
        ({"dataset": "{folder}/x.npz"}, "must have labels"),
        ({"regularizers": {"*": {"name": "group_laso"}}}, "GroupLasso"),
        (
            {"regularizers": {"*": {"name": "group_lasso", "strength": -1}}},
            "`strength` must be a finite number >= 0",
        ),
        ({"epoch": 3}, "Did you mean `epochs`?"),
        ({"model": "missing.keras"}, "No such model file"),
        ({"regularizers": {"stem": "group_lasso"}}, "Received: 'stem'"),
        ({"criterion": "group_norm"}, "needs a budget"),
    ],
)
def test_bad_recipes_end_with_code_2(
    recipe_file, tmp_path, capsys, changes, message
):
    out = tmp_path / "out"
    np.savez(tmp_path / "x.npz", x=np.zeros((20, 28, 28, 1)))
    if "dataset" in changes:
        dataset = changes["dataset"].replace("{folder}", str(tmp_path))
        changes = {**changes, "dataset": dataset}
    code = cli.main(
        ["compress", str(recipe_file(**changes)), "--out", str(out)]
    )
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err and "Received:" in captured.err
    assert captured.err.strip().count("\n") == 0
    assert not out.exists() and not (tmp_path / "out.part").exists()


def test_existing_folders_end_with_code_2(recipe_file, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("mine")
    assert cli.main(["compress", str(recipe_file()), "--out", str(out)]) == 2
    assert "use --force" in capsys.readouterr().err
    assert (out / "precious").read_text() == "mine"


def test_force_replaces_run_folders_only(recipe_file, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis").write_text("mine")
    arguments = ["compress", str(recipe_file()), "--force", "--out"]
    assert cli.main([*arguments, str(out)]) == 2
    assert "run folders only" in capsys.readouterr().err
    assert cli.main([*arguments, str(out / "thesis")]) == 2
    assert (out / "thesis").read_text() == "mine"


def test_inspect_and_prune(result, tmp_path, capsys):
    sparse = str(result.folder / "sparse.keras")
    assert cli.main(["inspect", sparse]) == 0
    assert "431,080" in capsys.readouterr().out
    small = tmp_path / "small.keras"
    arguments = ["prune", sparse, str(small), "--params", "20%"]
    assert cli.main(arguments) == 0
    model = keras.models.load_model(small)
    assert model.count_params() <= 0.2 * 431_080
    capsys.readouterr()
    assert cli.main(arguments) == 2
    assert "output file exists" in capsys.readouterr().err
    assert cli.main([*arguments[:4], "100", "--force"]) == 1
    assert "cannot be met" in capsys.readouterr().err


def test_files_that_are_no_models_end_with_code_2(tmp_path, capsys):
    bad = tmp_path / "bad.keras"
    bad.write_text("no model")
    assert cli.main(["inspect", str(bad)]) == 2
    assert "Not a .keras model file" in capsys.readouterr().err
    import zipfile

    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("config.json", "{}")
    assert cli.main(["inspect", str(bad)]) == 2
    assert "Received:" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(digits):
    """A network of one's own: logits, Rescaling and a random flip inside."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.RandomTranslation(0.05, 0.05)(x)
    for width in (16, 24):
        x = keras.layers.Conv2D(
            width, 3, 2, padding="same", use_bias=False, name=f"conv{width}"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x), name="mine")
    model.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x = np.round(255 * digits.x_train).astype("uint8")
    model.fit(x, digits.y_train, epochs=12, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def fronts(trained, digits, tmp_path_factory):
    """A front of a model and of arrays that are there already."""
    data = {
        "train": (
            np.round(255 * digits.x_train).astype("uint8"),
            digits.y_train,
        ),
        "test": (np.round(255 * digits.x_test).astype("uint8"), digits.y_test),
        "classes": digits.classes,
    }
    before = trained.get_weights()
    result = knc.compress(
        trained,
        data,
        tmp_path_factory.mktemp("runs") / "front",
        name="front",
        budget=[{"macs": "40%"}, {"macs": 0.6}],
        round_to=1,
        fine_tune_epochs=2,
        precisions=["float32"],
        latency_runs=20,
        within=100,
    )
    for old, new in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return result


def test_a_front_has_one_network_for_each_budget(fronts, trained, digits):
    m = fronts.metrics
    assert m["points"] == ["macs60", "macs40"]
    # All are near enough: the smallest counts.
    assert m["chosen"] == "macs40"
    x = np.round(255 * digits.x_test).astype("uint8")
    for name, left in (("dense", 1.0), ("macs60", 0.6), ("macs40", 0.4)):
        entry = m[name]
        assert entry["macs"] <= left * m["dense"]["macs"]
        # What Keras and LiteRT say outside of the run.
        model = keras.models.load_model(fronts.folder / f"{name}.keras")
        found = model.predict(x, verbose=0).argmax(-1)
        accuracy = np.mean(found == digits.y_test)
        assert entry["accuracy"] == pytest.approx(accuracy)
        assert m["tflite"][f"{name}.float32.tflite"]["accuracy"] == (
            pytest.approx(accuracy, abs=0.01)
        )
    assert m["dense"]["accuracy"] > 0.7
    assert m["macs40"]["accuracy"] > m["macs40"]["after_prune"]["accuracy"]
    assert m["dense"]["params"] == trained.count_params()
    small = fronts.model
    assert small.count_params() == m["macs40"]["params"]
    # The plans of both steps are one against the dense network.
    assert fronts.plan.before["params"] == trained.count_params()
    assert fronts.plan.apply(trained).count_params() == small.count_params()
    assert fronts.files["float32"].name == "macs40.float32.tflite"


def test_the_table_of_a_front_says_what_nothing_beats(fronts):
    rows = list(csv.DictReader((fronts.folder / "front.csv").open()))
    assert [row["network"] for row in rows] == ["dense", "macs60", "macs40"]
    for row in rows:
        better = [
            other
            for other in rows
            if float(other["accuracy"]) >= float(row["accuracy"])
            and int(other["bytes"]) < int(row["bytes"])
        ]
        assert (row["unbeaten_by_bytes"] == "True") == (not better)
    page = (fronts.folder / "report.html").read_text()
    assert "The front" in page and "macs60" in page
    # Each mark says its name, in each of the three figures.
    for row in rows:
        name = f"{row['network']}.{row['precision']}"
        assert page.count(f"<title>{name}</title>") == 3


def test_the_app_and_the_page_show_any_network_of_a_front(fronts, tmp_path):
    chosen = android_project.write(fronts.folder, tmp_path / "a")
    asked = android_project.write(
        fronts.folder, tmp_path / "b", network="macs60"
    )
    files = android_project.write_files(
        fronts.folder / "dense.float32.tflite",
        fronts.folder / "macs60.float32.tflite",
        tmp_path / "c",
        name="mine",
    )
    cards = [
        dict(
            line.split("=", 1)
            for line in (path / android_project.CARD).read_text().splitlines()
        )
        for path in (chosen, asked, files)
    ]
    named = [card["pruned.file"] for card in cards]
    assert named == ["macs40.float32.tflite", *["macs60.float32.tflite"] * 2]
    macs = fronts.metrics["macs60"]["macs"]
    assert cards[1]["pruned.macs"] == str(macs)
    assert [card["fit"] for card in cards] == ["stretch", "stretch", "crop"]
    assert cards[2]["precision"] == "float32" and cards[2]["label.9"] == "9"
    with pytest.raises(ValueError, match="networks of this run are macs60, "):
        android_project.write(fronts.folder, tmp_path / "d", network="small")


def test_the_smallest_network_that_is_near_enough_is_chosen():
    def metrics(**accuracies):
        return {
            name: {"validation_accuracy": accuracy, "macs": macs}
            for macs, (name, accuracy) in enumerate(accuracies.items())
        }

    # In the order of their multiply-adds; the dense network is the last.
    for accuracies, within, *right in (
        ({"a": 0.88, "b": 0.895, "c": 0.9, "dense": 0.9}, 1.0, "b", True),
        ({"a": 0.88, "b": 0.895, "c": 0.9, "dense": 0.9}, 2.5, "a", True),
        ({"a": 0.88, "b": 0.895, "c": 0.91, "dense": 0.95}, 1.0, "c", False),
    ):
        names = [name for name in accuracies if name != "dense"]
        assert front.chosen(
            metrics(**accuracies), names, within, Measure()
        ) == tuple(right)
    assert front.reason(False, 1.0, Measure()) == (
        "the best on validation images, where none is within 1 point of the "
        "dense one"
    )


def test_budgets_of_a_front_have_names_and_an_order():
    many = [{"macs": "25%"}, {"macs": 0.5, "params": 0.5}, {"macs": 0.75}]
    assert [point.name for point in points.of(many)] == [
        *("macs75", "macs50-params50", "macs25"),
    ]
    assert [point.name for point in points.of({"macs": 0.5})] == ["small"]
    assert [b["macs"] for b in points.spaced(3)] == [0.7, 0.374, 0.2]
    with pytest.raises(ValueError, match="must differ from each other"):
        points.of([{"macs": 0.5}, {"macs": "50%"}])


def test_epochs_of_all_trainings_are_shared_out():
    recipe = knc.Recipe(
        model="lenet5",
        budget=[{"macs": 0.5}, {"macs": 0.25}],
        epochs=10,
        fine_tune_epochs=5,
        total_epochs=40,
    )
    assert (recipe.epochs, recipe.fine_tune_epochs) == (20, 10)
    assert knc.Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    assert recipe.name == "lenet5_fashion_mnist"


def test_a_strength_is_found_that_makes_the_wanted_filters_zero(tmp_path):
    result = knc.compress(
        "lenet5",
        "digits",
        tmp_path / "run",
        sparse="group_lasso",
        target=0.5,
        epochs=8,
        learning_rate=0.02,
        fine_tune_epochs=0,
        precisions=["float32"],
        latency_runs=1,
        budget=None,
    )
    sparse = result.metrics["sparse"]
    assert 0.4 < sparse["zero_filters"] / sparse["filters"] < 0.65
    assert result.metrics["small"]["params"] < 0.6 * 431_080


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["nothing"], "No such recipe: give a JSON file or one of demo"),
        (["lenet5", "--macs", "50%", "--front", "3"], "--front 3 and --macs"),
        (["lenet5", "--macs", "1", "--params", "1", "2"], "as many values"),
        (["lenet5", "--sparse", "lasso"], "Unknown regularizer"),
        (["lenet5", "--data", "photos/"], "No such folder"),
        (["lenet5", "--resume", "--join"], "choose one"),
    ],
)
def test_bad_arguments_end_with_code_2(
    arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compress", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Received:" in error
    assert error.strip().count("\n") == 0
    assert not list(tmp_path.rglob("*.*"))
