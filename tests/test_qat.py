"""Quantization-aware training: the twin, and what is in the files."""

import dataclasses
import importlib.util
import io
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import models
from tflite_export import flatfile
from tflite_export import metadata
from tflite_export import qat
from tflite_export import runtime
from tflite_export.metadata import Metadata
from tflite_export.precisions import recognised
from tflite_export.qat import description
from tflite_export.qat import process
from tflite_export.qat import table
from tflite_export.qat import training

# Not by importing it: that makes tf.keras of this process Keras 2.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_model_optimization") is None,
    reason="tensorflow-model-optimization is not installed",
)

QUIET = Console(quiet=True)
KERAS2 = pathlib.Path(process.__file__).parent / "keras2"
# Run in one process for all networks: TensorFlow takes seconds to start.
BUILD_ALL = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import worker
for folder in map(pathlib.Path, sys.argv[2:]):
    job = json.loads((folder / "job.json").read_text())
    told = {}
    try:
        model = worker.equal_twin(job, folder, told.update)
    except SystemExit:
        pass
    print(json.dumps({"name": folder.name, **told}), file=sys.stderr)
# A convolution whose gradients of 11 samples oneDNN computes beyond its memory.
tf = worker.tf
x = tf.Variable(tf.ones((11, 16, 16, 8)))
kernel = tf.Variable(tf.ones((1, 1, 8, 24)))
for _ in range(20):
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME")))
    tape.gradient(y, [x, kernel])
print(json.dumps({"name": "batch of 11"}), file=sys.stderr)
"""


def everything():
    """Layers and operations that the networks do not have."""
    inputs = keras.Input((16, 16, 3))
    x = layers.RandomRotation(0.2)(layers.RandomFlip()(inputs))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1, 2, 3])(x)
    x = layers.SeparableConv2D(8, 3, depth_multiplier=2, activation="relu")(x)
    x = layers.GaussianNoise(0.1)(x)
    y = layers.Conv2D(8, 3, padding="same", activation="relu6")(x)
    y = layers.Conv2D(8, 1, activation="hard_silu")(y)
    y = layers.Conv2D(8, 1)(y)
    z = layers.ReLU(max_value=6.0, negative_slope=0.1)(y)
    w = layers.LeakyReLU(0.3)(y)
    x = layers.Add()([x, z, w])
    x = ops.add(x, np.linspace(-1, 1, 8).astype("float32"))
    x = layers.ZeroPadding2D()(x)
    x = layers.Concatenate()([x, ops.take(x, [0, 2, 5], axis=-1)])
    block = keras.Sequential(
        [
            keras.Input((16, 16, 11)),
            layers.BatchNormalization(),
            layers.Conv2D(6, 3, strides=2, activation="elu"),
            layers.LayerNormalization(),
            layers.ReLU(),
        ],
        name="block",
    )
    x = block(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(6, 1, activation="hard_sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="gelu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(9)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("silu")(x)
    return keras.Model(inputs, layers.Dense(5)(x), name="everything")


def disturbed(model, zero_fraction=0.0):
    """The model with nothing at its initial value, and zero filters."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(0.1 * rng.normal(size=weight.shape))
        elif weight.name == "kernel" and zero_fraction:
            zero = rng.random(weight.shape[-1]) < zero_fraction
            weight.assign(np.where(zero, 0, ops.convert_to_numpy(weight)))
    return model


def pruned(build):
    def make():
        return knc.prune(disturbed(build(), zero_fraction=0.3))

    return make


def application(name, **options):
    build = getattr(keras.applications, name)
    return lambda: build(
        weights=None, input_shape=(32, 32, 3), classes=10, **options
    )


