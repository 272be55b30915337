"""Batch statistics and distillation after pruning."""

import keras
import numpy as np
import pytest
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
    keras.utils.set_random_seed(0)
    x, y = small_data(120)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax)
    teacher = net(softmax=softmax)
    knc.fine_tune(teacher, x, y, 12, "adam", loss, verbose=0)
    answers = knc.recalibrate(teacher, x).predict(x, verbose=0)
    student = net(3, softmax)
    knc.fine_tune(
        student,
        x,
        np.random.default_rng(1).integers(0, 3, len(x)),
        40,
        keras.optimizers.Adam(1e-2),
        loss,
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
    head = layers.Dense(1, "sigmoid")(layers.Flatten()(inputs))
    one = keras.Model(inputs, head)
    other = keras.models.clone_model(one)
    with pytest.raises(ValueError, match="ends in a softmax or in a linear"):
        knc.fine_tune(one, x, y, teacher=other)
    sparse = knc.attach(net(), knc.GroupLasso(1e-3))
    sparse.compile("sgd", "mse")
    with pytest.raises(ValueError, match="knc.strip"):
        knc.fine_tune(sparse, x, y, teacher=net())
