"""Arm code against this machine: the rules, the set-up, and both for real."""

import dataclasses
import json
import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest
from arm import cli
from arm import comparison
from arm import debian
from arm import images
from arm import machine
from keras import layers

import tflite_export
from keras_nonconvex import datasets
from tflite_export import conversion
from tflite_export import metadata
from tflite_export import runtime

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGITS = comparison.Kind("int8", softmax=False, step=0.25)
SOFTMAX = comparison.Kind("int8", softmax=True, step=1 / 256)
FLOAT = comparison.Kind("float32", softmax=True, step=None)
DYNAMIC = comparison.Kind("dynamic", softmax=True, step=None)
OUTPUTS = np.array([[1.0, 2.0, 8.0], [4.0, 2.0, 1.0]])


@pytest.fixture(scope="module")
def written(tmp_path_factory, digits):
    """A small network in every precision, and int8 to the outside."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(8, 5, strides=2, activation="relu")(inputs)
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    x = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.x_train, digits.y_train, epochs=2, verbose=0)
    folder = tmp_path_factory.mktemp("arm")
    samples = digits.x_train[:50]
    with pytest.warns(UserWarning, match="int16x8"):
        tflite_export.convert(
            model,
            folder / "{precision}.tflite",
            conversion.PRECISIONS,
            samples,
            isolate=False,
        )
    tflite_export.convert(
        model, folder / "io.tflite", "int8", samples, io="int8"
    )
    return folder


@pytest.mark.parametrize("precision", conversion.PRECISIONS)
def test_kind_is_read_from_the_file(written, precision):
    found = comparison.kind(written / f"{precision}.tflite")
    steps = {"int8": 1 / 256, "int16x8": 1 / 32768}
    assert found == comparison.Kind(precision, True, steps.get(precision))


def test_kind_of_integer_outputs(written):
    found = comparison.kind(written / "io.tflite")
    assert found == comparison.Kind("int8", True, 1.0)


@pytest.mark.parametrize(
    "kind,change,passed",
    [
        (LOGITS, 0, True),
        (LOGITS, 0.25, False),
        (SOFTMAX, 1 / 256, True),
        (SOFTMAX, 2 / 256, False),
        (dataclasses.replace(SOFTMAX, precision="int16x8"), 1 / 256, False),
        (FLOAT, 7e-5, True),  # The largest output is 8.
        (FLOAT, 9e-5, False),
        (FLOAT, np.nan, False),
        (DYNAMIC, 2.5, True),  # 3.5 is less than 4.
        (DYNAMIC, 3.5, False),
        (DYNAMIC, np.inf, False),
    ],
)
def test_rules(kind, change, passed):
    found = OUTPUTS.copy()
    found[1, 2] += change
    result = comparison.compare(kind, OUTPUTS, found)
    assert result.passed == passed
    assert (result.agreeing, result.images) == (2 - (change > 3), 2) or (
        np.isnan(change)
    )
    if kind.step and change:
        assert result.difference == change / kind.step


def test_outputs_that_never_change_show_nothing():
    zeros = np.zeros((5, 3))
    result = comparison.compare(LOGITS, zeros, zeros)
    assert result.difference == 0 and not result.passed
    with pytest.raises(ValueError, match=r"Received: \(5, 3\) and \(5, 2\)"):
        comparison.compare(LOGITS, zeros, zeros[:, :2])


def test_images_are_real_and_as_the_file_wants_them(written, digits, tmp_path):
    plain = images.for_file(written / "float32.tflite", 30)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, digits.x_test[:30], atol=1e-6)
    steps = images.for_file(written / "io.tflite", 30)
    assert steps.dtype == np.int8
    assert (steps.min(), steps.max()) == (-128, 127)
    np.testing.assert_allclose((steps + 128.0) / 255, plain, atol=0.003)
    copy = shutil.copy(written / "float32.tflite", tmp_path)
    metadata.write(copy, metadata.Metadata(mean=(127.5,), std=(51,)))
    scaled = images.for_file(copy, 30)
    np.testing.assert_allclose(scaled, 5 * plain - 2.5, atol=1e-5)


def test_images_of_the_run_that_a_file_lies_in(
    written, digits, tmp_path, monkeypatch
):
    copy = shutil.copy(written / "float32.tflite", tmp_path)
    recipe = tmp_path / "recipe.json"
    own = dataclasses.replace(digits, x_test=1 - digits.x_test)
    sets = {"own": own, "digits": digits}

    def load(name):
        if name not in sets:
            raise datasets.NotAvailable("no network in this test")
        return sets[name]

    monkeypatch.setattr(datasets, "load", load)
    for name, expected in (("own", own), ("far", digits)):
        recipe.write_text(json.dumps({"dataset": name}))
        found = images.for_file(copy, 5)
        np.testing.assert_allclose(found, expected.x_test[:5], atol=1e-6)


def test_images_are_for_files_that_take_images(tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Flatten()])
    path = tmp_path / "two_channels.tflite"
    tflite_export.convert(model, path)
    with pytest.raises(ValueError, match=r"which takes \(1, 6, 6, 2\)"):
        images.for_file(path, 3)


def test_photographs():
    cuttings, labels = images.photographs(40, 30, 50)
    assert cuttings.shape == (50, 40, 30, 3)
    assert 0 <= cuttings.min() and cuttings.max() <= 1
    assert len(np.unique(cuttings, axis=0)) == 50
    assert set(labels) == {0, 1}
    with pytest.raises(ValueError, match="Received: height=500, width=30"):
        images.photographs(500, 30, 1)


def test_a_machine_runs_files_on_their_images(written):
    paths = sorted(written.glob("*.tflite"))
    batches = [images.for_file(path, 3) for path in paths]
    done = []
    outputs = machine.this().run(paths, batches, done.append)
    assert done == list(range(1, len(paths) + 1))
    for path, batch, found in zip(paths, batches, outputs, strict=True):
        (target,) = runtime.interpreter(path).get_output_details()
        assert found.dtype == target["dtype"] and found.shape == (3, 10)
        if found.dtype == np.float32:
            expected = runtime.predict(path, batch)
            np.testing.assert_array_equal(found, expected)
    other = dataclasses.replace(machine.this(), architecture="riscv64")
    with pytest.raises(machine.Failed, match="must be riscv64. Received: "):
        other.run(paths, batches)
    with pytest.raises(machine.Failed, match=r"exit code 1: .*no\.tflite"):
        machine.this().run(["no.tflite"], batches[:1])


@pytest.mark.parametrize("version,accepted", [("7.2.15", 0), ("10.0.13", 1)])
def test_old_qemu_is_refused(version, accepted):
    text = f"qemu-aarch64 version {version} (Debian 1:{version}+dfsg-1)\n"
    if accepted:
        assert machine.check_version(text) == version
    else:
        with pytest.raises(debian.Unavailable, match="Received: version=7.2"):
            machine.check_version(text)


def skipped(written, tmp_path, capsys):
    """What is printed where no system can be made; nothing is left."""
    cache = tmp_path / "cache"
    path = str(written / "int8.tflite")
    assert cli.main([path, "--cache", str(cache)]) == 0
    assert not cache.exists() or not list(cache.iterdir())
    return capsys.readouterr().out.splitlines()[-1]


def test_skipped_where_there_is_no_apt(written, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "is_arm", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = skipped(written, tmp_path, capsys)
    assert said.startswith("Skipped: ") and "apt-get" in said


@pytest.mark.skipif(
    not (shutil.which("apt-get") and debian.KEYRING.exists()),
    reason="needs apt-get and Debian's keys",
)
def test_skipped_where_there_is_no_network(
    written, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(machine, "is_arm", lambda: False)
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:9/debian")
    said = skipped(written, tmp_path, capsys)
    assert said.startswith("Skipped: apt-get failed: E: Failed to fetch")
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "none.gpg")
    assert "none.gpg is not there" in skipped(written, tmp_path, capsys)


def test_an_arm_machine_compares_with_another(
    written, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(machine, "is_arm", lambda: True)
    folder = tmp_path / "arm"
    folder.mkdir()
    assert cli.main([str(folder)]) == 0
    assert "this is an Arm machine" in capsys.readouterr().out
    paths = [
        pathlib.Path(shutil.copy(written / f"{name}.tflite", folder))
        for name in ("float32", "int8")
    ]
    batches = [images.for_file(path, 4) for path in paths]
    outputs = machine.this().run(paths, batches)
    monkeypatch.setattr(cli, "OUT", folder)
    cli.save(paths, batches, outputs)
    assert cli.main([]) == cli.main([str(folder)]) == 0
    cli.save(paths, batches, outputs[::-1])
    assert cli.main([str(folder)]) == 1
    assert "failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["no.tflite"], "No LiteRT file. Received: path='no.tflite'"),
        (["--images", "1"], "Received: images=1"),
    ],
)
def test_bad_input(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(machine, "is_arm", lambda: False)
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_arm_code_computes_the_same(written, capsys, monkeypatch):
    cache = ROOT / ".cache" / "arm"
    if not machine.is_arm() and not debian.root(cache).exists():
        pytest.skip("the Arm system is installed by `make arm`")
    arguments = [str(written), "--cpu", "cortex-a76", "--images", "8"]
    arguments += ["--cache", str(cache)]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count("passed") == 6
    # What another file computes is not taken for the same.
    run = machine.Machine.run

    def swapped(self, paths, batches, progress):
        where = paths if self.python[0] == sys.executable else paths[::-1]
        return run(self, where, batches, progress)

    monkeypatch.setattr(machine.Machine, "run", swapped)
    same = [str(written / f"{name}.tflite") for name in ("float32", "int8")]
    assert cli.main([*same, *arguments[1:]]) == 1
