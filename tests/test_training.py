"""Training: fixed points, exact zeros, honest losses, saved state.

Runs on the backend of KERAS_BACKEND; `test_backends.py` runs it on JAX.
"""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import terminal


def classifier(cls, regularizer=None, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, kernel_regularizer=regularizer)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(12, activation="relu", kernel_regularizer=regularizer)(x)
    x = layers.Dense(3, activation="softmax", kernel_regularizer=regularizer)(x)
    return cls(inputs, x)


def small_data(n=160):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 8, 8, 1)) * 0.3
    x[np.arange(n), y * 2, y * 2] += 2.0
    return x.astype("float32"), y


def compile_(model, optimizer=None, **options):
    model.compile(
        optimizer or keras.optimizers.SGD(0.05, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **options,
    )
    return model


def weights_of(model):
    return [keras.ops.convert_to_numpy(w) for w in model.weights]


def test_a_scale_of_losses_that_is_there_goes_on():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    inputs = keras.Input((2,))
    model = knc.ProximalModel(inputs, layers.Dense(1)(inputs))
    model.compile(optimizer, "mse")
    # As a training does that goes on after an interruption.
    optimizer.build(model.trainable_variables)
    optimizer.dynamic_scale.assign(8.0)
    model.fit(np.ones((4, 2)), np.ones(4), batch_size=2, verbose=0)
    assert float(optimizer.dynamic_scale) == 8.0
    assert len(optimizer.variables) == len(
        {v.path for v in optimizer.variables}
    )


def test_strength_zero_is_keras_bit_for_bit():
    x, y = small_data()
    trained = []
    for cls, regularizer in (
        (keras.Model, None),
        (knc.ProximalModel, knc.SparseGroupTL1(0.0)),
    ):
        model = compile_(classifier(cls, regularizer))
        model.fit(x, y, batch_size=16, epochs=5, verbose=0, shuffle=False)
        trained.append(weights_of(model))
    for first, second in zip(*trained, strict=True):
        np.testing.assert_array_equal(first, second)


def test_logged_loss_is_data_loss_plus_penalty():
    x, y = small_data()
    reg = knc.SparseGroupTL1(1e-3, group_strength=2e-3)
    model = compile_(classifier(knc.ProximalModel, reg))
    probabilities = model.predict(x, verbose=0)
    data_loss = -np.log(probabilities[np.arange(len(y)), y]).mean()
    penalty = sum(
        float(reg(layer.kernel))
        for layer in model.layers
        if hasattr(layer, "kernel")
    )
    loss, _ = model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(data_loss + penalty, rel=1e-5)
    # And in training: the loss before the first update, BN in batch mode.
    plain = compile_(classifier(keras.Model))
    plain.set_weights(model.get_weights())
    logged = [
        m.fit(x, y, batch_size=len(x), verbose=0).history["loss"][0]
        for m in (model, plain)
    ]
    assert logged[0] == pytest.approx(logged[1] + penalty, rel=1e-5)


def test_exact_zeros_appear_and_accuracy_stays():
    x, y = small_data()
    model = compile_(classifier(knc.ProximalModel, knc.SparseGroupTL1(4e-3)))
    history = model.fit(
        x,
        y,
        batch_size=16,
        epochs=25,
        verbose=0,
        callbacks=[knc.callbacks.SparsityMonitor()],
    ).history
    found = knc.summary(model)
    assert history["zero_weights"][-1] == found.zero_weights > 0
    assert history["zero_filters"][-1] == found.zero_filters > 0
    assert history["accuracy"][-1] > 0.95


def test_saved_in_the_middle_resumes_bit_for_bit(tmp_path):
    x, y = small_data()

    def fit(model):
        model.fit(x, y, batch_size=16, epochs=2, verbose=0, shuffle=False)
        return model

    whole = fit(fit(compile_(make())))
    half = fit(compile_(make()))
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert isinstance(loaded, knc.ProximalModel)
    assert isinstance(loaded.solver, knc.solvers.ProximalGradient)
    resumed = fit(loaded)
    for a, b in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    # Without compiling, the file is a model like any other.
    bare = keras.models.load_model(tmp_path / "half.keras", compile=False)
    np.testing.assert_array_equal(
        bare.predict(x, verbose=0), half.predict(x, verbose=0)
    )


def make():
    """Its regularizer compiles fast."""
    return classifier(knc.ProximalModel, knc.SparseGroupL1(2e-3))


def test_prox_waits_for_accumulated_gradients():
    x, y = small_data(48)
    model = compile_(
        make(),
        keras.optimizers.SGD(0.05, gradient_accumulation_steps=4),
    )
    kernel = model.layers[1].kernel
    before = keras.ops.convert_to_numpy(kernel).copy()
    model.fit(x, y, batch_size=16, verbose=0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), before)
    model.fit(x[:16], y[:16], batch_size=16, verbose=0)
    assert np.any(keras.ops.convert_to_numpy(kernel) != before)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
