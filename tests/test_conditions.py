"""Training as it is done in earnest: precision, resuming, odd optimizers.

Runs on the backend of KERAS_BACKEND; `test_project.py` runs it on JAX.
"""

import keras
import numpy as np
import pytest
from keras import layers
from test_training import classifier
from test_training import compile_
from test_training import make
from test_training import small_data
from test_training import weights_of

import keras_nonconvex as knc


def fit(model, epochs=2, **options):
    x, y = small_data()
    return model.fit(
        x, y, batch_size=16, epochs=epochs, verbose=0, shuffle=False, **options
    )


def check_equal(first, second, **tolerance):
    for a, b in zip(weights_of(first), weights_of(second), strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def zeros_of(model):
    return [w == 0 for w in weights_of(model)]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    if policy == "mixed_float16" and keras.backend.backend() == "torch":
        pytest.skip("float16 convolutions are not on torch's CPU")
    keras.config.set_dtype_policy(policy)
    try:
        model = compile_(make())
    finally:
        keras.config.set_dtype_policy("float32")
    scaled = hasattr(model.optimizer, "inner_optimizer")
    assert scaled == (policy == "mixed_float16")
    losses = fit(model, 12).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert sum(z.sum() for z in zeros_of(model)) > 500
    assert all(w.dtype == "float32" for w in weights_of(model))


def test_accumulated_updates_are_those_of_the_large_batch():
    # The prox runs on real updates only, with the step of one update.
    x, y = small_data(96)
    trained = []
    for batch, steps in ((32, None), (8, 4)):
        model = compile_(
            classifier_without_norm(),
            keras.optimizers.SGD(
                0.1, momentum=0.9, gradient_accumulation_steps=steps
            ),
        )
        model.fit(x, y, batch_size=batch, epochs=8, verbose=0, shuffle=False)
        trained.append(model)
    check_equal(*trained, atol=2e-5)
    np.testing.assert_array_equal(*map(zero_count, trained))
    assert zero_count(trained[0]) > 100


def zero_count(model):
    return sum(z.sum() for z in zeros_of(model))


def classifier_without_norm(reg=None):
    """No batch statistics, so that large and small batches compare."""
    keras.utils.set_random_seed(0)
    reg = reg or knc.SparseGroupTL1(4e-3)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, activation="relu", kernel_regularizer=reg)(inputs)
    x = layers.Flatten()(x)
    x = layers.Dense(12, activation="relu", kernel_regularizer=reg)(x)
    return knc.ProximalModel(inputs, layers.Dense(3, "softmax")(x))


