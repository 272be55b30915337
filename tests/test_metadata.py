"""Labels and normalisation inside the file."""

import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import tflite_export
from tflite_export import flatfile
from tflite_export import metadata
from tflite_export import runtime

pytestmark = pytest.mark.usefixtures("converts_here")

LABELS = tuple(f"klasse {i} äöü" for i in range(5))


@pytest.fixture
def samples():
    return np.random.default_rng(0).random((20, 16, 16, 3)).astype("float32")


@pytest.fixture(params=["float32", "int8", "uint8 io"])
def path(request, samples, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = layers.Dense(5, activation="softmax")(layers.Flatten()(x))
    path = tmp_path / "model.tflite"
    precision, _, io = request.param.partition(" ")
    settings = (
        {"precision": "int8", "io": "uint8"} if io else {"precision": precision}
    )
    tflite_export.convert(
        keras.Model(inputs, x), path, representative_data=samples, **settings
    )
    return path


def test_round_trip(path, samples):
    before = runtime.predict(path, samples)
    assert metadata.read(path) is None
    first = tflite_export.Metadata(LABELS, [1, 2, 3], [4, 5, 6.5], "a", "b")
    for given in (first, tflite_export.Metadata(LABELS[::-1]), first):
        metadata.write(path, given)
        assert metadata.read(path) == given.completed()
        with zipfile.ZipFile(path) as archive:
            text = archive.read("labels.txt").decode()
            assert tuple(text.splitlines()) == given.labels
        # Old metadata does not pile up.
        entries = flatfile.read(path).metadata
        names = [entry.name for entry in entries]
        assert names.count(b"TFLITE_METADATA") == 1
        assert np.array_equal(runtime.predict(path, samples), before)
    assert [p.name for p in path.parent.iterdir()] == ["model.tflite"]


def test_without_labels(path):
    given = tflite_export.Metadata(mean=[127.5], std=[127.5])
    metadata.write(path, given)
    assert metadata.read(path) == given
    assert not zipfile.is_zipfile(path)


def test_weights_stay_aligned(path):
    metadata.write(path, tflite_export.Metadata(LABELS))
    content = path.read_bytes()
    model = schema.Model.GetRootAs(content)
    checked = 0
    for i in range(model.BuffersLength()):
        data = model.Buffers(i).DataAsNumpy()
        if not isinstance(data, int):  # 0 stands for an empty buffer.
            start = data.__array_interface__["data"][0]
            base = np.frombuffer(content, "uint8").__array_interface__["data"]
            assert (start - base[0]) % 16 == 0
            checked += 1
    assert checked >= 4


def test_converting_with_metadata(samples, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.Dense(5)(layers.Flatten()(inputs))
    path = tmp_path / "model.tflite"
    given = tflite_export.Metadata(LABELS, name="mine")
    made = tflite_export.convert(keras.Model(inputs, x), path, metadata=given)
    assert metadata.read(path) == given.completed()
    assert made.bytes == path.stat().st_size


def test_input_range():
    found = tflite_export.Metadata(mean=[127.5], std=[127.5]).input_range
    assert found == (-1.0, 1.0)
    found = tflite_export.Metadata(mean=[0, 0, 51], std=[255, 51, 51])
    assert found.input_range == (-1.0, 5.0)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"mean": [1, 2], "std": [1, 2]}, "one number each"),
        ({"mean": [1], "std": [0]}, "`std` positive"),
        ({"mean": [np.nan]}, "one number each"),
        ({"labels": ["a", "b\nc"]}, "one line each"),
        ({"labels": ["a", 3]}, "one line each"),
    ],
)
def test_bad_metadata(arguments, message):
    with pytest.raises(ValueError, match=message):
        tflite_export.Metadata(**arguments)


def test_metadata_that_does_not_fit(path):
    content = path.read_bytes()
    for given, message in (
        (tflite_export.Metadata(["a", "b"]), "one name for each of 5 outputs"),
        (
            tflite_export.Metadata(mean=[0] * 4, std=[1] * 4),
            "must have 1 or 3 values",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            metadata.write(path, given)
    assert path.read_bytes() == content


def test_mediapipe_reads_it(path, samples):
    tasks = pytest.importorskip("mediapipe.tasks.python.vision")
    import mediapipe

    metadata.write(path, tflite_export.Metadata(LABELS))
    options = tasks.ImageClassifierOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path))
    )
    with tasks.ImageClassifier.create_from_options(options) as classifier:
        for image in samples[:5]:
            pixels = np.round(255 * image).astype("uint8")
            found = classifier.classify(
                mediapipe.Image(
                    image_format=mediapipe.ImageFormat.SRGB, data=pixels
                )
            )
            (scores,) = runtime.predict(path, pixels[None] / 255.0)
            for one in found.classifications[0].categories:
                assert one.category_name == LABELS[one.index]
                assert one.score == pytest.approx(scores[one.index], abs=0.005)
