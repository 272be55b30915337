"""Batch statistics and distillation after pruning."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from test_training import small_data

import keras_nonconvex as knc


def net(filters=6, softmax=True):
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(filters, 3, use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.5)(layers.ReLU()(x))
    x = layers.Flatten()(x)
    x = layers.Dense(3)(x)
    return keras.Model(inputs, layers.Softmax()(x) if softmax else x)


def test_recalibration_gives_the_mean_over_batches():
    x, _ = small_data(120)
    model = net()
    norm, dropout = model.layers[2], model.layers[4]
    norm.moving_mean.assign(np.full(6, 7.0))
    others = [w.copy() for w in model.get_weights()]
    momentum = norm.momentum
    assert knc.recalibrate(model, x, batch_size=40) is model
    features = keras.ops.convert_to_numpy(model.layers[1](x))
    batches = features.reshape(3, 40, -1, 6)
    np.testing.assert_allclose(
        norm.moving_mean, features.mean(axis=(0, 1, 2)), atol=1e-5
    )
    np.testing.assert_allclose(
        norm.moving_variance,
        batches.reshape(3, -1, 6).var(axis=1).mean(axis=0),
        rtol=1e-4,
    )
    assert (norm.momentum, dropout.rate) == (momentum, 0.5)
    moving = {id(norm.moving_mean), id(norm.moving_variance)}
    for variable, before in zip(model.weights, others, strict=True):
        if id(variable) not in moving:
            np.testing.assert_array_equal(variable, before)


def test_recalibration_takes_a_dataset_of_batches():
    x, y = small_data(120)
    first, second = net(), net()
    second.set_weights(first.get_weights())
    knc.recalibrate(first, x, batch_size=40)
    knc.recalibrate(
        second, ((x[i : i + 40], y[i : i + 40]) for i in (0, 40, 80))
    )
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("softmax", [True, False])
def test_the_teacher_teaches_what_the_labels_do_not_say(softmax):
    # Random labels weigh nothing: the student learns the teacher's answers.
    # One of the two gives logits.
    keras.utils.set_random_seed(0)
    x, y = small_data(120)
    teacher = net(softmax=softmax)
    knc.fine_tune(teacher, x, y, 12, verbose=0)
    answers = knc.recalibrate(teacher, x).predict(x, verbose=0)
    student = net(3, not softmax)
    knc.fine_tune(
        student,
        x,
        np.random.default_rng(1).integers(0, 3, len(x)),
        40,
        keras.optimizers.Adam(1e-2),
        teacher=teacher,
        teacher_weight=1.0,
        verbose=0,
    )
    knc.recalibrate(student, x)
    agree = student.predict(x, verbose=0).argmax(-1) == answers.argmax(-1)
    assert agree.mean() > 0.9
    # The teacher is as it was, and the student can go on by itself.
    np.testing.assert_array_equal(teacher.predict(x, verbose=0), answers)
    assert len(teacher.trainable_variables) == 5
    student.fit(x, y, verbose=0)


def test_fine_tuning_can_keep_zeros():
    x, y = small_data(120)
    model, teacher = net(), net()
    kernel = model.layers[1].kernel
    value = keras.ops.convert_to_numpy(kernel).copy()
    value[0] = 0.0
    for options in ({}, {"teacher": teacher}):
        kernel.assign(value)
        knc.fine_tune(model, x, y, 2, keep_zeros=True, verbose=0, **options)
        after = keras.ops.convert_to_numpy(kernel)
        assert not after[0].any() and (after[1:] != value[1:]).all()
    with pytest.raises(ValueError, match="`teacher_weight` must be"):
        knc.fine_tune(model, x, y, teacher=teacher, teacher_weight=2.0)


def test_teachers_that_cannot_teach_are_refused():
    x, y = small_data(120)
    model = net()
    with pytest.raises(ValueError, match="must not share layers"):
        same = keras.Model(model.inputs, model.outputs)
        knc.fine_tune(model, x, y, teacher=same)
    inputs = keras.Input((8, 8, 1))
    head = layers.Dense(1)(layers.Flatten()(inputs))
    one = keras.Model(inputs, head)
    with pytest.raises(ValueError, match="outputs of the same kind and shape"):
        knc.fine_tune(model, x, y, teacher=one)
    sparse = knc.attach(net(), knc.GroupLasso(1e-3))
    sparse.compile("sgd", "mse")
    with pytest.raises(ValueError, match="knc.strip"):
        knc.fine_tune(sparse, x, y, teacher=net())


def flat(units, activation=None):
    inputs = keras.Input((8, 8, 1))
    head = layers.Dense(units, activation, kernel_initializer="zeros")
    return keras.Model(inputs, head(layers.Flatten()(inputs)))


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("probabilities", [True, False])
def test_fine_tuning_finds_the_loss_and_the_accuracy(
    units, compiled, probabilities
):
    x, y = small_data(120)
    y = (y > 0).astype(int)
    activation = {1: "sigmoid", 2: "softmax"}[units]
    model = flat(units, activation if probabilities else None)
    loss = {
        1: keras.losses.BinaryCrossentropy,
        2: keras.losses.SparseCategoricalCrossentropy,
    }[units](from_logits=not probabilities)
    if compiled:
        model.compile("sgd", loss)
    elif units == 1 and not probabilities:
        with pytest.raises(ValueError, match="A loss is needed"):
            knc.fine_tune(model, x, y)
        return
    told = knc.fine_tune(model, x, y, 1, batch_size=120, verbose=0).history
    # At zero weights every answer has the same probability.
    assert told["loss"][0] == pytest.approx(np.log(2), rel=1e-5)
    told = model.evaluate(x, y, return_dict=True, verbose=0)
    given = model.predict(x, verbose=0)
    if units == 2:
        right = given.argmax(-1) == y
    else:
        right = (given[:, 0] > (0.5 if probabilities else 0.0)) == y
    assert told["accuracy"] == pytest.approx(right.mean(), abs=1e-6)


def test_labels_of_each_class_are_understood_from_a_dataset():
    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            x, y = small_data(40)
            return x, np.eye(3)[y]

    model = flat(3)
    told = knc.fine_tune(model, Data(), epochs=1, verbose=0).history
    assert told["loss"][0] < np.log(3) + 0.1


@pytest.mark.parametrize("as_dict", [False, True])
def test_each_output_is_trained_and_measured_as_what_it_is(as_dict):
    x, y = small_data(120)
    inputs = keras.Input((8, 8, 1))
    heads = {
        "what": layers.Dense(3, "softmax", name="what"),
        "odd": layers.Dense(1, "sigmoid", name="odd"),
    }
    flattened = layers.Flatten()(inputs)
    found = {name: head(flattened) for name, head in heads.items()}
    labels = {"what": y, "odd": y % 2}
    if not as_dict:
        found, labels = list(found.values()), list(labels.values())
    model = keras.Model(inputs, found)
    knc.fine_tune(model, x, labels, 1, verbose=0)
    told = model.evaluate(x, labels, return_dict=True, verbose=0)
    given = model.predict(x, verbose=0)
    what, odd = (given["what"], given["odd"]) if as_dict else given
    losses = [
        -np.log(what[np.arange(120), y]).mean(),
        -np.log(np.where(y % 2, odd[:, 0], 1 - odd[:, 0])).mean(),
    ]
    assert told["loss"] == pytest.approx(sum(losses), rel=1e-4)
    expected = [
        (what.argmax(-1) == y).mean(),
        ((odd[:, 0] > 0.5) == y % 2).mean(),
    ]
    measured = [told["what_accuracy"], told["odd_accuracy"]]
    assert measured == pytest.approx(expected)


def rates(model, *arguments, **options):
    """The rate of each step of a fine-tuning, by the optimizer's schedule."""
    knc.fine_tune(model, *arguments, verbose=0, **options)
    optimizer, seen = model.optimizer, []
    for step in range(int(optimizer.iterations)):
        optimizer.iterations.assign(step)
        seen.append(float(optimizer.learning_rate))
    return seen


