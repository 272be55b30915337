"""What the outputs of a model are, and what follows from it."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from keras_nonconvex import data_loss
from keras_nonconvex import outputs


@keras.saving.register_keras_serializable("test_outputs")
class Head(layers.Layer):
    """A layer of one's own whose softmax no name tells."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return ops.softmax(ops.matmul(x, self.kernel))


def dense(units, activation=None):
    return lambda x: layers.Dense(units, activation)(layers.Flatten()(x))


def conv(units, activation=None, size=1):
    return layers.Conv2D(units, size, activation=activation)


def nested(x):
    inner = keras.Sequential([keras.Input((5, 5, 2)), conv(3, "softmax")])
    return inner(x)


CLASSES, YES_NO = outputs.CLASSES, outputs.YES_NO
# What the last layers are -> (kind, whether they give probabilities).
ENDINGS = [
    (dense(3, "softmax"), CLASSES, True),
    (lambda x: layers.Activation("softmax")(dense(3)(x)), CLASSES, True),
    (lambda x: layers.Softmax()(dense(3)(x)), CLASSES, True),
    (lambda x: ops.softmax(dense(3)(x)), CLASSES, True),
    (dense(3, lambda x: ops.nn.softmax(x)), CLASSES, True),
    (dense(3, layers.Softmax()), CLASSES, True),
    (Head(), CLASSES, True),
    (nested, CLASSES, True),
    (lambda x: layers.Flatten()(conv(3, "softmax", 5)(x)), CLASSES, True),
    (lambda x: ops.squeeze(conv(3, None, 5)(x), (1, 2)), CLASSES, False),
    (lambda x: ops.cast(dense(3, "softmax")(x), "float16"), CLASSES, True),
    (lambda x: ops.mean(conv(3, "softmax")(x), (1, 2)), CLASSES, True),
    (
        lambda x: layers.Average()([dense(3, "softmax")(x) for _ in "ab"]),
        CLASSES,
        True,
    ),
    (dense(3), CLASSES, False),
    (
        lambda x: layers.Dense(3, kernel_initializer="zeros")(x[:, 0, 0]),
        *[
            CLASSES,
            False,
        ],
    ),
    (lambda x: dense(3)(x) / 2.5, CLASSES, False),
    (lambda x: ops.log_softmax(dense(3)(x)), CLASSES, False),
    (lambda x: layers.BatchNormalization()(dense(3)(x)), CLASSES, False),
    (lambda x: layers.GlobalAveragePooling2D()(conv(3)(x)), CLASSES, False),
    (dense(1, "sigmoid"), YES_NO, True),
    (lambda x: ops.sigmoid(dense(4)(x)), YES_NO, True),
    (dense(2, "hard_sigmoid"), YES_NO, True),
    (lambda x: layers.Flatten()(conv(1, "sigmoid")(x)), YES_NO, True),
    # The second share of two.
    (lambda x: dense(2, "softmax")(x)[:, 1:], YES_NO, True),
    # Nothing tells these.
    (dense(1), None, False),
    (conv(3), None, False),
    (dense(3, "relu"), None, False),
    (lambda x: ops.clip(dense(3)(x), 0.0, 1.0), None, False),
    (lambda x: layers.Flatten()(conv(3, "softmax")(x)), None, False),
    (lambda x: layers.Softmax(axis=1)(conv(3)(x)), None, False),
]


def model_of(ending):
    inputs = keras.Input((5, 5, 2))
    return keras.Model(inputs, ending(inputs))


@pytest.mark.parametrize("ending,kind,probabilities", ENDINGS)
def test_the_last_layers_tell_what_an_output_is(ending, kind, probabilities):
    (found,) = outputs.of(model_of(ending))
    assert (found.kind, found.probabilities) == (kind, probabilities)


@pytest.mark.parametrize(
    "loss,ending,kind,probabilities",
    [
        ("mse", dense(3), outputs.VALUES, False),
        ("mse", dense(1, "sigmoid"), outputs.VALUES, True),
        ("mse", dense(3, "softmax"), CLASSES, True),
        ("bce", dense(3, "sigmoid"), YES_NO, True),
        (
            keras.losses.BinaryCrossentropy(from_logits=True),
            dense(1),
            YES_NO,
            False,
        ),
        ("hinge", dense(1, "tanh"), YES_NO, False),
        ("crossentropy", dense(3, "softmax"), CLASSES, True),
        ("crossentropy", dense(1, "sigmoid"), YES_NO, True),
        (
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            conv(3),
            CLASSES,
            False,
        ),
        (keras.losses.kl_divergence, dense(3, "relu"), CLASSES, True),
        (lambda y, p: ops.mean(p), dense(1, "sigmoid"), YES_NO, True),
    ],
)
def test_the_models_own_loss_tells_first(loss, ending, kind, probabilities):
    model = model_of(ending)
    model.compile("sgd", loss)
    (found,) = outputs.of(model)
    assert (found.kind, found.probabilities) == (kind, probabilities)


