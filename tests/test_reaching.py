"""A share of zero filters is reached, and what a network loses is said."""

import types

import keras
import numpy as np
import pytest
from keras import layers
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex.compression import reaching
from keras_nonconvex.compression import training
from keras_nonconvex.compression.measure import Measure
from keras_nonconvex.compression.stages import sparse


def small_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(12, "relu")(layers.Flatten()(x))
    x = layers.Softmax()(layers.Dense(4)(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("epochs, steps", [(6, 2), (1, 6)])
def test_so_many_filters_are_zero_however_long_an_epoch_is(
    tmp_path, epochs, steps
):
    model = knc.attach(small_model(), {"*": knc.GroupLasso(1e-3)})
    model.compile(
        keras.optimizers.SGD(0.1, 0.9),
        "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_crossentropy"],
    )
    rng = np.random.default_rng(0)
    n = 16 * steps
    x, y = rng.normal(size=(n, 6, 6, 1)), rng.integers(0, 4, n)
    key = "val_sparse_categorical_crossentropy"
    reach = reaching.Reach(7, steps, tmp_path / "best", lambda logs: -logs[key])
    logs = model.fit(
        x,
        y,
        epochs=epochs,
        batch_size=16,
        validation_data=(x[:16], y[:16]),
        verbose=0,
        callbacks=[knc.callbacks.SparsityMonitor(), reach],
    ).history
    # The 4 units that give the classes are no filters to lose.
    assert (model.layers[-2].kernel.numpy() != 0).any(axis=0).all()
    assert logs["zero_filters"][-1] == 7
    assert model.solver_state.strength.numpy() == 0
    # Of the epochs that have them the best counts, be it not the last one.
    held = [
        loss
        for loss, zero in zip(logs[key], logs["zero_filters"], strict=True)
        if zero >= 7
    ]
    reach.restore(model)
    assert knc.summary(model).zero_filters == 7
    _, loss = model.evaluate(x[:16], y[:16], verbose=0)
    assert loss == pytest.approx(min(held), rel=1e-4)


def test_few_steps_an_epoch_do_not_leave_old_batch_statistics(tmp_path):
    model, seen = small_model(), []
    norm = model.layers[2]
    data = np.zeros((4, 6, 6, 1)), np.zeros(4)
    job = types.SimpleNamespace(
        recipe=knc.Recipe(),
        steps=2,
        strategy=None,
        console=Console(quiet=True),
        task=types.SimpleNamespace(
            loss=lambda: "sparse_categorical_crossentropy",
            metrics=lambda: ["accuracy"],
            measure=Measure(),
        ),
        records=types.SimpleNamespace(
            backup=lambda step: tmp_path / step, record=lambda *_: None
        ),
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda *_: seen.append(norm.momentum)
            )
        ],
        training_data=lambda step: _batches(data),
        validation_data=lambda: _batches(data),
    )
    training.fit(job, "sparse", model, 1)
    assert seen == pytest.approx([0.1])
    assert norm.momentum == 0.99


def _batches(data):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data).batch(2)


@pytest.mark.parametrize(
    "accuracy, zero, said",
    [
        (0.1, 0.3, "the accuracy is 10.00 %, and that of the dense network"),
        (0.75, 0.1, "10% of the filters are zero, and 30% were wanted"),
        (0.75, 0.3, ""),
    ],
)
def test_a_sparse_network_that_only_guesses_is_named(accuracy, zero, said):
    job = types.SimpleNamespace(
        console=Console(width=200),
        task=types.SimpleNamespace(measure=Measure()),
        records=types.SimpleNamespace(
            done=lambda step: True,
            measured=lambda step: {"validation_accuracy": 0.78},
        ),
    )
    with job.console.capture() as shown:
        sparse._say_if_bad(job, {"validation_accuracy": accuracy}, zero, 0.3)
    text = " ".join(shown.get().split())
    assert said in text and bool(text) == bool(said)