def in_batches(count, size=30):
    x, y = small_data(count)
    for i in range(0, count, size):
        yield x[i : i + size], y[i : i + size]


class Steps(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return small_data(30)


DATA = {
    "arrays": (lambda: small_data(120), {"batch_size": 30}),
    "validation": (
        lambda: small_data(150),
        {"batch_size": 30, "validation_split": 0.2},
    ),
    "generator": (lambda: (in_batches(120),), {}),
    "steps": (lambda: (in_batches(240),), {"steps_per_epoch": 4}),
    "resumed": (
        lambda: (*small_data(120), 5),
        {"batch_size": 30, "initial_epoch": 3},
    ),
    "PyDataset": (lambda: (Steps(),), {}),
}


@pytest.mark.parametrize("form", DATA)
def test_the_rate_falls_by_a_cosine_over_all_steps(form):
    data, options = DATA[form]
    x, y, epochs = (*data(), None, None)[:3]
    if isinstance(x, Steps):
        y = None
    seen = rates(flat(3, "softmax"), x, y, epochs or 2, **options)
    np.testing.assert_allclose(
        seen, 1e-3 * (1 + np.cos(np.pi * np.arange(8) / 8)) / 2, rtol=1e-5
    )


def test_where_the_steps_are_not_known_the_rate_falls_by_the_epoch():
    x, y = small_data(60)
    # What a filter lets pass is not known.
    unknown = (
        tf.data.Dataset.from_tensor_slices((x, y))
        .batch(30)
        .filter(lambda *batch: True)
    )
    model, seen = net(), []
    see = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(
            float(model.optimizer.learning_rate)
        )
    )
    knc.fine_tune(
        model, unknown, epochs=2, learning_rate=0.1, callbacks=see, verbose=0
    )
    middles = 0.1 * (1 + np.cos(np.pi * np.array([0.25, 0.75]))) / 2
    np.testing.assert_allclose(seen, middles, rtol=1e-5)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


