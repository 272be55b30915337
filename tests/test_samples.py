"""Data in every form, for everything that takes data."""

import functools

import keras
import models
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import samples

SIZE, CLASSES = 120, 3
RNG = np.random.default_rng(0)
# Sorted by class, as folders are read.
Y = np.repeat(np.arange(CLASSES), SIZE // CLASSES)
X = RNG.random((SIZE, 6, 6, 1)).astype("float32") * 0.5
X += 0.25 * Y[:, None, None, None].astype("float32")
# Where in the data a sample is.
X[:, 0, 0, 0] = np.arange(SIZE) / SIZE


class Batches(keras.utils.PyDataset):
    num_batches = SIZE // 8

    def __getitem__(self, i):
        return X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]


def batches():
    for i in range(0, SIZE, 8):
        yield X[i : i + 8], Y[i : i + 8]


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y))


# Each makes (x, y), anew since a generator can be read once.
FORMS = {
    "arrays": lambda: (X, Y),
    "tensors": lambda: (tf.constant(X), tf.constant(Y)),
    "a list of samples": lambda: (list(X), list(Y)),
    "a list of the input": lambda: ([X], Y),
    "a column of labels": lambda: (X, Y[:, None]),
    "tf.data": lambda: (dataset().batch(16), None),
    "tf.data of samples": lambda: (dataset(), None),
    "tf.data with weights": lambda: (
        dataset().map(lambda a, b: (a, b, 1.0)).batch(50),
        None,
    ),
    "PyDataset": lambda: (Batches(), None),
    "a generator": lambda: (batches(), None),
    "a function": lambda: (batches, None),
    "lists, as of a DataLoader": lambda: ([list(b) for b in batches()], None),
    "a generator of samples": lambda: (zip(X, Y, strict=True), None),
}


def net(**options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, **options)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Flatten()(layers.ReLU()(x))
    return inputs, layers.Dense(CLASSES, activation="softmax")(x)


@pytest.fixture(scope="module")
def model():
    model = models.randomize(keras.Model(*net()), 0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_arrays(model, form):
    x, y = samples.read(model, *FORMS[form]())
    assert np.array_equal(x, X)
    assert np.array_equal(np.ravel(y), Y)
    x, y = samples.read(model, *FORMS[form](), most=30)
    where = np.rint(x[:, 0, 0, 0] * SIZE).astype(int)
    assert len(set(where)) == 30 and np.array_equal(np.ravel(y), Y[where])
    # From all over the data, the same ones every time.
    assert np.bincount(Y[where], minlength=CLASSES).min() >= 5
    again, _ = samples.read(model, *FORMS[form](), most=30)
    assert np.array_equal(again, x)


def test_a_form_without_labels_gives_none(model):
    for x in (X, dataset().map(lambda a, b: a), list(X), (a for a in [X])):
        found, y = samples.read(model, x)
        assert y is None and np.array_equal(found, X)


def test_inputs_and_targets_keep_their_structure():
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="a")
    model = keras.Model([left, right], [left, right])
    a, b = RNG.random((9, 2)), RNG.random((9, 3))
    lists, named = [a, b], {"left": a, "a": b}
    for whole in (lists, tuple(lists), named):
        for x, y in (
            (whole, None),
            (whole, whole),
            (tf.data.Dataset.from_tensor_slices((named, a)), None),
            (iter([(whole, whole)]), None),
            # As TensorFlow's converter takes it: a list of the inputs.
            (iter([[a, b]]), None),
        ):
            found, _ = samples.read(model, x, y, most=5)
            if isinstance(found, dict):
                found = [found["left"], found["a"]]
            assert [one.shape for one in found] == [(5, 2), (5, 3)]
    found, y = samples.read(model, iter([(named, lists)]))
    assert set(found) == {"left", "a"} and np.array_equal(found["left"], a)
    assert np.array_equal(y[1], b)
    with pytest.raises(ValueError, match="one array for each of 2 inputs"):
        samples.read(model, a)


