"""What every solver must do, whatever else it does.

`CASES` says how each solver of the package is made and what it promises; a
new solver adds one entry. `test_solvers.py` runs `Battery` on all of them,
`test_docs.py` on the solver of `docs/add-a-solver.md`.
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)

REGULARIZERS = {
    "l1": lambda: knc.Elementwise(knc.penalties.L1(), 0.3),
    "group_lasso": lambda: knc.GroupLasso(0.6),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A solver, how it is trained here, and what it promises.

    The battery minimises ||W - W0||^2 / 2 + regularizer(W) with plain SGD, on
    all of the data in every update.

    Attributes:
        make: A function without arguments that makes the solver.
        answer: A function of (regularizer, W0) that gives the weights after
            training, in closed form.
        zeros: When the weights have exact zeros: `"in training"`, after every
            update; `"after fit"`; or `"never"`.
        refused: Functions without arguments, each of which does something
            that the solver must refuse.
        regularizers: Names of `REGULARIZERS`; none for a solver that leaves
            the penalties alone.
        rate: The learning rate.
        updates: The updates per epoch.
        epochs: The epochs.
        atol: How close the weights come to the answer.
    """

    make: Callable
    answer: Callable
    zeros: str
    refused: tuple = ()
    regularizers: tuple = tuple(REGULARIZERS)
    rate: float = 0.3
    updates: int = 200
    epochs: int = 1
    atol: float = 1e-6


def adam_without_a_metric():
    model, *_ = least_squares(None)
    solver = knc.solvers.ProximalGradient("preconditioned")
    model.compile(keras.optimizers.SGD(0.1), "mse", solver=solver)


def splitting_of_nothing():
    model, *_ = least_squares(None)
    model.compile("sgd", "mse", solver=knc.solvers.VariableSplitting())


def admm_of_a_missing_layer():
    model, *_ = least_squares(None)
    solver = knc.solvers.ADMM({"conv*": knc.constraints.MaxNonzero(3)})
    model.compile("sgd", "mse", solver=solver)


CASES = {
    "ProximalGradient": Case(
        make=lambda: knc.solvers.ProximalGradient(half_space_from=3),
        answer=lambda reg, w0: reg.proximal(w0, 1.0),
        zeros="in training",
        refused=(
            adam_without_a_metric,
            lambda: knc.solvers.ProximalGradient("lr"),
        ),
    ),
    # Without W, the problem is min r(V) + beta / (1 + beta) ||V - W0||^2 / 2.
    "VariableSplitting": Case(
        make=lambda: knc.solvers.VariableSplitting(beta=2.0, every=100),
        answer=lambda reg, w0: reg.proximal(w0, 1.0 + 1.0 / 2.0),
        zeros="after fit",
        refused=(
            splitting_of_nothing,
            lambda: knc.solvers.VariableSplitting(beta=0.0),
        ),
        rate=0.2,
    ),
    # The same problem as that of the splitting.
    "ProximalSlimming": Case(
        make=lambda: knc.solvers.ProximalSlimming(beta=2.0),
        answer=lambda reg, w0: reg.proximal(w0, 1.0 + 1.0 / 2.0),
        zeros="after fit",
        refused=(lambda: knc.solvers.ProximalSlimming(beta=0.0),),
    ),
    "ADMM": Case(
        make=lambda: knc.solvers.ADMM(
            knc.constraints.MaxNonzero(7), rho=2.0, stage=100
        ),
        answer=lambda reg, w0: knc.constraints.MaxNonzero(7)(w0),
        zeros="after fit",
        refused=(admm_of_a_missing_layer, lambda: knc.solvers.ADMM(7)),
        regularizers=(),
        updates=30,
        epochs=40,
    ),
    # It swings around the answer by at most rate * strength * sqrt(size).
    "Subgradient": Case(
        make=knc.solvers.Subgradient,
        answer=lambda reg, w0: reg.proximal(w0, 1.0),
        zeros="never",
        rate=0.01,
        updates=800,
        atol=0.02,
    ),
}