def test_the_usual_optimizer_suits_the_model_and_goes_on_afterwards(tmp_path):
    x, y = small_data(60)
    model, teacher = net(), net()
    kernel = model.layers[1].kernel
    value = keras.ops.convert_to_numpy(kernel)
    zero = value < 0
    kernel.assign(np.where(zero, 0.0, value))
    knc.fine_tune(model, x, y, 2, teacher=teacher, keep_zeros=True, verbose=0)
    assert not keras.ops.convert_to_numpy(kernel)[zero].any()
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    # The cosine starts anew for whoever goes on.
    assert int(optimizer.iterations) == 4
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    model.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )
    loaded.fit(x, y, verbose=0)
    plain = flat(3, "softmax")
    knc.fine_tune(plain, x, y, 1, verbose=0)
    assert type(plain.optimizer) is keras.optimizers.Adam


def test_an_optimizer_that_is_given_is_used_as_it_is():
    x, y = small_data(60)
    optimizer = keras.optimizers.RMSprop(0.002)
    seen = rates(net(), x, y, 2, optimizer)
    np.testing.assert_allclose(seen, [0.002] * 4)
    for wrong in (0.0, float("nan"), "fast"):
        with pytest.raises(ValueError, match="`learning_rate` must be"):
            knc.fine_tune(net(), x, y, learning_rate=wrong)
    with pytest.raises(ValueError, match="is for the usual optimizer"):
        knc.fine_tune(net(), x, y, optimizer="sgd", learning_rate=0.1)
    with pytest.raises(ValueError, match="`temperature` must be"):
        knc.fine_tune(net(), x, y, teacher=net(), temperature=0.0)


def test_a_model_is_run_as_it_was_compiled():
    x, y = small_data(60)
    model = flat(3, "softmax")
    model.compile("sgd", run_eagerly=True, jit_compile=False)
    knc.fine_tune(model, x, y, 1, verbose=0)
    assert model.run_eagerly and not model.jit_compile


def test_with_a_teacher_penalties_and_weights_of_samples_count():
    # A rate of almost zero: the loss is that of the weights as they are.
    x, y = small_data(120)
    keras.utils.set_random_seed(0)
    teacher, model = flat(3), flat(3)
    for each in (teacher, model):
        dense = each.layers[-1]
        dense.kernel.assign(keras.random.normal(dense.kernel.shape, seed=1))
    kernel = model.layers[-1].kernel
    kernel.assign(0.5 * kernel)
    kernel.regularizer = keras.regularizers.L2(0.1)
    weights = np.linspace(0, 2, 120).astype("float32")
    told = knc.fine_tune(
        model,
        x,
        y,
        1,
        keras.optimizers.SGD(1e-12),
        teacher=teacher,
        teacher_weight=0.7,
        temperature=2.0,
        batch_size=120,
        sample_weight=weights,
        validation_data=(x, y),
        verbose=0,
    ).history

    def log_softmax(logits):
        logits = logits - logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    given, wanted = (m.predict(x, verbose=0) for m in (model, teacher))
    hard = -log_softmax(given)[np.arange(120), y]
    p = log_softmax(wanted / 2)
    soft = (np.exp(p) * (p - log_softmax(given / 2))).sum(-1)
    penalty = 0.1 * (keras.ops.convert_to_numpy(kernel) ** 2).sum()
    np.testing.assert_allclose(
        [told["loss"][0], told["val_loss"][0]],
        [
            np.mean(weights * (0.3 * hard + 0.7 * 4 * soft)) + penalty,
            hard.mean() + penalty,
        ],
        rtol=1e-4,
    )


@pytest.mark.parametrize("taught", [False, True])
def test_statistics_of_before_are_forgotten_in_an_epoch(taught):
    """Of three steps, which a momentum of 0.99 would hardly notice."""
    x = np.random.default_rng(0).normal(1.0, 2.0, (96, 6)).astype("float32")
    y = np.zeros(96, "int32")

    def build():
        return keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.BatchNormalization(name="bn"),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )

    model, teacher = build(), build() if taught else None
    bn = model.get_layer("bn")
    bn.moving_mean.assign(np.full(6, 100.0))
    knc.fine_tune(
        model, x, y, epochs=1, teacher=teacher, batch_size=32, verbose=0
    )
    np.testing.assert_allclose(bn.moving_mean, 1 + 0.01 * 99, atol=1.5)
    # A later training has the momentum that the layer was made with.
    assert bn.momentum == 0.99
    bn.moving_mean.assign(np.full(6, 100.0))
    model.fit(x, y, batch_size=32, verbose=0)
    np.testing.assert_allclose(bn.moving_mean, 1 + 0.99**3 * 99, rtol=0.01)
