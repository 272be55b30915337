"""The range of values that a model takes, and data of another range."""

import keras
import models
import numpy as np
import pytest
import tensorflow as tf
from helpers import run
from keras import layers

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import ranges
from keras_nonconvex import samples

SHAPE = (8, 8, 3)
IMAGENET = {
    "mean": [0.485, 0.456, 0.406],
    "variance": [0.229**2, 0.224**2, 0.225**2],
}


def starting_with(*start):
    """A small network behind some layers or functions."""
    inside = x = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(x))
    core = models.randomize(keras.Model(inside, x), 0)
    inputs = x = keras.Input(SHAPE)
    for each in start:
        x = each(x)
    return keras.Model(inputs, core(x))


def preprocessing(name):
    return getattr(keras.applications, name).preprocess_input


STARTS = {
    "nothing": ((), None),
    "an augmentation": ((layers.RandomFlip(),), None),
    "learned statistics": ((layers.BatchNormalization(),), None),
    "16-bit images": ((layers.Rescaling(1 / 65535),), None),
    "dB": ((layers.Normalization(mean=-40.0, variance=400.0),), None),
    "1/255": ((layers.Rescaling(1 / 255),), ranges.PIXELS),
    "to [-1, 1]": ((layers.Rescaling(1 / 127.5, -1),), ranges.PIXELS),
    "from [0, 1] to [-1, 1]": ((layers.Rescaling(2.0, -1),), ranges.UNIT),
    "from [-1, 1] to [0, 1]": ((layers.Rescaling(0.5, 0.5),), ranges.SIGNED),
    "to pixels": ((layers.Rescaling(255.0),), ranges.UNIT),
    "statistics of [0, 1]": (
        (layers.Normalization(**IMAGENET),),
        ranges.UNIT,
    ),
    "statistics of pixels": (
        (layers.Normalization(mean=123.0, variance=58.0**2),),
        ranges.PIXELS,
    ),
    "both": (
        (layers.Rescaling(1 / 255), layers.Normalization(**IMAGENET)),
        ranges.PIXELS,
    ),
    "after augmentation": (
        (layers.RandomContrast(0.1), layers.Resizing(8, 8), lambda x: x / 255),
        ranges.PIXELS,
    ),
    "a nested model": (
        (keras.Sequential([layers.Rescaling(1 / 255)]),),
        ranges.PIXELS,
    ),
    "a lambda": ((layers.Lambda(lambda x: x / 127.5 - 1),), ranges.PIXELS),
    "vgg16": ((preprocessing("vgg16"),), ranges.PIXELS),
    "mobilenet_v2": ((preprocessing("mobilenet_v2"),), ranges.PIXELS),
    "densenet": ((preprocessing("densenet"),), ranges.PIXELS),
}


@pytest.mark.parametrize("start", STARTS)
def test_the_first_layers_say_what_a_model_takes(start):
    made, takes = STARTS[start]
    assert ranges.of(starting_with(*made)) == [takes]


def test_sizes_may_be_open_and_inputs_several_or_no_images():
    free, row = keras.Input((None, None, 1)), keras.Input((5,))
    x = layers.Rescaling(1 / 255)(free)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x))
    y = layers.Normalization(mean=100.0, variance=4.0)(row)
    model = keras.Model([free, row], [x, layers.Dense(2)(y)])
    assert ranges.of(model) == [ranges.PIXELS, None]


UNIT_IMAGES = np.random.default_rng(0).random((30, *SHAPE)).astype("float32")
BYTES = np.round(255 * UNIT_IMAGES).astype("uint8")
UNIT_IMAGES = BYTES.astype("float32") / 255
PIXELS = BYTES.astype("float32")
ROWS, Y = np.ones((30, 2), "float32"), np.arange(30) % 3