def least_squares(regularizer, seed=0, shape=(6, 4), cls=knc.ProximalModel):
    """A model whose loss is ||W - W0||^2 / 2 + penalty(W).

    Its minimiser is the prox of the penalty at W0 with step 1.
    """
    rng = np.random.default_rng(seed)
    w0 = rng.normal(size=shape)
    # A group that goes.
    w0[:, -1] *= 0.1
    n, k = shape
    x = np.linalg.qr(rng.normal(size=(n, n)))[0] * np.sqrt(n * k / 2)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((n,))
    outputs = layers.Dense(k, use_bias=False, kernel_regularizer=regularizer)(
        inputs
    )
    return cls(inputs, outputs), x, x @ w0, w0


def fit_full_batches(model, x, y, updates, **options):
    """Trains with `updates` updates per epoch, each on all of the data."""
    tiled = [np.tile(array, (updates, 1)) for array in (x, y)]
    return model.fit(
        *tiled, batch_size=len(x), verbose=0, shuffle=False, **options
    )


def kernel_of(model):
    return keras.ops.convert_to_numpy(model.layers[-1].kernel)


def state_of(model):
    """Copies of all that training changes, the solver's variables too."""
    variables = [*model.trainable_variables, *model.solver_state.variables]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def compiled(case, regularizer="first", **options):
    """A compiled least-squares model, and its data."""
    if regularizer == "first":
        regularizer = next(iter(case.regularizers), None)
    reg = regularizer and REGULARIZERS[regularizer]()
    model, x, y, w0 = least_squares(reg)
    optimizer = keras.optimizers.SGD(case.rate, **options)
    model.compile(optimizer, "mse", solver=case.make())
    optimizer.build(model.trainable_variables)
    return model, reg, x, y, w0


