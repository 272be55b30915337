"""Keras against LiteRT: limits, and the layer that drifts."""

import warnings

import keras
import models
import numpy as np
import pytest
from helpers import images
from keras import layers

import tflite_export
from tflite_export import flatfile

pytestmark = pytest.mark.usefixtures("converts_here")


@pytest.fixture(scope="module")
def model():
    return models.chain(seed=1)


@pytest.fixture(scope="module")
def samples(model):
    return images(model, 40)


@pytest.fixture(scope="module")
def path(model, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("parity") / "model.tflite"
    tflite_export.convert(model, path, "int8", samples)
    return path


def test_another_model_is_not_met(path, samples):
    other = models.chain(seed=2)
    found = tflite_export.check_parity(other, path, samples)
    assert not found.met and "NOT met" in str(found)


def test_both_accuracies_count_against_the_same_labels(path, samples):
    model, other = models.chain(seed=1), models.chain(seed=2)
    y = other.predict(samples, verbose=0).argmax(-1)
    found = tflite_export.check_parity(other, path, samples, y)
    assert found.keras_accuracy == 1.0
    mine = model.predict(samples, verbose=0).argmax(-1) == y
    agreement = tflite_export.check_parity(model, path, samples).agreement
    assert abs(found.accuracy - mine.mean()) <= 1.0 - agreement
    assert found.accuracy == found.agreement < 1.0


def test_a_keras_model_that_guesses_is_told(model, path, samples):
    right = model.predict(samples, verbose=0).argmax(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tflite_export.check_parity(model, path, samples, right)
    with pytest.warns(UserWarning, match="where guessing is right in 33.33%"):
        tflite_export.check_parity(model, path, samples, (right + 1) % 3)


def test_labels_may_be_a_column_or_one_hot(model, path, samples):
    labels = model.predict(samples, verbose=0).argmax(-1)
    labels[:8] = (labels[:8] + 1) % 3
    found = [
        tflite_export.check_parity(model, path, samples, y)
        for y in (labels, labels[:, None], np.eye(3)[labels], list(labels))
    ]
    assert [one.keras_accuracy for one in found] == [0.8] * 4


def test_limits_decide(model, path, samples):
    for limits, met in (
        (tflite_export.Limits(error=1.0, agreement=0.0), True),
        (tflite_export.Limits(error=1e-9, agreement=0.0), False),
        (tflite_export.Limits(error=1.0, agreement=1.01), False),
    ):
        found = tflite_export.check_parity(model, path, samples, limits=limits)
        assert found.met is met


def test_the_numbers_are_what_they_say(model, path, samples):
    found = tflite_export.check_parity(model, path, samples)
    expected = model.predict(samples, verbose=0)
    runner = tflite_export.runtime.interpreter(path)
    (source,), (target,) = (
        runner.get_input_details(),
        runner.get_output_details(),
    )
    outputs = []
    for image in samples:
        runner.set_tensor(source["index"], image[None])
        runner.invoke()
        outputs.append(runner.get_tensor(target["index"])[0])
    difference = np.stack(outputs) - expected
    assert found.max_abs_diff == pytest.approx(np.abs(difference).max())
    assert found.mean_abs_diff == pytest.approx(np.abs(difference).mean())
    error = np.sqrt((difference**2).mean()) / expected.std()
    assert found.error == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"x": np.zeros((3, 5))}, r"inputs of shape \(n, 12, 12, 2\)"),
        ({"x": np.zeros((0, 12, 12, 2))}, "inputs of shape"),
        ({"x": np.full((1, 12, 12, 2), np.nan)}, "must be finite"),
        ({"y": [1, 2]}, "as many targets as inputs. Received: 2 and 40"),
    ],
)
def test_bad_arguments(model, path, samples, change, message):
    with pytest.raises(ValueError, match=message):
        tflite_export.check_parity(model, path, **{"x": samples, **change})


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_layer_is_compared(samples, tmp_path, precision):
    model = models.chain(seed=1)
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path, precision, samples)
    rows = tflite_export.compare_layers(model, path, samples[:4])
    limit = {"float32": 1e-5, "int8": 0.15}[precision]
    assert all(row.error < limit for row in rows)
    assert all(row.added <= row.error for row in rows)
    assert [row.index for row in rows] == sorted(row.index for row in rows)
    assert rows[-1].layer == model.layers[-1].name
    assert sum("CONV" in row.operation for row in rows) == 2


