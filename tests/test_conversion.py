"""Keras models become files that LiteRT runs, or are refused in words."""

import keras
import numpy as np
import pytest
from helpers import images
from keras import layers
from keras import ops

import tflite_export
from tflite_export import conversion
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export.precisions import recognised
from tflite_export.processes import child

pytestmark = pytest.mark.usefixtures("converts_here")


@pytest.fixture(scope="module")
def model():
    """Kernels below 1,024 weights would stay float in dynamic files."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 2))
    x = layers.Conv2D(16, 3, use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(32, 3, strides=2, activation="relu")(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


@pytest.fixture(scope="module")
def samples(model):
    return images(model, 200)


@pytest.fixture(scope="module")
def written(model, samples, tmp_path_factory, converts_here):
    """All precisions, converted in this process."""
    folder = tmp_path_factory.mktemp("tflite")
    done = []
    with pytest.warns(UserWarning, match="int16x8 files are precise but slow"):
        made = tflite_export.convert(
            model,
            folder / "small.{precision}.tflite",
            conversion.PRECISIONS,
            samples,
            isolate=False,
            progress=done.append,
        )
    assert done == made
    return {one.precision: one for one in made}


@pytest.mark.parametrize("precision", conversion.PRECISIONS)
def test_parity(model, samples, written, precision):
    made = written[precision]
    labels = model.predict(samples, verbose=0).argmax(-1)
    parity = tflite_export.check_parity(model, made.path, samples, labels)
    assert parity.precision == precision
    assert parity.met, parity
    assert parity.keras_accuracy == 1.0
    assert parity.accuracy == parity.agreement
    assert "met" in str(parity) and "agreement" in str(parity)


def test_files_are_small_fixed_and_builtin(written):
    sizes = {name: made.bytes for name, made in written.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    for made in written.values():
        (details,) = runtime.interpreter(made.path).get_input_details()
        assert tuple(details["shape"]) == (1, 12, 12, 2)
        assert tuple(details["shape_signature"]) == (1, 12, 12, 2)
        assert made.ops["CONV_2D"] == 2
        assert "CUSTOM" not in made.ops and "SHAPE" not in made.ops
        # TensorFlow alone takes more than 300 MB.
        assert 3e8 < made.peak_bytes < 8e9
        assert "MB" in str(made)
    assert written["int8"].ops["QUANTIZE"] == 1


def test_a_process_of_its_own_writes_the_same(
    model, samples, written, tmp_path, converts_here, monkeypatch
):
    monkeypatch.setattr(child, "run", converts_here)
    # Which is the default with several precisions.
    path = tmp_path / "other.{precision}.tflite"
    for made in tflite_export.convert(
        model, path, ["float32", "int8"], samples
    ):
        # TensorFlow alone takes more than 300 MB.
        assert 3e8 < made.peak_bytes < 8e9
        assert np.array_equal(
            runtime.predict(made.path, samples[:20]),
            runtime.predict(written[made.precision].path, samples[:20]),
        )


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_quantized_input_and_output(model, samples, written, tmp_path, io):
    path = tmp_path / "model.tflite"
    made = tflite_export.convert(model, path, "int8", samples, io=io)
    runner = runtime.interpreter(path)
    for details in (runner.get_input_details(), runner.get_output_details()):
        assert details[0]["dtype"] == np.dtype(io)
    # What stands at the ends is the same quantization.
    expected = runtime.predict(written["int8"].path, samples)
    step = runner.get_output_details()[0]["quantization"][0]
    difference = np.abs(runtime.predict(path, samples) - expected)
    assert difference.max() <= 1.01 * step
    assert made.ops.get("DEQUANTIZE", 0) == 0


@pytest.mark.parametrize("batch_size", [3, None])
def test_batch_size(model, samples, tmp_path, batch_size):
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path, "int8", samples, batch_size=batch_size)
    assert tflite_export.check_parity(model, path, samples[:7]).met
    tflite_export.convert(model, path, batch_size=batch_size)
    (details,) = runtime.interpreter(path).get_input_details()
    assert details["shape_signature"][0] == (batch_size or -1)
    found = runtime.predict(path, samples[:7])
    expected = model.predict(samples[:7], verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_representative_data_in_every_form(model, samples, tmp_path):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(
        (samples, np.zeros(len(samples)))
    )
    outputs = []
    for data in (
        samples,
        dataset,
        dataset.batch(64),
        dataset.map(lambda x, y: x).batch(50),
        list(samples),
    ):
        path = tmp_path / "model.tflite"
        tflite_export.convert(model, path, "int8", data)
        outputs.append(runtime.predict(path, samples[:10]))
    for one in outputs[1:]:
        assert np.array_equal(one, outputs[0])


def test_representative_data_by_name(tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, strides=2)(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path, "int8", "digits")
    (details,) = runtime.interpreter(path).get_input_details()
    assert recognised(flatfile.read(path)) == "int8"


def test_unsupported_layers_are_named(tmp_path):
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(2, 3, name="fine")(inputs)
    x = layers.Lambda(lambda t: ops.erfinv(t), name="odd")(x)
    path = tmp_path / "new" / "model.tflite"
    for isolate in (False, True):
        with pytest.raises(ValueError, match=r"tf\.Erfinv of layer 'odd'") as e:
            tflite_export.convert(keras.Model(inputs, x), path, isolate=isolate)
        assert len(str(e.value)) < 300
    assert not list(path.parent.iterdir())


def test_macs_are_those_of_keras(model, written):
    import keras_nonconvex as knc

    for made in written.values():
        found = flatfile.macs(flatfile.read(made.path))
        assert found == knc.summary(model).macs


BAD = np.zeros((3, 12, 12, 2))


@pytest.mark.parametrize(
    "change,message",
    [
        ({"precision": "int4"}, "`precision` must be one of"),
        ({"precision": []}, "`precision` must name one of"),
        ({"precision": ["int8", "float32"]}, "must contain '{precision}'"),
        ({"path": "model.lite"}, "must end in '.tflite'"),
        ({"io": "uint8"}, "`io` must be 'float32', with precision"),
        ({"batch_size": 0}, "`batch_size` must be a whole number"),
        ({"model": "model"}, "`model` must be a keras.Model"),
        ({"precision": "int8"}, "`representative_data` must be.*None"),
        (
            {"precision": "int8", "representative_data": np.ones((3, 5))},
            r"Received: shape \(3, 5\)",
        ),
        (
            {"precision": "int8", "representative_data": [np.ones((3, 5))]},
            r"Received: shape \(1?,? ?3, 5\)",
        ),
        (
            {"precision": "int8", "representative_data": BAD[:0]},
            r"Received: shape \(0, 12, 12, 2\)",
        ),
        (
            {"precision": "int8", "representative_data": BAD * np.nan},
            "must be finite",
        ),
        (
            {"precision": "int8", "representative_data": BAD},
            "Received: 0 everywhere",
        ),
        (
            {"precision": "int8", "representative_data": BAD.astype(str)},
            "must be numbers",
        ),
        (
            {
                "precision": "int8",
                "representative_data": 255 * np.eye(12)[None, ..., None]
                + BAD[:1],
                "metadata": tflite_export.Metadata(),
            },
            "mean and std give, 0 to 1. Received: 0 to 255",
        ),
    ],
)
def test_bad_arguments(model, tmp_path, change, message):
    arguments = {"model": model, "path": "model.tflite", **change}
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(ValueError, match=message):
        tflite_export.convert(**arguments)
    assert not list(tmp_path.iterdir())


def test_models_without_fixed_inputs_are_refused(tmp_path):
    fixed, free = keras.Input((4,)), keras.Input((None, 4), name="free")
    both = layers.concatenate([layers.GlobalAveragePooling1D()(free), fixed])
    for model, message in (
        (keras.Sequential([layers.Dense(2)]), "has no weights yet"),
        (
            keras.Model([fixed, free], layers.Dense(2)(both)),
            r"must be fixed.*'free' of \(None, 4\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            tflite_export.convert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_unwritable_path(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        tflite_export.convert(model, tmp_path / "file" / "model.tflite")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def killed(tmp_path_factory, monkeypatch, converts_here):
    """A converter whose process ends as by a segmentation fault."""
    killer = tmp_path_factory.mktemp("killer") / "killer.py"
    killer.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(child, "run", converts_here)
    monkeypatch.setattr(conversion.converter, "__file__", str(killer))


@pytest.mark.usefixtures("killed")
def test_a_crash_of_the_converter_is_told(model, samples, tmp_path):
    path = tmp_path / "x.tflite"
    with pytest.raises(RuntimeError, match="exit code -11"):
        tflite_export.convert(model, path, isolate=True)
    # Calibrated files have a process of their own in any case.
    with pytest.raises(RuntimeError, match="exit code -11"):
        tflite_export.convert(model, path, "int8", samples, isolate=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("killed")
def test_a_crash_by_recurrent_layers_names_them_and_the_way_out(tmp_path):
    inputs = keras.Input((7, 5))
    x = layers.LSTM(6, unroll=True, return_sequences=True)(inputs)
    x = layers.Bidirectional(layers.GRU(6, name="gru"))(x)
    data = np.random.default_rng(0).normal(size=(9, 7, 5))
    message = "exit code -11.*unroll=True.*layers 'forward_gru', 'backward_gru'"
    with pytest.raises(ValueError, match=message):
        tflite_export.convert(
            keras.Model(inputs, x), tmp_path / "x.tflite", "int8", data
        )
    assert not list(tmp_path.iterdir())


class Counter(layers.Layer):
    def build(self, input_shape):
        self.count = self.add_weight(shape=(), trainable=False, name="count")

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs + self.count


class TensorFlowCounter(layers.Layer):
    def build(self, input_shape):
        import tensorflow as tf

        self.count = tf.Variable(0.0)

    def call(self, inputs):
        return inputs + self.count.assign_add(1.0)


@pytest.mark.parametrize(
    "counter,message",
    [
        (Counter, "keeps nothing from one run .* variable 'counter/count'"),
        (TensorFlowCounter, "phones do not run: .*VAR_HANDLE"),
    ],
)
def test_layers_that_count_are_refused(tmp_path, counter, message):
    inputs = keras.Input((4,))
    counting = counter(name="counter")(layers.Dense(3)(inputs))
    model = keras.Model(inputs, counting)
    with pytest.raises(ValueError, match=message):
        tflite_export.convert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_files_that_the_runtime_refuses(samples, tmp_path):
    # With such small activations, the bound 6 overflows in steps of int16.
    inputs = keras.Input(samples.shape[1:])
    conv = layers.Conv2D(4, 3, activation="relu6")
    outputs = layers.GlobalAveragePooling2D()(conv(inputs))
    model = keras.Model(inputs, outputs, name="tiny")
    conv.kernel.assign(conv.kernel * 1e-12)
    with (
        pytest.warns(UserWarning, match="precise but slow"),
        pytest.raises(ValueError, match="cannot load .*'tiny'.*'int16x8'"),
    ):
        tflite_export.convert(
            model,
            tmp_path / "model.tflite",
            "int16x8",
            representative_data=samples,
        )
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(model, samples, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"not a model at all")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(b"\x10\0\0\0TFL3")
    with pytest.raises(ValueError, match="No such file"):
        tflite_export.benchmark(str(tmp_path / "no.tflite"))
    for function in (flatfile.read, tflite_export.metadata.read):
        with pytest.raises(ValueError, match="Not a LiteRT file"):
            function(bad)
    for path in (bad, cut):
        with pytest.raises(ValueError, match="Not a LiteRT file|is damaged"):
            tflite_export.check_parity(model, path, samples)
        with pytest.raises(ValueError, match="cannot load this file"):
            tflite_export.benchmark(path)
