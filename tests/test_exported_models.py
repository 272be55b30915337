"""What kinds of models become files, and what the files compute."""

import inspect

import keras
import numpy as np
import pytest
from helpers import images
from keras import layers

import tflite_export
from tflite_export import flatfile
from tflite_export import inference
from tflite_export import metadata
from tflite_export import qat
from tflite_export import runtime

pytestmark = pytest.mark.usefixtures("converts_here")


def test_files_compute_what_predict_does(tmp_path):
    inputs = keras.Input((8,))
    twice = layers.Dense(4)(Training()(inputs))
    model = keras.Model(inputs, layers.Dropout(0.5)(twice, training=True))
    tflite_export.convert(model, tmp_path / "m.tflite")
    x = images(model, 20)
    assert tflite_export.check_parity(model, tmp_path / "m.tflite", x).met


class Training(layers.Layer):
    def call(self, x, training=True):
        return x * 2.0 if training else x


# What layers that change images must be told.
SETTINGS = {
    "value_range": (0, 1),
    "factor": 0.2,
    "stddev": 0.2,
    "rate": 0.2,
    "height_factor": 0.1,
    "width_factor": 0.1,
    "height": 8,
    "width": 8,
}


# These compute the same in training and in inference.
FIXED = (
    "AutoContrast",
    "CenterCrop",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Resizing",
)
# Images have two axes and no boxes that could be counted; what Equalization
# gives back is for Keras a cycle in the model.
OTHERS = (
    "Equalization",
    "MaxNumBoundingBoxes",
    "SpatialDropout1D",
    "SpatialDropout3D",
)


def of_images():
    """{name: layer} of Keras' layers that change images."""
    made = {}
    for name, kind in vars(layers).items():
        if not inspect.isclass(kind) or name in OTHERS:
            continue
        path = kind.__module__
        if "image_preprocessing" in path or "regularization" in path:
            known = inspect.signature(kind.__init__).parameters
            settings = {k: v for k, v in SETTINGS.items() if k in known}
            if name == "RandomPosterization":
                settings["factor"] = 8
            made[name] = kind(**settings)
    return made


def test_layers_that_only_augment_vanish(tmp_path):
    every = of_images()
    assert len(every) > 34
    chosen = [every[name] for name in every if name not in FIXED]
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for layer in chosen:
        x = layer(x)
    conv = layers.Conv2D(2, 3)
    path = tmp_path / "m.tflite"
    made = tflite_export.convert(keras.Model(inputs, conv(x)), path)
    assert made.ops == {"CONV_2D": 1}
    shown = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    np.testing.assert_allclose(
        runtime.predict(path, shown), conv(shown), atol=1e-5
    )


def test_layers_that_prepare_images_stay(tmp_path):
    inputs = keras.Input((8, 8, 3))
    path = tmp_path / "m.tflite"
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Normalization(mean=0.4, variance=0.3)(x)
    x = layers.CenterCrop(7, 7)(layers.Resizing(9, 9)(x))
    model = keras.Model(inputs, layers.AutoContrast(value_range=(0, 1))(x))
    ops = tflite_export.convert(model, path).ops
    assert {"RESIZE_BILINEAR", "REDUCE_MAX", "STRIDED_SLICE"} <= set(ops)
    assert tflite_export.check_parity(
        model, path, np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3))
    ).met


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_models_in_half_precision_become_float32(tmp_path, policy):
    inputs = keras.Input((6, 6, 2))
    made = [layers.Conv2D(4, 3, dtype=policy)]
    made += [layers.BatchNormalization(dtype=policy), layers.ReLU(dtype=policy)]
    made += [layers.Flatten(dtype=policy), layers.Dense(3, dtype=policy)]
    model = keras.Model(inputs, keras.Sequential(made)(inputs))
    x = images(model, 9)
    before = model.predict(x, verbose=0)
    path = tmp_path / "m.tflite"
    assert "CAST" not in tflite_export.convert(model, path).ops
    assert tflite_export.check_parity(model, path, x).error < 1e-6
    (row,) = tflite_export.compare_layers(model, path, x)
    assert row.error < 1e-6
    assert np.array_equal(model.predict(x, verbose=0), before)
    assert made[0].compute_dtype == keras.DTypePolicy(policy).compute_dtype


def siamese():
    """Two images; classes and a box; names that TensorFlow would sort."""
    first, second = keras.Input((8, 8, 3), name="z:0"), keras.Input((8, 8, 3))
    trunk = layers.Conv2D(4, 3, activation="relu")
    pool = layers.GlobalAveragePooling2D()
    both = [pool(trunk(image)) for image in (first, second)]
    x = layers.Concatenate()(both)
    classes = layers.Dense(3, activation="softmax", name="z_class")(x)
    return keras.Model(
        [first, second], [classes, layers.Dense(4, name="box")(x)]
    )


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return siamese()


@pytest.fixture(scope="module")
def pairs(model):
    rng = np.random.default_rng(0)
    return [rng.random((40, 8, 8, 3), "float32") for _ in range(2)]


@pytest.fixture(scope="module")
def path(model, pairs, tmp_path_factory, converts_here):
    path = tmp_path_factory.mktemp("several") / "m.tflite"
    about = tflite_export.Metadata(["a", "b", "c"])
    tflite_export.convert(
        model, path, "int8", representative_data=tuple(pairs), metadata=about
    )
    return path