def test_the_layer_that_drifts_is_found(samples, tmp_path):
    inputs = keras.Input((12, 12, 2))
    x = inputs
    for name in ("first", "second", "third"):
        x = layers.Conv2D(6, 3, activation="relu", name=name)(x)
    model = keras.Model(
        inputs, layers.Dense(3, name="last")(layers.Flatten()(x))
    )
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path)
    kernel = model.get_layer("second").kernel
    kernel.assign(1.2 * kernel)  # The file has the old one.
    rows = tflite_export.compare_layers(model, path, samples[:4])
    errors = {row.layer: row.error for row in rows}
    assert errors["first"] < 1e-5 < 0.05 < errors["second"]
    assert max(rows, key=lambda row: row.added).layer == "second"


def test_one_layer_is_compared(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="only")])
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    (row,) = tflite_export.compare_layers(model, path, x)
    assert row.layer == "only" and row.error < 1e-5


def test_half_a_layer_is_not_compared(samples, tmp_path):
    # No convolution is before it: the product stands alone in the file, the
    # sum is one with the ReLU.
    inputs = keras.Input((12, 12, 2))
    norm = layers.BatchNormalization(name="norm")
    x = layers.ReLU(name="relu")(norm(layers.MaxPooling2D()(inputs)))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="conv")(x))
    norm.moving_mean.assign([0.5, -0.5])
    norm.moving_variance.assign([0.1, 4.0])
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path)
    rows = tflite_export.compare_layers(model, path, samples[:4])
    assert {"relu", "conv"} <= {row.layer for row in rows}
    assert all(row.error < 1e-5 for row in rows)


def test_names_of_tensors_lead_to_layers():
    names = {"conv_1", "relu", "block_2"}
    for path, layer in (
        ("functional_1/relu_1/Relu", "relu"),
        ("functional_1/conv_1_1/convolution", "conv_1"),
        ("functional/outer/block_2/add", "block_2"),
        ("StatefulPartitionedCall:0", None),
    ):
        assert flatfile.layer_of(path, names) == layer


@pytest.mark.parametrize("logits", [False, True])
def test_the_accuracy_of_one_unit_is_that_of_keras(tmp_path, logits):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype("float32")
    y = (x[:, 0] > -0.8).astype(int)
    inputs = keras.Input((6,))
    head = layers.Dense(1, None if logits else "sigmoid", name="head")
    model = keras.Model(inputs, head(inputs))
    loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    threshold = 0.0 if logits else 0.5
    metric = keras.metrics.BinaryAccuracy("accuracy", threshold=threshold)
    model.compile("sgd", loss, metrics=[metric])
    head.kernel.assign([[2.0]] + [[0.0]] * 5)
    head.bias.assign([1.4])
    path = tmp_path / "model.tflite"
    tflite_export.convert(model, path)
    told = model.evaluate(x, y, verbose=0)[1]
    for labels in (y, y[:, None], y.astype(bool)):
        found = tflite_export.check_parity(model, path, x, labels)
        assert found.keras_accuracy > 0.9
        assert found.keras_accuracy == pytest.approx(told, abs=1e-6)
        assert found.accuracy == pytest.approx(told, abs=0.01)
    # The file has the old weights.
    head.bias.assign([0.5])
    same = (2 * x[:, :1] > -1.4) == (2 * x[:, :1] > -0.5)
    found = tflite_export.check_parity(model, path, x)
    assert found.agreement == pytest.approx(same.mean())
    assert found.agreement < 1.0


def test_maps_are_compared_by_position_and_values_without_decisions(tmp_path):
    inputs = keras.Input((6, 6, 2))
    x = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype("float32")
    model = keras.Model(
        inputs, layers.Conv2D(3, 3, activation="softmax")(inputs)
    )
    path = tmp_path / "map.tflite"
    tflite_export.convert(model, path)
    y = model.predict(x, verbose=0).argmax(-1)
    y[:, 0] = (y[:, 0] + 1) % 3
    found = tflite_export.check_parity(model, path, x, y)
    assert found.keras_accuracy == found.accuracy == 0.75
    with pytest.raises(ValueError, match=r"of shape \(20, 4, 4\)"):
        tflite_export.check_parity(model, path, x, y[:, 0, 0])
    values = keras.Model(inputs, layers.Conv2D(3, 3)(inputs))
    tflite_export.convert(values, path)
    found = tflite_export.check_parity(values, path, x)
    assert found.agreement is None and found.met
    assert "agreement of decisions" not in str(found)
    with pytest.raises(ValueError, match="Only decisions have an accuracy"):
        tflite_export.check_parity(values, path, x, y)
