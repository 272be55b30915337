"""Files that LiteRT runs, equal to the Keras model."""

import keras
import models
import numpy as np
import pytest
from keras import layers

import tflite_export
from tflite_export import conversion

TOLERANCE = {"float32": 1e-5, "float16": 5e-3, "dynamic": 0.05, "int8": 0.15}


@pytest.fixture(scope="module")
def model():
    return models.chain(seed=1)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 12, 12, 2)).astype("float32")


@pytest.fixture(scope="module")
def written(model, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    return {
        precision: tflite_export.convert(
            model, folder / f"{precision}.tflite", precision, images
        )
        for precision in conversion.PRECISIONS
    }


@pytest.mark.parametrize("precision", conversion.PRECISIONS)
def test_parity(model, images, written, precision):
    made = written[precision]
    labels = model.predict(images, verbose=0).argmax(-1)
    parity = tflite_export.check_parity(model, made.path, images, labels)
    assert parity.max_abs_diff <= TOLERANCE[precision]
    assert parity.keras_accuracy == 1.0
    assert parity.accuracy == parity.agreement >= 0.9
    assert "agreement" in str(parity)


def test_files_are_small_fixed_and_builtin(written):
    from tflite_export import runtime

    sizes = {name: made.bytes for name, made in written.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    for made in written.values():
        (details,) = runtime.interpreter(made.path).get_input_details()
        assert tuple(details["shape"]) == (1, 12, 12, 2)
        assert tuple(details["shape_signature"]) == (1, 12, 12, 2)
        assert made.ops["CONV_2D"] == 2
        assert "CUSTOM" not in made.ops and "SHAPE" not in made.ops
    assert written["int8"].ops["QUANTIZE"] == 1


def test_benchmark_is_interleaved_and_ordered(written):
    paths = [written[p].path for p in ("float32", "int8", "float16")]
    timings = tflite_export.benchmark(paths[0], paths[1:], runs=30, warmup=5)
    assert [t.path for t in timings] == paths
    for timing in timings:
        assert 0 < timing.median_ms <= timing.p95_ms
        assert timing.runs == 30
    assert len(tflite_export.benchmark(paths[0], paths[1], runs=3)) == 2


def test_flex_operations_are_refused(tmp_path):
    inputs = keras.Input((4, 4, 1))
    outputs = layers.Lambda(
        lambda x: __import__("tensorflow").raw_ops.Betainc(a=x, b=x, x=x)
    )(inputs)
    path = tmp_path / "flex.tflite"
    with pytest.raises(Exception, match="(?i)betainc|flex|select"):
        tflite_export.convert(keras.Model(inputs, outputs), path)
    assert not path.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change,message",
    [
        ({"precision": "int4"}, "`precision` must be one of"),
        ({"path": "model.lite"}, "must end in '.tflite'"),
        ({"precision": "int8"}, "`representative_data` must be"),
        (
            {"precision": "int8", "representative_data": np.ones((3, 5))},
            r"Received: \(3, 5\)",
        ),
    ],
)
def test_bad_arguments(model, tmp_path, change, message):
    arguments = {"path": "model.tflite", **change}
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(ValueError, match=message):
        tflite_export.convert(model, **arguments)
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(model, images, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="No such file"):
        tflite_export.benchmark(str(tmp_path / "no.tflite"))
    with pytest.raises(ValueError, match="cannot load this file"):
        tflite_export.check_parity(model, bad, images)
    with pytest.raises(ValueError, match="Not a LiteRT file"):
        conversion.read_ops(bad)
