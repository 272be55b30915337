"""The commands export, parity, benchmark, android and demo-page."""

import json

import keras
import numpy as np
import pytest
from helpers import run
from keras import layers

import tflite_export
from keras_nonconvex import files
from keras_nonconvex_main import cli
from keras_nonconvex_main import export_cli
from tflite_export import profiling
from tflite_export import runtime

pytestmark = pytest.mark.usefixtures("converts_here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """A trained .keras file, and images of its kind in files."""
    folder = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 5, strides=2, activation="relu")(inputs)
    x = layers.Conv2D(32, 3, strides=2, activation="relu")(x)
    x = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    model = keras.Model(inputs, x, name="digits")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.x_train, digits.y_train, epochs=3, verbose=0)
    model.save(folder / "model.keras")
    np.save(folder / "images.npy", digits.x_test[:50])
    np.savez(folder / "test.npz", x=digits.x_test, y=digits.y_test)
    (folder / "labels.txt").write_text("".join(f"no {i}\n" for i in range(10)))
    return folder


@pytest.fixture(scope="module")
def exported(folder, converts_here):
    command = ["export", str(folder / "model.keras"), "--data", "digits"]
    assert cli.main([*command, "--precision", "float32", "int8"]) == 0
    return [
        str(folder / f"model.{precision}.tflite")
        for precision in ("float32", "int8")
    ]


def test_export_brings_labels(folder, exported, capsys, digits):
    for path in exported:
        assert tflite_export.metadata.read(path).labels == digits.classes
    command = [
        "export",
        str(folder / "model.keras"),
        "--out",
        str(folder / "other.tflite"),
        "--labels",
        str(folder / "labels.txt"),
        "--mean",
        "127.5",
        "--std",
        "127.5",
    ]
    assert cli.main(command) == 0
    assert "other.tflite: float32" in capsys.readouterr().out
    found = tflite_export.metadata.read(folder / "other.tflite")
    assert found.labels[3] == "no 3" and found.mean == (127.5,)


def test_parity_of_values_needs_no_labels(tmp_path, digits, capsys):
    inputs = keras.Input((28, 28, 1))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    model.compile("sgd", "mse")
    model.save(tmp_path / "values.keras")
    tflite_export.convert(model, tmp_path / "values.tflite")
    files = [str(tmp_path / f"values.{kind}") for kind in ("keras", "tflite")]
    assert cli.main(["parity", *files, "--data", "digits"]) == 0
    out = capsys.readouterr().out
    assert "agreement of" not in out and "accuracy" not in out


def test_parity_and_its_exit_code(folder, exported, capsys):
    model = str(folder / "model.keras")
    command = ["parity", model, *exported, "--data", str(folder / "test.npz")]
    assert cli.main([*command, "--samples", "100", "--layers"]) == 0
    out = capsys.readouterr().out
    assert out.count("met") == 2 and "NOT met" not in out
    assert out.count("most -> ") == 2 and "accuracy" in out
    # A file that takes its input otherwise does not give the same outputs.
    other = str(folder / "wrong.tflite")
    found = keras.models.load_model(model)
    found.layers[1].kernel.assign(-found.layers[1].kernel)
    tflite_export.convert(found, other)
    assert cli.main(["parity", model, other, *command[-2:]]) == 1
    assert "NOT met" in capsys.readouterr().out


def test_benchmark(folder, exported, capsys):
    path = folder / "timings.json"
    command = ["benchmark", exported[1], "--against", exported[0]]
    code = cli.main([*command, "--runs", "20", "--json", str(path)])
    assert code == 0
    out = capsys.readouterr().out
    assert "latency" in out and "1.000" in out
    stored = json.loads(path.read_text())["timings"]
    assert [one["path"] for one in stored] == exported[::-1]


def test_benchmark_of_operations(exported, capsys, monkeypatch):
    rows = (tflite_export.OpTime(0, "Convolution", 100, 12.0, 1.0),)
    seen = []
    monkeypatch.setattr(
        profiling, "profile", lambda path, **_: seen.append(path) or rows
    )
    assert cli.main(["benchmark", *exported, "--runs", "5", "--ops"]) == 0
    assert seen == exported
    assert "100.0%  Convolution" in capsys.readouterr().out


def test_normalised_input(folder, digits):
    described = tflite_export.Metadata(mean=[127.5], std=[127.5])
    model = files.load_model(folder / "model.keras")
    found = export_cli._network_input(model, digits.x_test[:2], described)
    np.testing.assert_allclose(found, 2 * digits.x_test[:2] - 1, atol=1e-6)
    assert found.dtype == "float32"


def test_pixels_reach_every_model_as_it_takes_them(folder, digits, capsys):
    """The accuracy is the same for [0, 1], uint8, and behind a Rescaling."""
    pixels = np.round(255 * digits.x_test)
    np.savez(
        folder / "u.npz", x=pixels.astype("uint8"), y=digits.y_test[:, None]
    )
    np.savez(folder / "f.npz", x=pixels, y=np.eye(10)[digits.y_test])
    model = files.load_model(folder / "model.keras")
    found = run(model, digits.x_test)[0].argmax(-1) == digits.y_test
    said = f"accuracy {found.mean():.2%} (Keras {found.mean():.2%})"
    behind = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), model]
    )
    behind.save(folder / "behind.keras")
    for name, std, fitting in (
        ("model", 255.0, ("test.npz", "u.npz")),
        ("behind", 1.0, ("test.npz", "u.npz", "f.npz")),
    ):
        command = [str(folder / f"{name}.keras"), "--force", "--out"]
        path = str(folder / f"{name}.range.tflite")
        assert cli.main(["export", *command, path]) == 0
        assert tflite_export.metadata.read(path).std == (std,)
        for data in fitting:
            command = [str(folder / f"{name}.keras"), path, "--data"]
            assert cli.main(["parity", *command, str(folder / data)]) == 0
            assert said in capsys.readouterr().out
    command = [str(folder / "model.keras"), str(folder / "model.range.tflite")]
    command += ["--data", str(folder / "f.npz")]
    assert cli.main(["parity", *command]) == 2
    assert "must have values from 0 to 1" in capsys.readouterr().err


def test_prune_with_measured_rounding(folder, capsys):
    out = folder / "small.keras"
    command = ["prune", str(folder / "model.keras"), str(out)]
    assert cli.main([*command, "--round-to", "auto"]) == 2
    assert "needs a budget" in capsys.readouterr().err
    assert cli.main([*command, "--macs", "50%", "--round-to", "auto"]) == 0
    assert "<- best" in capsys.readouterr().out
    assert out.exists()


def test_io_is_that_of_the_quantized_files(folder):
    out = str(folder / "io.{precision}.tflite")
    command = ["export", str(folder / "model.keras"), "--data", "digits"]
    command += ["--precision", "float32", "int8", "--io", "uint8"]
    assert cli.main([*command, "--out", out]) == 0
    for precision, dtype in (("float32", "float32"), ("int8", "uint8")):
        model = runtime.interpreter(out.replace("{precision}", precision))
        (details,) = model.get_input_details()
        assert np.dtype(details["dtype"]) == dtype


@pytest.mark.parametrize(
    "command,message",
    [
        (
            ["export", "{model}", "--force", "--precision", "int8"],
            "--data must give images",
        ),
        (
            ["export", "{model}", "--force", "--data", "{folder}/no.npz"],
            "No such file",
        ),
        (["export", "{model}", "--out", "{folder}/x.lite"], "must end in"),
        (
            ["export", "{model}", "--precision", "float32", "float16"]
            + ["--out", "{folder}/x.tflite"],
            "--out must contain {precision}",
        ),
        (
            ["export", "{model}", "--force", "--labels", "{folder}/no"],
            "No such file",
        ),
        (["export", "{model}", "--out", "{model}/x.tflite"], "File exists"),
        (["parity", "{model}", "no.tflite", "--data", "digits"], "No such"),
        (
            ["parity", "{model}", "x", "--data", "digits", "--samples", "0"],
            "`--samples` must be a whole number >= 1",
        ),
        (["benchmark", "{folder}/labels.txt"], "cannot load this file"),
        (["benchmark", "no.tflite"], "No such file"),
        (["android", "{folder}"], "Not a finished run folder"),
        (["demo-page", "{folder}"], "Received:"),
    ],
)
def test_bad_input_is_one_sentence(folder, capsys, command, message):
    before = sorted(folder.iterdir())
    model = str(folder / "model.keras")
    command = [
        one.replace("{model}", model).replace("{folder}", str(folder))
        for one in command
    ]
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1 and error.startswith("keras-nonconvex: ")
    assert sorted(folder.iterdir()) == before


def test_existing_files_stay(folder, exported, capsys):
    command = ["export", str(folder / "model.keras"), "--data", "digits"]
    assert cli.main(command) == 2
    assert "use --force" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
