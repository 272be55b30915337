"""Callbacks: what is logged, what is reached, what is refused."""

import csv

import keras
import numpy as np
import pytest
from test_training import classifier
from test_training import compile_
from test_training import small_data

import keras_nonconvex as knc
from keras_nonconvex import callbacks


def fit(model, epochs, *used, **options):
    x, y = small_data()
    return model.fit(
        x,
        y,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        callbacks=list(used),
        **options,
    ).history


def model_of(strength=4e-3, cls=knc.ProximalModel, **options):
    reg = knc.SparseGroupL1(strength, group_strength=strength)
    return compile_(classifier(cls, reg), **options)


def test_monitor_counts_what_is_there():
    model = model_of()
    logs = fit(model, 20, callbacks.SparsityMonitor(per_layer=True))
    found, dense = knc.summary(model), kernels(model)[1]
    assert logs["zero_weights"][-1] == found.zero_weights > 0
    assert logs["zero_filters"][-1] == found.zero_filters > 0
    assert logs["zero_groups"] == logs["zero_filters"]
    zero = ~dense.any(axis=0)
    name = model.layers[5].name
    assert logs[f"zero_filters/{name}"][-1] == zero.mean()
    assert logs[f"zero_weights/{name}"][-1] == np.mean(dense == 0)
    small = knc.prune(model)
    left = knc.summary(small).macs / found.macs
    assert logs["macs_left"][-1] == pytest.approx(left)


def kernels(model):
    return [
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in model.layers
        if hasattr(layer, "kernel")
    ]