class Battery:
    """The tests. A subclass in a test module gives them a fixture `case`."""

    @pytest.fixture(autouse=True)
    def double_precision(self):
        """Closed forms are reached to 1e-6, which float32 hardly holds."""
        for name in ("float64", "float32"):
            keras.config.set_floatx(name)
            keras.config.set_dtype_policy(name)
            if name == "float64":
                yield

    def test_the_answer_is_reached(self, case):
        for name in case.regularizers or (None,):
            model, reg, x, y, w0 = compiled(case, name)
            fit_full_batches(model, x, y, case.updates, epochs=case.epochs)
            found = kernel_of(model)
            answer = keras.ops.convert_to_numpy(case.answer(reg, w0))
            np.testing.assert_allclose(found, answer, atol=case.atol)
            assert (answer == 0).any() and (answer != 0).any()
            if case.zeros == "never":
                assert (found != 0).all()
            else:
                np.testing.assert_array_equal(found == 0, answer == 0)

    def test_the_strength_may_change_in_training(self, case):
        if not case.regularizers:
            pytest.skip("it leaves the penalties alone")
        model, _, x, y, w0 = compiled(case)
        fit_full_batches(model, x, y, 3)
        model.solver_state.strength.assign(0.0)
        fit_full_batches(model, x, y, case.updates, epochs=case.epochs)
        atol = max(case.atol, 1e-3)
        np.testing.assert_allclose(kernel_of(model), w0, atol=atol)

    def test_strength_zero_is_keras(self, case):
        if not case.regularizers:
            pytest.skip("it leaves the penalties alone")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(64, 6, 6, 2)), rng.integers(0, 3, 64)
        trained = []
        for cls in (keras.Model, knc.ProximalModel):
            ours = cls is knc.ProximalModel
            reg = knc.GroupLasso(0.0) if ours else None
            keras.utils.set_random_seed(0)
            inputs = keras.Input((6, 6, 2))
            h = layers.Conv2D(4, 3, kernel_regularizer=reg)(inputs)
            h = layers.ReLU()(layers.BatchNormalization()(h))
            h = layers.Flatten()(h)
            model = cls(inputs, layers.Dense(3, kernel_regularizer=reg)(h))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            options = {"solver": case.make()} if ours else {}
            model.compile(keras.optimizers.SGD(0.1), loss, **options)
            model.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
            trained.append([np.array(w) for w in model.get_weights()])
        # JAX compiles each step whole: these are two programs, and XLA may
        # round a sum of one differently.
        slack = 1e-12 if keras.backend.backend() == "jax" else 0.0
        for stock, ours in zip(*trained, strict=True):
            np.testing.assert_allclose(ours, stock, rtol=slack, atol=slack)

    def test_the_log_shows_data_loss_plus_penalty(self, case):
        model, reg, x, y, w0 = compiled(case)
        for _ in range(4):
            w = np.array(kernel_of(model))
            logged = model.train_on_batch(x, y)
        penalty = 0.0 if reg is None else float(reg(w))
        loss = np.square(w - w0).sum() / 2 + penalty
        assert float(logged) == pytest.approx(loss, rel=1e-6)

    def test_it_waits_for_accumulated_gradients(self, case):
        model, _, x, y, _ = compiled(case, gradient_accumulation_steps=12)
        start = np.array(kernel_of(model))
        for _ in range(11):
            model.train_on_batch(x, y)
            np.testing.assert_array_equal(kernel_of(model), start)
        model.train_on_batch(x, y)
        assert (kernel_of(model) != start).any()

    def test_a_look_at_the_finished_weights_changes_nothing(self, case):
        model, _, x, y, _ = compiled(case)
        fit_full_batches(model, x, y, 20, epochs=2)
        for _ in range(3):
            model.train_on_batch(x, y)
        before = state_of(model)
        with model.solver.finished(model):
            assert (kernel_of(model) == 0).any() == (case.zeros != "never")
        for old, new in zip(before, state_of(model), strict=True):
            np.testing.assert_array_equal(old, new)
        if case.zeros == "in training":
            assert (kernel_of(model) == 0).any()

    def test_saved_in_the_middle_it_goes_on_the_same(self, case, tmp_path):
        # The checkpoint is written before `fit` ends, so without `finish`.
        model, _, x, y, _ = compiled(case)
        save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
        fit_full_batches(model, x, y, 7, epochs=4, callbacks=[save])
        resumed = keras.models.load_model(tmp_path / "2.keras")
        assert type(resumed.solver) is type(model.solver)
        fit_full_batches(resumed, x, y, 7, epochs=4, initial_epoch=2)
        for whole, part in zip(state_of(model), state_of(resumed), strict=True):
            np.testing.assert_array_equal(whole, part)

    def test_its_config_is_complete(self, case):
        solver = case.make()
        config = solver.get_config()
        assert set(config) == set(inspect.signature(type(solver)).parameters)
        text = json.dumps(keras.saving.serialize_keras_object(solver))
        again = keras.saving.deserialize_keras_object(json.loads(text))
        assert type(again) is type(solver)
        assert again.get_config() == config
        assert repr(again) == repr(solver)

    def test_what_it_cannot_do_it_refuses_in_a_sentence(self, case):
        def averaged():
            model, *_ = least_squares(REGULARIZERS["l1"]())
            averaging = keras.optimizers.SGD(0.1, use_ema=True)
            model.compile(averaging, "mse", solver=case.make())

        def coupled():
            keras.utils.set_random_seed(0)
            inputs = keras.Input((6,))
            hidden = layers.Dense(4, activation="relu")(inputs)
            reg = REGULARIZERS["l1"]()
            outputs = layers.Dense(2, kernel_regularizer=reg)(hidden)
            model = knc.ProximalModel(inputs, outputs)
            groups = knc.CoupledGroups(model, knc.penalties.L1(), 1e-3)
            model.compile("sgd", "mse", solver=case.make(), coupled=groups)

        refused = list(case.refused)
        if case.zeros != "never":
            refused.append(averaged)
        if case.make().couples:
            coupled()
        else:
            refused.append(coupled)
        for attempt in refused:
            with pytest.raises(ValueError) as caught:
                attempt()
            assert re.match(r".+[.:)] Received: \w+=", str(caught.value))