def test_uint8_images_become_what_the_model_takes():
    for start, wanted in (
        (layers.Rescaling(1 / 255), PIXELS),
        (layers.Rescaling(2.0, -1), UNIT_IMAGES),
        (layers.Rescaling(0.5, 0.5), 2 * UNIT_IMAGES - 1),
    ):
        model = starting_with(start)
        x, _ = samples.read(model, BYTES)
        np.testing.assert_allclose(x, wanted, atol=1e-6)
        # Black and white may be 0 and 1.
        x, _ = samples.read(model, BYTES // 128)
        assert (x.min(), x.max()) == (wanted.min(), wanted.max())


@pytest.mark.parametrize(
    "start,given",
    [
        (layers.Rescaling(1 / 255), UNIT_IMAGES),
        (layers.Rescaling(1 / 255), 2 * UNIT_IMAGES - 1),
        (layers.Rescaling(2.0, -1), PIXELS),
        (layers.Rescaling(2.0, -1), 2 * UNIT_IMAGES - 1),
        (layers.Rescaling(2.0, -1), UNIT_IMAGES / 255),
        (layers.Rescaling(0.5, 0.5), PIXELS),
    ],
)
def test_floats_of_another_range_are_refused(start, given, tmp_path):
    model = starting_with(start)
    message = r"must have values from .* to .*Received: values from"
    with pytest.raises(ValueError, match=message):
        samples.read(model, given)
    for x in (given, lambda: iter(given)):
        with pytest.raises(ValueError, match=message):
            tflite_export.convert(model, tmp_path / "x.tflite", "int8", x)
        with pytest.raises(ValueError, match=message):
            knc.fine_tune(model, x, Y if x is given else None)
    assert not list(tmp_path.iterdir())


def test_datasets_for_training_must_hold_what_the_model_takes():
    def of(x):
        return tf.data.Dataset.from_tensor_slices(
            ({"image": x, "row": ROWS}, Y)
        )

    image, row = keras.Input(SHAPE, name="image"), keras.Input((2,), name="row")
    x = layers.Flatten()(layers.Rescaling(2.0, -1)(image))
    model = keras.Model(
        {"image": image, "row": row},
        layers.Dense(3, "softmax")(layers.Concatenate()([x, row])),
    )
    for data in (of(UNIT_IMAGES), of(UNIT_IMAGES).batch(8)):
        knc.fine_tune(model, data, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="convert them in the dataset"):
        knc.fine_tune(model, of(BYTES).batch(8))
    with pytest.raises(ValueError, match="values from 0 to 1"):
        knc.fine_tune(model, of(PIXELS).batch(8))
    # Arrays are converted.
    knc.fine_tune(model, {"image": BYTES, "row": ROWS}, Y, 1, verbose=0)
    x, y = samples.for_fit(model, {"image": BYTES, "row": ROWS}, Y)
    np.testing.assert_allclose(x["image"], UNIT_IMAGES, atol=1e-6)
    assert x["row"] is ROWS and y is Y


def test_any_values_suit_a_model_that_says_nothing():
    model = starting_with()
    for given in (BYTES, PIXELS, UNIT_IMAGES, PIXELS - 123):
        x, _ = samples.read(model, given)
        assert np.array_equal(x, given)


def test_named_images_become_what_the_model_takes(tmp_path):
    for name, stored in (("bytes", BYTES), ("unit", UNIT_IMAGES)):
        np.savez(tmp_path / f"{name}.npz", x=stored, y=np.arange(30) % 3)
        path = f"{tmp_path}/{name}.npz"
        for start, wanted in (
            ((), UNIT_IMAGES),
            ((layers.Rescaling(1 / 255),), PIXELS),
            ((layers.Rescaling(0.5, 0.5),), 2 * UNIT_IMAGES - 1),
        ):
            x, y = samples.read(starting_with(*start), path)
            np.testing.assert_allclose(x, wanted, atol=1e-4)
            assert y.tolist() == [0, 1, 2] * 10
    # What is no image stays as it is.
    rows = np.linspace(-3, 300, 24).reshape(8, 3)
    np.save(tmp_path / "rows.npy", rows)
    inputs = keras.Input((3,))
    x, _ = samples.read(
        keras.Model(inputs, layers.Dense(2)(inputs)), tmp_path / "rows.npy"
    )
    assert np.array_equal(x, rows)
    np.save(tmp_path / "floats.npy", PIXELS)
    x, _ = samples.read(
        starting_with(layers.Rescaling(1 / 255)), tmp_path / "floats.npy"
    )
    assert np.array_equal(x, PIXELS)
    with pytest.raises(ValueError, match="values from 0 to 1"):
        samples.read(starting_with(), tmp_path / "floats.npy")


@pytest.mark.parametrize(
    "start,mean,std",
    [
        ((), 0.0, 255.0),
        ((layers.Rescaling(1 / 255),), 0.0, 1.0),
        ((layers.Rescaling(2.0, -1),), 0.0, 255.0),
        ((layers.Rescaling(0.5, 0.5),), 127.5, 127.5),
    ],
)
def test_metadata_says_what_the_first_layers_say(start, mean, std, tmp_path):
    model, path = starting_with(*start), tmp_path / "model.tflite"
    labels = ["a", "b", "c"]
    tflite_export.convert(
        model, path, metadata=tflite_export.Metadata(labels, name="mine")
    )
    found = tflite_export.metadata.read(path)
    assert found == tflite_export.Metadata(labels, mean, std, "mine")
    # So the file gives for pixels what Keras gives.
    x = (PIXELS - found.mean[0]) / found.std[0]
    expected = run(model, x.astype("float32"))[0]
    np.testing.assert_allclose(
        tflite_export.runtime.predict(path, x), expected, atol=1e-5
    )


def test_metadata_that_contradicts_the_first_layers_is_refused(tmp_path):
    model = starting_with(layers.Rescaling(1 / 255))
    for mean, std in ((0, 255), (127.5, 127.5)):
        with pytest.raises(ValueError, match="take, 0 to 255. Received"):
            tflite_export.convert(
                model,
                tmp_path / "model.tflite",
                metadata=tflite_export.Metadata(mean=mean, std=std),
            )
    assert not list(tmp_path.iterdir())