def test_a_subclassed_model_is_unfolded():
    @keras.saving.register_keras_serializable("test_outputs")
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten = layers.Flatten()
            self.head = layers.Dense(3)

        def call(self, x):
            return ops.log_softmax(self.head(self.flatten(x)))

    model = Mine()
    model(np.zeros((2, 5, 5, 2)))
    (found,) = outputs.of(model)
    assert (found.kind, found.probabilities) == (CLASSES, False)


def test_each_output_has_its_own_kind():
    inputs = keras.Input((5, 5, 2))
    model = keras.Model(
        inputs,
        {
            "what": layers.Dense(3, name="what")(layers.Flatten()(inputs)),
            "mask": layers.Conv2D(1, 1, activation="sigmoid", name="mask")(
                inputs
            ),
            "size": layers.Dense(1, name="size")(layers.Flatten()(inputs)),
        },
    )
    with pytest.raises(ValueError, match="A loss is needed.*'size'"):
        data_loss.compile_settings(model)
    model.compile("sgd", {"size": "mse"})
    kinds = {o.name: o.kind for o in outputs.of(model)}
    assert kinds == {"what": CLASSES, "mask": YES_NO, "size": outputs.VALUES}


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize(
    "shape,kind,probabilities",
    [
        ((3,), CLASSES, True),
        ((3,), CLASSES, False),
        ((4, 5, 3), CLASSES, False),
        ((1,), YES_NO, True),
        ((1,), YES_NO, False),
        ((3,), YES_NO, False),
        ((4, 5, 1), YES_NO, True),
    ],
)
def test_accuracy_is_that_of_keras(shape, kind, probabilities, one_hot):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, *shape)).astype("float32")
    values = 1 / (1 + np.exp(-logits)) if probabilities else logits
    output = outputs.Output("head", (None, *shape), kind, probabilities)
    if kind == YES_NO:
        labels = rng.integers(0, 2, logits.shape)
        right = (logits > 0) == (labels == 1)
        if shape[-1] == 1 and not one_hot:
            labels = labels[..., 0]
    else:
        labels = rng.integers(0, 3, logits.shape[:-1])
        right = logits.argmax(-1) == labels
        if one_hot:
            labels = np.eye(3)[labels]
    assert output.accuracy(values, labels) == pytest.approx(right.mean())
    if kind == CLASSES and not one_hot:
        last = output.accuracy(values, labels[..., None])
        assert last == pytest.approx(right.mean())
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.Identity()(inputs))
    model.compile(loss=output.usual_loss(labels), metrics=output.metrics())
    told = model.evaluate(values, labels, return_dict=True, verbose=0)
    assert told["accuracy"] == pytest.approx(right.mean(), abs=1e-6)


def test_agreement_is_that_of_decisions():
    first = np.array([[0.2], [0.6], [0.9], [0.4]])
    second = np.array([[0.3], [0.4], [0.8], [0.1]])
    one = outputs.Output("head", (None, 1), YES_NO, True)
    assert one.agreement(first, second) == 0.75
    values = outputs.Output("head", (None, 1), outputs.VALUES, False)
    assert values.agreement(first, second) is None


def test_labels_that_do_not_fit_are_refused():
    values = np.zeros((6, 4, 5, 3))
    output = outputs.Output("map", (None, 4, 5, 3), CLASSES, True)
    with pytest.raises(ValueError, match=r"6 integer labels of shape \(6, 4,"):
        output.accuracy(values, np.zeros(6))
    output = outputs.Output("map", (None, 4, 5, 3), None, False)
    with pytest.raises(ValueError, match="Only decisions have an accuracy"):
        output.accuracy(values, np.zeros((6, 4, 5)))


@pytest.mark.parametrize("loss", ["bce", "sparse_categorical_crossentropy"])
def test_a_loss_for_probabilities_is_refused_for_logits(loss):
    model = model_of(dense(3))
    with pytest.raises(ValueError, match="takes probabilities, but output"):
        data_loss.compile_settings(model, loss)


@pytest.mark.parametrize("probabilities", [True, False])
@pytest.mark.parametrize("kind", [CLASSES, YES_NO])
def test_class_logits_give_the_probability_of_each_answer(kind, probabilities):
    logits = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    shares = ops.softmax(logits) if kind == CLASSES else ops.sigmoid(logits)
    output = outputs.Output("head", (None, 3), kind, probabilities)
    found = output.class_logits(shares if probabilities else logits)
    expected = shares
    if kind == YES_NO:
        expected = ops.stack([1.0 - shares, shares], axis=-1)
    np.testing.assert_allclose(ops.softmax(found), expected, atol=1e-5)