NETWORKS = {
    "lenet5": models.lenet5,
    "cnn4": models.cnn4,
    "vgg16": models.vgg16,
    "resnet18": models.resnet18,
    "resnet8": lambda: models.resnet(8),
    "resnet_v2": lambda: models.resnet_v2(11),
    "densenet40": models.densenet40,
    "wide_resnet": lambda: models.wide_resnet(10, 2),
    "mobilenet_v1": lambda: models.mobilenet_v1(alpha=0.5),
    "mobilenet_v2": application("MobileNetV2", alpha=0.35),
    "efficientnet_b0": application("EfficientNetB0"),
    "everything": everything,
}
NETWORKS |= {
    f"pruned_{name}": pruned(NETWORKS[name])
    for name in ("lenet5", "resnet8", "densenet40", "wide_resnet")
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """{network: what the worker told of its twin}."""
    folders = []
    rng = np.random.default_rng(0)
    for name, build in NETWORKS.items():
        model = build()
        if not name.startswith("pruned"):
            disturbed(model)
        folder = tmp_path_factory.mktemp("twins") / name
        folder.mkdir()
        sample = rng.random((2, *model.input_shape[1:]), "float32")
        job = process.write(folder, model, sample, {}, {})
        (folder / "job.json").write_text(json.dumps(job))
        folders.append(str(folder))
    done = subprocess.run(
        [sys.executable, "-c", BUILD_ALL, str(KERAS2), *folders],
        capture_output=True,
        text=True,
    )
    told = [
        json.loads(line)
        for line in done.stderr.splitlines()
        if line.startswith('{"name"')
    ]
    assert len(told) >= len(NETWORKS), done.stderr[-2000:]
    return {entry["name"]: entry for entry in told}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_of_the_twin_computes_the_same(twins, name):
    assert twins[name]["differs"] is None
    assert twins[name]["difference"] <= 1e-5


def test_batches_of_odd_sizes_do_not_end_the_worker(twins):
    assert "batch of 11" in twins


@pytest.fixture(scope="module")
def net(digits):
    """A small network with half of its weights at zero, trained."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(6, 5, strides=2, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(12, 3, activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(10, activation="softmax", name="dense")(x)
    model = keras.Model(inputs, x, name="net")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.x_train, digits.y_train, epochs=8, verbose=0)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            kernel = ops.convert_to_numpy(layer.kernel)
            small = np.abs(kernel) < np.median(np.abs(kernel))
            layer.kernel.assign(np.where(small, 0, kernel))
    return model


def trained(net, digits, folder, **options):
    return qat.train(
        net,
        digits.x_train,
        digits.y_train,
        folder / "net.tflite",
        validation_data=(digits.x_test, digits.y_test),
        **{"epochs": 2, "learning_rate": 1e-3, "console": QUIET, **options},
    )


def kernels(path):
    """The kernels of a file as it stores them, output channels first."""
    model = flatfile.read(path)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if flatfile.kind(model, operator) in ("CONV_2D", "FULLY_CONNECTED"):
            tensor = graph.tensors[operator.inputs[1]]
            data = model.buffers[tensor.buffer].data
            kind = {0: np.float32, 9: np.int8}[tensor.type]
            yield np.asarray(data, np.uint8).view(kind).reshape(tensor.shape)


def most_values(kernels):
    return max(len(np.unique(kernel)) for kernel in kernels)


def test_int8_with_zeros_kept(net, digits, tmp_path):
    import tensorflow as tf

    before = [ops.convert_to_numpy(w) for w in net.weights]
    # A network this small and half empty lives from its fine-tuning.
    made = trained(net, digits, tmp_path, keep_zeros=True)
    assert tf.keras.Model is keras.Model
    assert "tensorflow_model_optimization" not in sys.modules
    assert "tf_keras" not in sys.modules
    for old, new in zip(before, net.weights, strict=True):
        np.testing.assert_array_equal(old, new)

    assert recognised(flatfile.read(made.path)) == "int8"
    assert set(made.ops) == {
        "QUANTIZE",
        "CONV_2D",
        "MAX_POOL_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
        "DEQUANTIZE",
    }
    assert made.accuracy > 0.9
    probabilities = runtime.predict(made.path, digits.x_test[:20])
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=0.05)

    found = list(kernels(made.path))
    assert len(found) == 3
    for layer, kernel in zip(("conv", "conv2", "dense"), found, strict=True):
        original = ops.convert_to_numpy(net.get_layer(layer).kernel)
        moved = np.moveaxis(original, -1, 0).reshape(kernel.shape)
        assert (kernel[moved == 0] == 0).all()
        assert (kernel[moved != 0] != 0).mean() > 0.9


def test_int8_without_anything_kept(net, digits, tmp_path):
    console = Console(file=io.StringIO())
    told = Metadata(labels=tuple(digits.classes))
    made = trained(net, digits, tmp_path, console=console, metadata=told)
    assert made.accuracy > 0.9
    assert metadata.read(made.path).labels == told.labels
    assert "quantize 2/2: loss" in console.file.getvalue()
    assert f"accuracy {made.accuracy:.2%}" in str(made)
    assert all((kernel == 0).mean() < 0.4 for kernel in kernels(made.path))
    assert made.bytes == pathlib.Path(made.path).stat().st_size
    assert made.zipped_bytes < made.bytes
    assert [h["stage"] for h in made.history] == ["quantize", "quantize"]
    assert set(made.history[0]) == {
        *("stage", "epoch", "loss", "accuracy", "val_loss", "val_accuracy")
    }


def test_clusters_in_float32_of_a_network_with_one_logit(net, digits, tmp_path):
    x = layers.Dense(1, name="answer")(net.get_layer("flatten").output)
    model = keras.models.clone_model(keras.Model(net.inputs[0], x))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("adam", loss)
    halves = dataclasses.replace(
        digits,
        y_train=(digits.y_train > 4).astype(int),
        y_test=(digits.y_test > 4).astype(int),
    )
    model.fit(halves.x_train, halves.y_train, epochs=5, verbose=0)
    options = {"clusters": 16, "precision": "float32"}
    made = trained(model, halves, tmp_path, **options)
    assert recognised(flatfile.read(made.path)) == "float32"
    # The batch normalisation after the first one scales its channels.
    conv, *others = kernels(made.path)
    assert most_values(conv) <= 16
    assert 8 < most_values(others) <= 16
    assert made.accuracy > 0.8
    # The worker counts as the file's accuracy is counted.
    last = made.history[-1]["val_accuracy"]
    assert made.accuracy == pytest.approx(last, abs=0.01)


def test_clusters_and_zeros_in_int8(net, digits, tmp_path):
    made = trained(net, digits, tmp_path, clusters=16, keep_zeros=True)
    assert [h["stage"] for h in made.history] == [
        *["cluster"] * 2,
        *["quantize"] * 2,
    ]
    conv, conv2, dense = kernels(made.path)
    # Convolutions have a scale per output channel, dense layers have one.
    assert most_values(conv) <= 16 and most_values(conv2) <= 16
    assert most_values([dense]) <= 16
    for layer, kernel in (("conv2", conv2), ("dense", dense)):
        original = ops.convert_to_numpy(net.get_layer(layer).kernel)
        moved = np.moveaxis(original, -1, 0).reshape(kernel.shape)
        assert (kernel[moved == 0] == 0).all()
    assert made.accuracy > 0.85


def test_a_twin_that_differs_is_refused(net, digits, tmp_path, monkeypatch):
    relu = keras.activations.relu
    wrong = ("Activation", {"activation": "elu"})
    monkeypatch.setitem(table.ACTIVATIONS, relu, wrong)
    with pytest.raises(ValueError, match="from layer 'conv2' on"):
        trained(net, digits, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_fails_says_why(net, digits, tmp_path, monkeypatch):
    wrong = ("Activation", {"activation": "no_such_function"})
    relu = keras.activations.relu
    monkeypatch.setitem(table.ACTIVATIONS, relu, wrong)
    with pytest.raises(RuntimeError, match="exit code 1: .*no_such_function"):
        trained(net, digits, tmp_path)


@keras.saving.register_keras_serializable()
class Unknown(layers.Layer):
    def call(self, x):
        return x


def one_layer(layer, shape=(8, 8, 4)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def shared():
    conv = layers.Conv2D(4, 1, name="twice")
    inputs = keras.Input((8, 8, 4))
    return keras.Model(inputs, conv(conv(inputs)))


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: one_layer(Unknown(name="mine")), r"'mine' \(Unknown\)"),
        (lambda: one_layer(layers.RandomCrop(4, 4)), r"\(RandomCrop\)"),
        (shared, "more than once.*'twice'"),
        (
            lambda: one_layer(layers.Conv2D(4, 1, activation="mish", name="m")),
            "activation.*'m' with activation='mish'",
        ),
        (
            lambda: one_layer(layers.BatchNormalization(axis=1, name="b")),
            "last axis.*'b' with axis=1",
        ),
        (
            lambda: one_layer(layers.Conv2D(4, 1), (None, None, 4)),
            "input size must be fixed",
        ),
    ],
)
def test_models_without_a_twin(build, message):
    with pytest.raises(ValueError, match=message):
        description.describe(build())


@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomFlip(),
        layers.RandomZoom(0.2),
        layers.RandomBrightness(0.2),
        layers.RandAugment(),
        layers.MixUp(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_random_changes_of_images_have_no_part_in_the_twin(layer):
    nodes, output = description.describe(one_layer(layer, (8, 8, 3)))
    assert [node.kind for node in nodes] == ["Input"] and output == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"path": "net.h5"}, "must end in '.tflite'"),
        ({"epochs": 0}, "`epochs` must be a whole number.*epochs=0"),
        ({"batch_size": 2.5}, "`batch_size` must be.*batch_size=2.5"),
        ({"learning_rate": 0}, "`learning_rate` must be a number above 0"),
        ({"precision": "int4"}, "`precision` must be one of 'int8', 'float32'"),
        ({"precision": "float32"}, "nothing to do but to cluster"),
        ({"clusters": 1}, "from 2 to 256.*clusters=1"),
        ({"clusters": 2, "keep_zeros": True}, "from 3 to 256"),
        ({"x": np.zeros((3, 8, 8, 1))}, r"shape \(n, 28, 28, 1\)"),
        ({"x": np.full((3, 28, 28, 1), np.nan)}, "must be finite"),
        ({"y": np.full(3, 0.5)}, "must hold integer labels"),
        ({"y": np.array([0, 1, 10])}, "whole numbers from 0 to 9"),
    ],
)
def test_wrong_arguments(net, tmp_path, change, message):
    arguments = {
        "x": np.zeros((3, 28, 28, 1)),
        "y": np.zeros(3, int),
        "path": "net.tflite",
        **change,
    }
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(ValueError, match=message):
        qat.train(net, console=QUIET, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_says_how_to_get_it(net, tmp_path, monkeypatch):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'keras-nonconvex\[qat\]'"
    ):
        qat.train(net, [], [], tmp_path / "net.tflite")