def test_monitor_feeds_csv_and_tensorboard(tmp_path):
    import tensorflow as tf

    model = model_of()
    fit(
        model,
        3,
        callbacks.SparsityMonitor(per_layer=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board"),
    )
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and "macs_left" in rows[0]
    (events,) = (tmp_path / "board" / "train").glob("events.*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    conv = model.layers[1].name
    assert {"epoch_zero_weights", f"epoch_zero_filters/{conv}"} <= tags


def test_monitor_counts_what_the_solver_would_leave():
    solver = knc.solvers.VariableSplitting(beta=0.05)
    model = model_of(solver=solver)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(
            sum(int(np.sum(k == 0)) for k in kernels(model))
        )
    )
    logs = fit(model, 8, callbacks.SparsityMonitor(), watch)
    # While training goes on W is dense, and the monitor does not touch it.
    assert seen == [0] * 8
    assert logs["zero_weights"][-1] == knc.summary(model).zero_weights > 0


def test_monitor_serves_models_without_a_graph():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten = keras.layers.Flatten()
            self.head = keras.layers.Dense(3, "softmax")
            # With a weight of its own it cannot be unfolded.
            self.scale = self.add_weight((), "ones", name="scale")

        def call(self, x):
            return self.head(self.flatten(x) * self.scale)

    logs = fit(compile_(Net()), 1, callbacks.SparsityMonitor())
    assert logs["zero_weights"] == [0] and "macs_left" not in logs


def test_schedules_have_the_shapes_they_are_named_after():
    schedule = callbacks.StrengthSchedule
    linear = schedule("linear", begin=2, end=6)
    assert [linear.factor(e, 10) for e in (0, 2, 3, 6, 9)] == [0, 0, 0.25, 1, 1]
    cosine = schedule("cosine", start=0.2, stop=1.2, end=4)
    assert cosine.factor(2, 10) == pytest.approx(0.7)
    cubic = schedule("polynomial", end=4)
    assert cubic.factor(1, 10) == pytest.approx(1 - 0.75**3)
    assert schedule("linear").factor(2.5, 10) == 0.5
    own = schedule(lambda p: p * p, stop=2.0, end=2)
    assert own.factor(1, 10) == 0.5


def test_target_sparsity_adapts_the_strength_to_reach_it():
    # From a strength at which nothing dies.
    model = model_of(1e-5)
    target = callbacks.TargetSparsity(0.5, of="weights", tolerance=0.1)
    logs = fit(model, 50, target)
    found = knc.summary(model)
    assert found.zero_weights / found.weights == pytest.approx(0.5, abs=0.1)
    assert target.fraction == found.zero_weights / found.weights
    assert logs["strength"][0] == 1 < max(logs["strength"])
    assert logs["accuracy"][-1] > 0.9


def test_target_sparsity_stops_there():
    model = model_of()
    logs = fit(model, 60, callbacks.TargetSparsity(0.3, mode="stop"))
    found = knc.summary(model)
    assert found.zero_filters / found.filters >= 0.3
    assert len(logs["loss"]) < 60


def test_target_sparsity_says_when_it_was_missed():
    with pytest.warns(UserWarning, match="and 90.0% were wanted"):
        fit(model_of(1e-6), 2, callbacks.TargetSparsity(0.9))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: callbacks.StrengthSchedule("sine"), "`curve` must be"),
        (lambda: callbacks.StrengthSchedule(start=-1), "`start` must be"),
        (lambda: callbacks.StrengthSchedule(begin=3, end=2), "`end` must be"),
        (lambda: callbacks.TargetSparsity(1.5), "`target` must be"),
        (lambda: callbacks.TargetSparsity(0.5, of="layers"), "`of` must be"),
        (lambda: callbacks.TargetSparsity(0.5, mode="hold"), "`mode` must"),
        (lambda: callbacks.TargetSparsity(0.5, speed=1.0), "`speed` must"),
        (lambda: callbacks.TargetSparsity(0.5, every=0), "`every` must be"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_plain_model_has_no_strength_to_change():
    for callback in (
        callbacks.StrengthSchedule(),
        callbacks.TargetSparsity(0.5),
    ):
        with pytest.raises(ValueError, match="needs a knc.ProximalModel"):
            fit(model_of(cls=keras.Model), 1, callback)


def test_a_schedule_serves_several_trainings():
    schedule = callbacks.StrengthSchedule("linear", begin=3, end=5)
    for epochs in (1, 3):
        assert fit(model_of(), epochs, schedule)["strength"] == [0.0] * epochs


def test_frozen_are_the_zeros_of_all_kernels():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.SeparableConv2D(4, 3)(inputs)
    x = keras.layers.TimeDistributed(keras.layers.Dense(3))(x)
    model = keras.Model(inputs, x)
    kernels = [w for w in model.weights if len(w.shape) > 1]
    for kernel in kernels:
        value = keras.ops.convert_to_numpy(kernel).copy()
        value.flat[::2] = 0.0
        kernel.assign(value)
    model.compile("adam", "mse")
    x, y = np.ones((4, 8, 8, 2)), np.ones((4, 6, 6, 3))
    model.fit(x, y, epochs=3, verbose=0, callbacks=[callbacks.Freeze()])
    for kernel in kernels:
        flat = keras.ops.convert_to_numpy(kernel).ravel()
        assert not flat[::2].any() and flat[1::2].all()


def test_target_sparsity_counts_scales_and_macs():
    def slim():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(8, 3, use_bias=False)(inputs)
        x = keras.layers.BatchNormalization(
            gamma_regularizer=knc.Elementwise(knc.penalties.L1(), 3e-2)
        )(x)
        x = keras.layers.Flatten()(keras.layers.ReLU()(x))
        x = keras.layers.Dense(3, "softmax")(x)
        return compile_(knc.ProximalModel(inputs, x))

    for of in ("groups", "macs"):
        target = callbacks.TargetSparsity(0.4, of=of, mode="stop")
        model = slim()
        fit(model, 60, target)
        assert target.fraction >= 0.4
        small = knc.prune(model)
        assert small.layers[1].filters <= 5
    with pytest.raises(ValueError, match="has no groups"):
        model = compile_(classifier(knc.ProximalModel))
        fit(model, 1, callbacks.TargetSparsity(0.4, of="groups"))