def test_inputs_and_outputs_keep_their_names_and_order(model, path):
    (second,) = [t.name for t in model.inputs if t.name != "z:0"]
    file = flatfile.read(path)
    (signature,) = file.signatureDefs
    for names, found, ends in (
        (["z_0", second], signature.inputs, file.subgraphs[0].inputs),
        (["z_class", "box"], signature.outputs, file.subgraphs[0].outputs),
    ):
        assert [one.name.decode() for one in found] == names
        assert [one.tensorIndex for one in found] == list(ends)
    runner = runtime.interpreter(path).get_signature_runner()
    zeros = np.zeros((1, 8, 8, 3), "float32")
    found = runner(**{"z_0": zeros, second: zeros})
    assert found["box"].shape == (1, 4)


def test_inputs_and_outputs_of_dicts_have_its_names(tmp_path):
    left, right = keras.Input((4,)), keras.Input((5,))
    total = layers.Dense(2)(layers.Concatenate()([left, right]))
    model = keras.Model(
        {"right": right, "left": left},
        {"total": total, "a": layers.Dense(3)(right)},
    )
    x = {"right": np.ones((9, 5)), "left": images(keras.Model(left, left), 9)}
    assert inference.names(model) == (["left", "right"], ["a", "total"])
    tflite_export.convert(model, tmp_path / "m.tflite", batch_size=None)
    assert tflite_export.check_parity(model, tmp_path / "m.tflite", x).met


def test_names_are_legal_and_different():
    inputs = [keras.Input((2,), name=name) for name in ("a:0", "a_0", "1")]
    state = layers.LSTM(2, return_state=True, name="lstm")
    steps = keras.Input((3, 2), name="steps")
    outputs = [layers.Add(name="sum")(inputs), *state(steps)]
    model = keras.Model([*inputs, steps], outputs)
    assert inference.names(model) == (
        ["a_0", "a_0_1", "_1", "steps"],
        ["sum", "lstm", "lstm_1", "lstm_2"],
    )


def test_several_inputs_and_outputs_are_compared_and_timed(model, path, pairs):
    labels = model.predict(pairs, verbose=0)[0].argmax(-1)
    parity = tflite_export.check_parity(model, path, pairs, {"z_class": labels})
    assert parity.met and parity.keras_accuracy == 1.0
    assert parity.samples == 40 and parity.accuracy == parity.agreement
    with pytest.raises(ValueError, match="`y` must be a list or dict"):
        tflite_export.check_parity(model, path, pairs, labels)
    # The worst output counts.
    box = model.get_layer("box")
    bias = box.bias.numpy()
    box.bias.assign(bias + 1.0)
    assert not tflite_export.check_parity(model, path, pairs).met
    box.bias.assign(bias)
    few = [x[:3] for x in pairs]
    rows = tflite_export.compare_layers(model, path, few)
    assert {"z_class", "box"} <= {row.layer for row in rows}
    assert tflite_export.benchmark(path, runs=2, warmup=0)[0].macs > 0


def test_metadata_tells_images_and_the_output_with_labels(path, tmp_path):
    found = metadata.read(path)
    assert found.labels == ("a", "b", "c") and found.std == (255.0,)
    copy = tmp_path / "m.tflite"
    copy.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="each of 3 or 4 outputs"):
        metadata.write(copy, tflite_export.Metadata(["a", "b"]))


def test_what_takes_one_input_and_one_output_says_so(model, path, pairs):
    with pytest.raises(ValueError, match="with 2 and 2"):
        tflite_export.profile(path)
    with pytest.raises(ValueError, match="one input and one output.* 2 and 2"):
        qat.train(model, pairs, np.zeros(40, int), path)


def test_integers_calibrate_in_their_own_type(tmp_path):
    tokens, pixels = (
        keras.Input((6,), dtype="int32"),
        keras.Input((4,), dtype="uint8"),
    )
    words = layers.GlobalAveragePooling1D()(layers.Embedding(20, 8)(tokens))
    shades = layers.Dense(5)(layers.Rescaling(1 / 255)(pixels))
    x = layers.Concatenate()([words, shades])
    model = keras.Model([tokens, pixels], layers.Dense(3)(x))
    rng = np.random.default_rng(0)
    data = [
        rng.integers(0, 20, (50, 6)),
        rng.integers(0, 256, (50, 4)).astype("uint8"),
    ]
    path = tmp_path / "m.tflite"
    made = tflite_export.convert(model, path, "int8", data)
    types = [
        details["dtype"]
        for details in runtime.interpreter(path).get_input_details()
    ]
    assert types == [np.int32, np.uint8] and made.ops["FULLY_CONNECTED"] == 2
    assert tflite_export.check_parity(model, path, data).met
    assert tflite_export.benchmark(path, runs=2, warmup=0)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_models_that_keras_quantized_are_refused(tmp_path, mode):
    inputs = keras.Input((4,))
    inner = keras.Sequential([layers.Dense(3, name="dense")])
    model = keras.Model(inputs, inner(inputs))
    inner.quantize(mode)
    message = f"as it was before, .*layer 'dense' quantized to '{mode}'"
    with pytest.raises(ValueError, match=message):
        tflite_export.convert(model, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_lora_is_merged_into_the_kernel(tmp_path):
    inputs = keras.Input((8,))
    dense = layers.Dense(6)
    model = keras.Model(inputs, dense(inputs))
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.ones((2, 6)))
    path = tmp_path / "m.tflite"
    assert tflite_export.convert(model, path).ops == {"FULLY_CONNECTED": 1}
    assert tflite_export.check_parity(model, path, images(model, 5)).met


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_subclassed_models_are_exported(tmp_path):
    model = Own()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    model(x)
    tflite_export.convert(model, tmp_path / "m.tflite")
    assert tflite_export.check_parity(model, tmp_path / "m.tflite", x).met