def test_adam_waits_for_its_first_update(optimizer):
    x, y = small_data(48)
    make_optimizer = getattr(keras.optimizers, optimizer)
    model = compile_(
        make(), make_optimizer(1e-2, gradient_accumulation_steps=2)
    )
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert all(np.isfinite(w).all() for w in weights_of(model))


def test_loss_scaling_may_skip_the_first_step():
    x, y = small_data()
    model = compile_(
        make(),
        keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(1e-2), initial_scale=2.0**120
        ),
    )
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert all(np.isfinite(w).all() for w in weights_of(model))


def test_optimizers_and_solvers_are_used_again(tmp_path):
    x, y = small_data()
    solver = knc.solvers.ProximalGradient()
    first = compile_(make(), solver=solver)
    second = compile_(make(), solver=solver)
    for model in (first, second):
        model.fit(x, y, batch_size=16, verbose=0, shuffle=False)
    for a, b in zip(weights_of(first), weights_of(second), strict=True):
        np.testing.assert_array_equal(a, b)
    # Compiled again with the same optimizer, it saves and loads whole.
    first.compile(first.optimizer, "sparse_categorical_crossentropy")
    first.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for a, b in zip(
        first.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        )
    # Nor does it matter that a plain model has used the optimizer.
    plain = compile_(classifier(keras.Model))
    plain.fit(x, y, verbose=0)
    again = knc.attach(plain, "group_lasso")
    compile_(again, plain.optimizer).fit(x, y, verbose=0)


def test_nested_models_are_reached():
    inner = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, name="deep")]
    )
    inputs = keras.Input((8, 8, 1))
    x = layers.GlobalMaxPooling2D()(layers.ReLU()(inner(inputs)))
    x = layers.Dense(3, "softmax", name="head")(x)
    model = knc.attach(
        keras.Model(inputs, x), {"deep": knc.GroupLasso(0.3), "head": None}
    )
    x, y = small_data()
    history = compile_(model).fit(
        x, y, epochs=4, verbose=0, callbacks=[knc.callbacks.SparsityMonitor()]
    )
    assert history.history["zero_filters"][-1] > 0
    assert not knc.strip(model).losses


@pytest.mark.parametrize(
    "options", [{"jit_compile": True}, {"run_eagerly": True}]
)
def test_compiled_and_eager_agree(options):
    x, y = small_data(64)
    trained = []
    for chosen in ({}, options):
        model = compile_(make(), **chosen)
        model.fit(x, y, batch_size=16, epochs=3, verbose=0, shuffle=False)
        trained.append(weights_of(model))
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_mixin_for_sequential_models():
    class Mine(knc.ProximalMixin, keras.Sequential):
        pass

    x, y = small_data()
    model = compile_(
        Mine(
            [
                layers.Flatten(),
                layers.Dense(12, "relu", kernel_regularizer=knc.GroupTL1(0.01)),
                layers.Dense(3, "softmax"),
            ]
        )
    )
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)
    kernel = keras.ops.convert_to_numpy(model.layers[1].kernel)
    assert (~kernel.any(axis=0)).any()


def test_stock_model_trains_from_zero_without_nan():
    x, y = small_data()
    for name in sorted(knc.regularizers.REGISTRY):
        cls = knc.regularizers.REGISTRY[name]
        if cls in (knc.Elementwise, knc.Group, knc.SparseGroup):
            reg = cls(knc.penalties.TransformedL1(), 1e-3)
        else:
            reg = cls(strength=1e-3)
        model = compile_(classifier(keras.Model, reg))
        model.layers[1].kernel.assign(np.zeros((3, 3, 1, 6)))
        model.fit(x, y, batch_size=40, verbose=0)
        assert all(np.isfinite(w).all() for w in weights_of(model)), name


def test_freeze_keeps_zeros_and_trains_the_rest():
    x, y = small_data()
    model = compile_(classifier(keras.Model))
    kernel = model.layers[1].kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[0] = 0
    kernel.assign(values)
    model.fit(x, y, batch_size=40, verbose=0)
    assert keras.ops.convert_to_numpy(kernel)[0].any()
    kernel.assign(values)
    model.fit(
        x, y, batch_size=40, verbose=0, callbacks=[knc.callbacks.Freeze()]
    )
    after = keras.ops.convert_to_numpy(kernel)
    assert not after[0].any()
    assert np.any(after[1:] != values[1:])
    assert kernel.constraint is None
    model.fit(x, y, batch_size=40, verbose=0)
    assert keras.ops.convert_to_numpy(kernel)[0].any()


