"""Envelopes in training: exactly k at the end, schedules of k, half-space."""

import types

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from test_envelope import REGIMES
from test_envelope import M
from test_envelope import kernels
from test_envelope import make

import keras_nonconvex as knc
from keras_nonconvex import experiments
from keras_nonconvex.solvers import ProximalGradient
from keras_nonconvex.solvers import half_space
from keras_nonconvex.tensors import largest

PATTERNS = {
    "filters": 3,
    "input_channels": "50%",
    "positions": 4,
    "kernels": "30%",
    "weights": 2.5,
}


def model_of(strength=0.05, solver=None, **options):
    """A convolution for each group pattern."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((5, 5, 2))
    for groups, k in PATTERNS.items():
        reg = knc.GroupSparseEnvelope(k, strength, groups, **options)
        x = layers.Conv2D(
            6, 3, padding="same", kernel_regularizer=reg, name=groups
        )(x)
    model = knc.ProximalModel(inputs, layers.GlobalAveragePooling2D()(x))
    model.compile(keras.optimizers.SGD(0.01), "mse", solver=solver)
    return model


def data(n=64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 5, 5, 2)), rng.normal(size=(n, 6))


def norms(model):
    found = {}
    for groups in PATTERNS:
        kernel = ops.convert_to_numpy(model.get_layer(groups).kernel)
        axes = knc.GroupSparseEnvelope(groups=groups).group_axes(4)
        found[groups] = np.sqrt((kernel**2).sum(axis=axes)).ravel()
    return found


def wanted(groups, total):
    k = PATTERNS[groups]
    if isinstance(k, str):
        k = float(k[:-1]) * total / 100.0
    return int(np.floor(k))


@pytest.mark.parametrize(
    "solver", [None, knc.solvers.VariableSplitting(beta=1e4)], ids=str
)
def test_training_ends_with_exactly_k_groups_in_every_kernel(solver):
    model = model_of(solver=solver)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(norms(model))
    )
    model.fit(*data(), batch_size=16, epochs=1, verbose=0, callbacks=[watch])
    for groups, found in norms(model).items():
        k = wanted(groups, len(found))
        assert np.count_nonzero(found) == k
        assert np.count_nonzero(seen[0][groups]) > k
        # Those of the largest norm.
        order = np.argsort(-seen[0][groups])[:k]
        np.testing.assert_array_equal(np.flatnonzero(found), np.sort(order))


def test_experiments_count_the_groups_that_live():
    model = model_of(solver=ProximalGradient())
    seen = experiments.Living("filters")
    seen.set_model(model)
    for i, layer in enumerate(experiments.convolutions(model)):
        layer.kernel.assign(layer.kernel * (np.arange(6) > i))
    seen.on_epoch_end(0)
    np.testing.assert_array_equal(seen.found, [[5, 4, 3, 2, 1], [6] * 5])
    # A kernel of 6 input channels.
    assert experiments.living(model, "input_channels")[1].tolist() == [
        2,
        *[6] * 4,
    ]


def test_an_envelope_of_strength_0_leaves_all_groups():
    model = model_of()
    schedule = knc.callbacks.StrengthSchedule(start=0.0, stop=0.0)
    model.fit(*data(16), verbose=0, callbacks=[schedule])
    assert all(found.all() for found in norms(model).values())


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("k, weights", REGIMES)
def test_a_moment_of_the_schedule_is_an_envelope_of_another_k(
    k, weights, debiased
):
    reg = make(k, 0.7, group_weights=weights, debiased=debiased)
    spare = ops.convert_to_tensor(0.4, "float64")
    now = reg.at(1.0, spare)
    then = make(
        k + 0.4 * (M - k), 0.7, group_weights=weights, debiased=debiased
    )
    for w in list(kernels())[:3]:
        for step in (0.3, 4.0):
            np.testing.assert_allclose(
                now.proximal(w, step), then.proximal(w, step), atol=1e-9
            )
        assert float(now.value(w)) == pytest.approx(float(then.value(w)))
    assert int(now.floor(M)) == then.floor(M)
    # What training ends with knows no schedule.
    alive = ops.convert_to_numpy(reg.last(w)).any(axis=0)
    assert alive.sum() == max(int(min(k, M)), 1)


def test_the_largest_of_a_number_that_is_a_tensor():
    scores = np.array([3.0, 1.0, 3.0, 2.0, 3.0])
    for k in range(6):
        expected = np.array([2, 0, 2, 1, 2]) + 0.0
        mask = ops.convert_to_numpy(
            largest(ops.convert_to_tensor(scores), ops.convert_to_tensor(k))
        )
        first = np.argsort(-expected, kind="stable")[:k]
        np.testing.assert_array_equal(np.flatnonzero(mask), np.sort(first))


def test_k_falls_to_what_was_given():
    model = model_of(0.5)
    spare, alive = [], []

    def look(batch, logs):
        spare.append(float(model.solver_state.spare))
        alive.append(np.count_nonzero(norms(model)["filters"]))

    logs = model.fit(
        *data(48),
        batch_size=16,
        epochs=2,
        verbose=0,
        callbacks=[
            knc.callbacks.CountSchedule("linear", end=1.5),
            keras.callbacks.LambdaCallback(on_train_batch_end=look),
        ],
    ).history
    times = np.minimum(np.arange(6) / 3.0 / 1.5, 1.0)
    np.testing.assert_allclose(spare, 1.0 - times, atol=1e-6)
    assert logs["spare"] == pytest.approx([spare[2], spare[5]])
    # No group is pushed out before its time: k + spare (m - k) stay.
    assert alive[0] == 6
    assert all(a >= int(3 + s * 3) for a, s in zip(alive, spare, strict=True))


def test_a_schedule_of_k_needs_an_envelope():
    inputs = keras.Input((2,))
    model = knc.ProximalModel(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="CountSchedule needs.*Received"):
        model.fit(
            np.ones((2, 2)),
            np.ones((2, 1)),
            verbose=0,
            callbacks=[knc.callbacks.CountSchedule()],
        )


def test_the_k_of_coupled_classes_falls_too():
    inputs = keras.Input((4,))
    x = layers.Dense(8, activation="tanh")(inputs)
    model = knc.ProximalModel(inputs, layers.Dense(2)(x))
    model.compile("sgd", "mse", coupled=knc.CoupledEnvelope(model, 3, 0.3))
    coupled = model.coupled
    values = [ops.convert_to_tensor(v) for v in coupled.variables]
    then = knc.CoupledEnvelope(model, 3 + 0.5 * 5, 0.3)
    pairs = zip(
        coupled.proximal(values, 2.0, 1.0, 0.5),
        then.proximal(values, 2.0),
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=1e-6)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 4)), rng.normal(size=(32, 2))
    schedule = knc.callbacks.CountSchedule()
    model.fit(x, y, epochs=2, verbose=0, callbacks=[schedule])
    alive = ops.convert_to_numpy(coupled.norms(coupled.variables)) > 0
    assert alive.sum() == 3


# ---- the half-space step


def test_groups_revive_where_they_may():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, 3, 6))
    old[:, 1], new[:, 2], old[:, 4], new[:, 4] = 0, 0, 0, 0
    ratio = (new * old).sum(0) / np.where(old.any(0), (old**2).sum(0), 1)
    for revive in (False, True):
        found = half_space.alive(
            new, old, knc.GroupLasso(1.0), 0.1, 0.3, 1, revive
        )
        expected = (ratio >= 0.3) & old.any(axis=0) & new.any(axis=0)
        expected[1] = revive
        if not (expected & old.any(axis=0)).any():
            expected[
                np.argmax(np.where(old.any(0) & new.any(0), ratio, -9))
            ] = 1
        np.testing.assert_array_equal(ops.convert_to_numpy(found)[0], expected)


def test_frozen_groups_take_no_place_from_the_k_that_live():
    """Where a zero group moves further than a living one, k still live."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    reg = knc.GroupSparseEnvelope(2, 5.0, debiased=True)
    dense = layers.Dense(4, use_bias=False, kernel_regularizer=reg)
    model = knc.ProximalModel(inputs, dense(inputs))
    for revive, alive in ((False, [0, 1]), (True, [0, 3])):
        model.compile(
            keras.optimizers.SGD(1.0),
            "mse",
            solver=ProximalGradient(half_space=0.0, revive=revive),
        )
        dense.kernel.assign(np.eye(4) * [3.0, 0.1, 0.0, 0.0])
        # The last group is pulled most.
        y = np.eye(4) * [3.0, 0.1, 0.0, 9.0]
        model.train_on_batch(np.eye(4), y)
        kernel = ops.convert_to_numpy(dense.kernel)
        np.testing.assert_array_equal(np.flatnonzero(kernel.any(0)), alive)


def test_epsilon_grows_while_sparsity_does_not():
    model = model_of(
        solver=ProximalGradient(half_space=0.8, half_space_growth=0.1)
    )
    solver, state = model.solver, model.solver_state
    seen = []
    for epoch in range(6):
        if epoch == 2:
            # More than a hundredth of all groups: the single weights.
            kernel = model.get_layer("weights").kernel
            kernel.assign(kernel * (np.arange(6) > 2))
        solver.begin_epoch(model, epoch)
        seen.append(float(state.epsilon))
    np.testing.assert_allclose(
        seen, [0.8, 0.9, 0.9, 0.999, 0.999, 0.999], atol=1e-6
    )
    # It is the epsilon of the step.
    assert float(half_space.epsilon(state, 0.8)) == pytest.approx(0.999)
    fixed = types.SimpleNamespace()
    assert half_space.epsilon(fixed, 0.8) == 0.8
    assert (
        type(solver).from_config(solver.get_config()).half_space_growth == 0.1
    )