@pytest.mark.parametrize(
    "options",
    [
        {"clipnorm": 0.1},
        {"global_clipnorm": 0.5},
        {"clipvalue": 0.01},
        {"weight_decay": 1e-3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_clipping_and_decoupled_decay(options):
    x, y = small_data()
    model = compile_(
        classifier_without_norm(),
        keras.optimizers.SGD(0.05, momentum=0.9, **options),
    )
    losses = fit(model, 15).history["loss"]
    assert losses[-1] < losses[0]
    assert zero_count(model) > 100


def test_decoupled_decay_beside_one_of_a_penalty_is_pointed_out():
    for reg in (
        knc.GroupSparseEnvelope("50%", 1e-3),
        knc.GroupLasso(1e-3, decay=1e-3),
    ):
        model = knc.attach(make(), reg)
        with pytest.warns(UserWarning, match="is a weight decay already"):
            compile_(model, keras.optimizers.AdamW(1e-3, weight_decay=1e-2))


OPTIMIZERS = [
    name
    for name in (
        "SGD Adam AdamW Nadam Adamax RMSprop Adagrad Adadelta Adafactor "
        "Lion Lamb Muon"
    ).split()
    if hasattr(keras.optimizers, name)
]


@pytest.mark.filterwarnings("ignore:step='auto' knows")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_trains(name):
    cls = getattr(keras.optimizers, name)
    reg = knc.SparseGroupTL1(1e-3)
    model = compile_(classifier_without_norm(reg), cls(learning_rate=1e-2))
    fit(model, 3)
    assert all(np.isfinite(w).all() for w in weights_of(model))


def test_frozen_layers_are_left_alone():
    model = make()
    model.layers[1].trainable = False
    before = keras.ops.convert_to_numpy(model.layers[1].kernel).copy()
    fit(compile_(model), 3)
    np.testing.assert_array_equal(model.layers[1].kernel, before)
    # Thawed and compiled again, they are reached.
    model.layers[1].trainable = True
    fit(compile_(model), 3)
    assert np.any(keras.ops.convert_to_numpy(model.layers[1].kernel) != before)


def test_shared_layers_are_thresholded_once():
    def net(shared):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        layer = layers.Dense(6, kernel_regularizer=knc.GroupLasso(0.1))
        x = layer(inputs)
        x = layer(x) if shared else x
        model = knc.ProximalModel(inputs, x)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model, layer.kernel

    data = np.zeros((4, 6), "float32")
    for shared in (False, True):
        model, kernel = net(shared)
        start = keras.ops.convert_to_numpy(kernel).copy()
        model.fit(data, data, verbose=0)
        once = knc.GroupLasso(0.1).proximal(start, 0.1)
        np.testing.assert_allclose(kernel, once, atol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras refuses it on torch"
)
def test_steps_per_execution():
    trained = []
    for steps in (1, 5):
        model = compile_(make(), steps_per_execution=steps)
        fit(model, 4)
        trained.append(model)
    check_equal(*trained, atol=1e-5)


def test_subclassed_and_unbuilt_models():
    class Net(knc.ProximalMixin, keras.Model):
        def __init__(self):
            super().__init__()
            reg = knc.SparseGroupTL1(4e-3)
            self.flatten = layers.Flatten()
            self.hidden = layers.Dense(12, "relu", kernel_regularizer=reg)
            self.head = layers.Dense(3, "softmax", kernel_regularizer=reg)

        def call(self, x):
            return self.head(self.hidden(self.flatten(x)))

    for solver in (None, knc.solvers.VariableSplitting(beta=0.1)):
        keras.utils.set_random_seed(0)
        model = compile_(Net(), solver=solver)
        x, y = small_data()
        model.evaluate(x, y, verbose=0)
        fit(model, 15)
        assert zero_count(model) > 100
        assert model.predict(x, verbose=0).shape == (160, 3)


def test_clones_are_proximal_models():
    model = compile_(make())
    fit(model)
    clone = keras.models.clone_model(model)
    assert isinstance(clone, knc.ProximalModel)
    clone.set_weights(model.get_weights())
    x, _ = small_data()
    np.testing.assert_array_equal(
        clone.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    fit(compile_(clone))


def test_weights_and_weight_files_are_those_of_any_model(tmp_path):
    model, plain = compile_(make()), compile_(classifier(keras.Model))
    fit(model)
    assert model.count_params() == plain.count_params()
    plain.set_weights(model.get_weights())
    check_equal(model, plain)
    fit(model)
    model.save_weights(tmp_path / "a.weights.h5")
    plain.optimizer.build(plain.trainable_variables)
    plain.load_weights(tmp_path / "a.weights.h5")
    check_equal(model, plain)
    plain.save_weights(tmp_path / "b.weights.h5")
    other = compile_(make())
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "b.weights.h5")
    check_equal(model, other)


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


SOLVERS = {
    "proximal": lambda: knc.solvers.ProximalGradient(
        half_space=0.0, half_space_from=2
    ),
    "splitting": lambda: knc.solvers.VariableSplitting(beta=0.1, every=1),
    "admm": lambda: knc.solvers.ADMM(
        knc.constraints.MaxNonzero("40%"), rho=0.1, stage=2
    ),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_interrupted_and_resumed_is_uninterrupted(name, tmp_path):
    def start(*extra):
        model = compile_(
            make(),
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(0.05, 60), momentum=0.9
            ),
            solver=SOLVERS[name](),
        )
        schedule = knc.callbacks.StrengthSchedule("cosine", end=4.0)
        fit(model, 6, callbacks=[schedule, *extra])
        return model

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    whole = start()
    with pytest.raises(KeyboardInterrupt):
        start(backup(), Interrupt())
    check_equal(whole, start(backup()))
    assert zero_count(whole) > 0


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_are_saved_and_loaded_with_their_state(name, tmp_path):
    whole = compile_(make(), solver=SOLVERS[name]())
    fit(whole, 4)
    half = compile_(make(), solver=SOLVERS[name]())
    fit(half, 2, callbacks=[KeepSolving()])
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert loaded.solver.get_config() == half.solver.get_config()
    fit(loaded, 4, initial_epoch=2)
    check_equal(whole, loaded)


class KeepSolving(keras.callbacks.Callback):
    """Leaves the weights as in the middle of training."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.solver.finish = lambda model: None


@pytest.mark.parametrize("where", ["loss", "update"])
def test_a_loss_that_is_no_number_ends_training(where):
    model = compile_(make(), keras.optimizers.SGD(0.05, momentum=0.9))
    x, y = small_data()
    fit(model)
    before = weights_of(model)
    bad = x.copy()
    # In the last batch, the update alone suffers: the epoch's loss is the
    # mean over batches, so both are seen.
    bad[5 if where == "loss" else -1] = np.nan
    with pytest.warns(UserWarning, match="not finite: training stops"):
        history = model.fit(
            bad, y, batch_size=16, epochs=5, verbose=0, shuffle=False
        )
    assert len(history.history["loss"]) == 1
    for a, b in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(a, b)
    # In the very first epoch as well, when the optimizer is new.
    fresh = compile_(make())
    with pytest.warns(UserWarning, match="not finite: training stops"):
        fresh.fit(bad, y, batch_size=16, verbose=0)
    check_equal(fresh, make())
    # It goes on from there with data that are sound.
    fit(model)
    assert all(np.isfinite(w).all() for w in weights_of(model))


def test_running_averages_of_weights_are_refused():
    for inner in (False, True):
        optimizer = keras.optimizers.SGD(0.1, use_ema=True)
        if inner:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        with pytest.raises(ValueError, match="use_ema=True overwrites"):
            compile_(make(), optimizer)


def test_a_schedule_of_the_strength_is_seen_by_compiled_steps():
    # With learning rate 1 and no data gradient each step subtracts the
    # strength: the weight counts them.
    inputs = keras.Input((1,))
    outputs = layers.Dense(
        1,
        use_bias=False,
        kernel_initializer="ones",
        kernel_regularizer=knc.Elementwise(knc.penalties.L1(), 0.01),
    )(inputs)
    model = knc.ProximalModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    data = np.zeros((8, 1), "float32")
    schedule = knc.callbacks.StrengthSchedule("linear", end=2.0)
    history = model.fit(
        data, data, batch_size=2, epochs=3, verbose=0, callbacks=[schedule]
    ).history
    # Factors 0, 1/8, ..., 7/8, then 1 four times.
    (kernel,) = model.get_weights()
    assert kernel.item() == pytest.approx(1 - 0.01 * (28 / 8 + 4), abs=1e-6)
    np.testing.assert_allclose(history["strength"], [3 / 8, 7 / 8, 1.0])
    # The loss of the third epoch is the penalty at full strength.
    expected = np.mean([0.01 * (1 - 0.01 * (28 / 8 + k)) for k in range(4)])
    assert history["loss"][-1] == pytest.approx(expected, rel=1e-4)
    # Evaluation uses the strength of the moment, too.
    model.solver_state.strength.assign(0.5)
    loss = model.evaluate(data, data, verbose=0)
    assert loss == pytest.approx(0.005 * kernel.item(), rel=1e-5)


def test_regularizers_of_other_things_than_weights_are_keras():
    x = np.ones((4, 6), "float32")
    losses = []
    for cls in (knc.ProximalModel, keras.Model):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        outputs = layers.Dense(
            3, activity_regularizer=knc.GroupLasso(1.0, groups="weights")
        )(inputs)
        model = cls(inputs, outputs)
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(x, x[:, :3], epochs=3, verbose=0)
        losses.append(model.evaluate(x, x[:, :3], verbose=0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_constraints_hold_after_the_prox():
    for optimizer in (
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.optimizers.Adam(1e-2),
    ):
        model = classifier(knc.ProximalModel, knc.GroupLasso(1e-3))
        model.layers[1].kernel.constraint = keras.constraints.NonNeg()
        model.layers[5].kernel.constraint = knc.constraints.MaxActiveGroups(3)
        fit(compile_(model, optimizer), 3)
        assert keras.ops.convert_to_numpy(model.layers[1].kernel).min() >= 0
        kernel = keras.ops.convert_to_numpy(model.layers[5].kernel)
        assert kernel.any(axis=0).sum() <= 3


def test_weights_of_sixteen_bits():
    for solver in (
        knc.solvers.ProximalGradient(),
        knc.solvers.VariableSplitting(beta=0.1),
        knc.solvers.ADMM(knc.constraints.MaxNonzero("50%")),
    ):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        x = layers.Flatten()(inputs)
        x = layers.Dense(
            3, kernel_regularizer=knc.GroupLasso(1e-2), dtype="bfloat16"
        )(x)
        outputs = layers.Softmax(dtype="float32")(x)
        model = compile_(knc.ProximalModel(inputs, outputs), solver=solver)
        history = fit(model, 4).history["loss"]
        assert history[-1] < history[0]
        assert "bfloat16" in str(model.layers[2].kernel.dtype)


def test_weights_pass_from_one_solver_to_the_next(tmp_path):
    first = compile_(make(), solver=knc.solvers.VariableSplitting(beta=0.1))
    fit(first)
    first.save_weights(tmp_path / "first.weights.h5")
    second = compile_(make())
    second.optimizer.build(second.trainable_variables)
    with pytest.warns(UserWarning, match="the solver starts anew"):
        second.load_weights(tmp_path / "first.weights.h5")
    check_equal(first, second)
    fit(second)


def test_a_layer_thawed_after_compiling_must_be_compiled_again():
    model = make()
    model.layers[1].trainable = False
    compile_(model, solver=knc.solvers.VariableSplitting(beta=0.1))
    model.layers[1].trainable = True
    with pytest.raises(ValueError, match="compile it again"):
        fit(model)


def test_callbacks_may_come_in_any_form():
    x, y = small_data()
    model = compile_(make())
    stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=9.0)
    history = model.fit(x, y, 16, 5, 0, stop, 0.2)
    assert len(history.history["val_loss"]) == 2
    given = keras.callbacks.CallbackList([stop], model=model, epochs=1)
    for _ in range(2):
        model.fit(x, y, verbose=0, callbacks=given)
    assert len(given.callbacks) == 2


def test_many_learning_rates_at_once_are_refused():
    many = keras.optimizers.MultiOptimizer([(lambda v: True, "sgd")])
    with pytest.raises(ValueError, match="several learning rates"):
        compile_(make(), many)