def test_refused_with_a_sentence():
    with pytest.raises(ValueError, match="use_ema=True overwrites"):
        compile_(make(), keras.optimizers.SGD(0.1, use_ema=True))
    with pytest.raises(ValueError, match="`solver` must be"):
        compile_(make(), solver="proximal")
    with pytest.raises(ValueError, match="`step` must be"):
        knc.solvers.ProximalGradient(step="lr")
    inputs = keras.Input((8, 8, 2))
    x = layers.DepthwiseConv2D(3, name="d", depthwise_regularizer=None)(inputs)
    x = layers.Conv2DTranspose(
        3, 3, kernel_regularizer=knc.GroupLasso(1e-3), name="t"
    )(x)
    with pytest.raises(ValueError, match=r"groups=\(0, 1, 3\)"):
        knc.ProximalModel(inputs, x).compile("sgd", "mse")


def test_warns_where_the_strength_means_something_else():
    with pytest.warns(UserWarning, match="weaker than the logged loss"):
        compile_(
            make(),
            "adam",
            solver=knc.solvers.ProximalGradient("learning_rate"),
        )
    with pytest.warns(UserWarning, match="knows SGD, AdamW, Adam"):
        compile_(make(), "lion")


def test_a_slow_first_step_says_what_goes_on(capsys, monkeypatch):
    at_once = functools.partial(terminal.when_slow, seconds=0.0)
    monkeypatch.setattr(terminal, "when_slow", at_once)
    x, y = small_data(32)
    for verbose, says in ((2, True), (0, False)):
        model = classifier(knc.ProximalModel, knc.GroupLasso(1e-3))
        compile_(model)
        model.fit(x, y, verbose=verbose)
        printed = capsys.readouterr().out
        assert ("(3 weights have a penalty)" in printed) == says


def test_a_first_step_in_time_says_nothing(capsys):
    with terminal.when_slow("slow", seconds=60.0) as stepped:
        stepped()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "make",
    [
        lambda: knc.solvers.ProximalGradient(),
        lambda: knc.solvers.VariableSplitting(beta=0.5, return_="W"),
    ],
    ids=["ProximalGradient", "VariableSplitting"],
)
def test_compiling_again_with_the_same_optimizer_changes_nothing(make):
    x, y = small_data(64)
    weights = []
    for again in (False, True):
        model = classifier(knc.ProximalModel, knc.SparseGroupL1(2e-3))
        compile_(model, solver=make())
        options = {"batch_size": 32, "shuffle": False, "verbose": 0}
        model.fit(x, y, epochs=5, **options)
        model.solver_state.strength.assign(2.0)
        if again:
            compile_(model, model.optimizer, solver=make())
            assert float(model.solver_state.strength) == 2.0
        model.fit(x, y, epochs=2, **options)
        weights.append([np.array(w) for w in model.get_weights()])
    for once, twice in zip(*weights, strict=True):
        np.testing.assert_array_equal(once, twice)


def test_another_optimizer_or_solver_starts_anew():
    for optimizer, solver in (
        (keras.optimizers.SGD(0.05, momentum=0.9), None),
        (None, knc.solvers.ProximalGradient(half_space=0.5)),
    ):
        model = classifier(knc.ProximalModel, knc.GroupLasso(1e-3))
        compile_(model)
        model.solver_state.strength.assign(2.0)
        compile_(model, optimizer or model.optimizer, solver=solver)
        assert float(model.solver_state.strength) == 1.0


def test_batches_one_by_one_are_trained_as_by_fit():
    """The half-space step included, which no epoch ever switches on."""
    x, y = small_data(64)
    weights = []
    for by_batches in (False, True):
        model = classifier(knc.ProximalModel, knc.GroupLasso(2e-2))
        solver = knc.solvers.ProximalGradient(half_space=0.95)
        compile_(model, keras.optimizers.Adam(0.02), solver=solver)
        if by_batches:
            for start in [*range(0, 64, 16)] * 4:
                batch = slice(start, start + 16)
                model.train_on_batch(x[batch], y[batch])
        else:
            options = {"epochs": 4, "shuffle": False, "verbose": 0}
            model.fit(x, y, batch_size=16, **options)
        weights.append([np.array(w) for w in model.get_weights()])
    assert any((w == 0).any() for w in weights[0])
    for fitted, batched in zip(*weights, strict=True):
        np.testing.assert_array_equal(fitted, batched)