@pytest.mark.parametrize(
    "x,message",
    [
        (None, "Received: NoneType"),
        (7, "Received: int"),
        (X[:0], "with n >= 1"),
        (X[0], "inputs of shape"),
        (iter(()), "a generator can be read once"),
        (dataset().batch(8).repeat(), "must end: use `take"),
        (dataset().batch(8).map(lambda a, b: (a[:, :4], b)), "of shape"),
        (iter([(X[:4], Y[:3])]), "as many targets as inputs"),
    ],
)
def test_what_is_no_data_is_refused(model, x, message):
    with pytest.raises(ValueError, match=f"`x` .*{message}"):
        samples.read(model, x)
    with pytest.raises(ValueError, match="must be None where the inputs"):
        samples.read(model, Batches(), Y)


def test_an_endless_dataset_gives_some_samples(model):
    x, _ = samples.read(model, dataset().batch(8).repeat(), most=50)
    assert len(x) == 50


def test_a_subclassed_model_takes_batches():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = layers.BatchNormalization()

        def call(self, x):
            return self.norm(x)

    model = Own()
    for form in ("arrays", "tf.data", "a function"):
        x, _ = FORMS[form]()
        model(X)
        model.norm.moving_mean.assign([0.0])
        knc.recalibrate(model, x, batch_size=30)
        np.testing.assert_allclose(model.norm.moving_mean, X.mean(), atol=0.03)
        found, _ = samples.read(model, *FORMS["a generator"](), most=9)
        assert found.shape == (9, 6, 6, 1)


# ---- everything that takes data


def sparse():
    regularizer = knc.GroupLasso(1e-3)
    model = knc.ProximalModel(*net(kernel_regularizer=regularizer))
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    return model


def scores(criterion):
    def plan(model, file, x, y):
        plan = knc.pruning.plan(
            model,
            criterion,
            {"channels": 0.5},
            1,
            data=x if y is None else (x, y),
        )
        return [one.keep for one in plan.layers]

    return plan


def fine_tuned(model, file, x, y):
    model = keras.models.clone_model(model)
    history = knc.fine_tune(model, x, y, 2, verbose=0, shuffle=False)
    return history.history["loss"][1] < history.history["loss"][0]


def recalibrated(model, file, x, y):
    copy = keras.models.clone_model(model)
    knc.recalibrate(copy, x, batch_size=8)
    return (
        np.isfinite(copy.get_weights()[4]).all()
        and copy.layers[2].moving_mean.numpy().any()
    )


def strongest(model, file, x, y):
    return knc.strength_max(sparse(), x, y) > 0


def path_points(model, file, x, y):
    points = knc.strength_path(
        sparse(), x, y, multipliers=(1, 2), epochs=1, verbose=0
    )
    return [point["multiplier"] for point in points]


def parity(model, file, x, y):
    found = tflite_export.check_parity(model, file, x, y)
    return found.samples, found.accuracy


def drift(model, file, x, y):
    return [row.layer for row in tflite_export.compare_layers(model, file, x)]


def representative(model, file, x, y):
    (found,) = tflite_export.samples.representative(model, x)
    return found.tolist()


TAKERS = {
    "loss rise": scores("loss_rise"),
    "recalibrate": recalibrated,
    "check_parity": parity,
    "compare_layers": drift,
    "representative data": representative,
}
# These train: they get some forms of each kind.
TRAINERS = {
    "taylor": scores("taylor"),
    "strength_max": strongest,
    "fine_tune": fine_tuned,
    "strength_path": path_points,
}
SOME_FORMS = ("tf.data of samples", "a generator")


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "model.tflite"
    tflite_export.convert(model, path)
    return path


@pytest.fixture(scope="module")
def expected(model, file):
    return functools.cache(
        lambda taker: {**TAKERS, **TRAINERS}[taker](model, file, X, Y)
    )


@pytest.mark.filterwarnings("ignore:The Keras model itself is right")
@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("form", FORMS)
def test_every_taker_takes_every_form(model, file, expected, taker, form):
    found = TAKERS[taker](model, file, *FORMS[form]())
    assert found == expected(taker)


@pytest.mark.parametrize("taker", TRAINERS)
@pytest.mark.parametrize("form", SOME_FORMS)
def test_training_takes_other_forms_too(model, file, expected, taker, form):
    found = TRAINERS[taker](model, file, *FORMS[form]())
    assert found == expected(taker)
