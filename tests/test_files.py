"""Files are written whole or not at all, and errors name what users named."""

import errno
import os
import pathlib

import keras
import pytest

import keras_nonconvex as knc
import tflite_export.measures
from keras_nonconvex import files


def fails_in_keras(path):
    files.save_model(keras.Sequential([keras.Input((2,))]), path)


def is_a_folder(path):
    path.mkdir(parents=True)
    (path / "inside").touch()
    files.write_text(path, "text")


def has_no_folder(path):
    # No file can be made there, by anybody.
    path.parent.symlink_to("/proc")
    files.write_text(path, "text")


def fails_inside_of_a_folder(path):
    with files.replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "part" / "file").write_text("text")


def says_it_in_words(path):
    with files.replacing(path) as temporary:
        raise ValueError(f"Cannot write {str(temporary)!r}.", 3)


@pytest.mark.parametrize(
    "case",
    [
        fails_in_keras,
        is_a_folder,
        has_no_folder,
        fails_inside_of_a_folder,
        says_it_in_words,
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_errors_name_the_file_not_a_hidden_one(
    tmp_path, monkeypatch, case, relative
):
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path("runs/model.file")
    path = path if relative else tmp_path / path
    with pytest.raises((OSError, ValueError)) as raised:
        case(path)
    text = str(raised.value)
    assert str(path) in text
    assert "/.model" not in text and "'.model" not in text
    for name in ("filename", "filename2"):
        assert ".model.file." not in str(getattr(raised.value, name, ""))
    # Nothing half-written is left behind.
    left = {name for *_, names in os.walk(tmp_path) for name in names}
    assert left <= {"inside"}


def test_a_full_disk_names_the_file_that_had_no_room(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(OSError) as raised:
        with files.replacing(path):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(path)
    assert not any(tmp_path.iterdir())


def test_budgets_of_files_do_not_name_theirs(monkeypatch):
    def refuse(path, **options):
        raise ValueError(f"No times of this file. Received: path={str(path)!r}")

    monkeypatch.setattr(tflite_export.measures, "benchmark", refuse)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError) as raised:
        knc.prune(model, budget={"latency": 0.5})
    assert str(raised.value) == (
        "No times of this file. Received: path='model.tflite'"
    )
