"""The step that the prox sees, update by update, against plain numpy.

`test_solvers.py` has the fixed points that follow from it.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from keras import optimizers

import keras_nonconvex as knc
from keras_nonconvex.solvers import step_size


@pytest.fixture(autouse=True)
def float64():
    for name in ("float64", "float32"):
        keras.config.set_floatx(name)
        keras.config.set_dtype_policy(name)
        if name == "float64":
            yield


# ---- the optimizers: each update's direction and metric, by their papers.
# An update is w - direction / metric.


def adam(gradients, lrs, beta_1=0.9, beta_2=0.95, epsilon=1e-3, highest=False):
    m = v = most = 0.0
    for t, (g, lr) in enumerate(zip(gradients, lrs, strict=False), 1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        most = np.maximum(most, v)
        rate = lr * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        yield m, (np.sqrt(most if highest else v) + epsilon) / rate


def nadam(gradients, lrs, beta_1=0.9, beta_2=0.95, epsilon=1e-3):
    def share(t):
        return beta_1 * (1 - 0.5 * 0.96**t)

    m, v, product = 0.0, 0.0, 1.0
    for t, (g, lr) in enumerate(zip(gradients, lrs, strict=False), 1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        product *= share(t)
        ahead = share(t + 1) * m / (1 - product * share(t + 1))
        direction = ahead + (1 - share(t)) * g / (1 - product)
        yield direction, (np.sqrt(v / (1 - beta_2**t)) + epsilon) / lr


def adamax(gradients, lrs, beta_1=0.9, beta_2=0.95, epsilon=1e-3):
    m = u = 0.0
    for t, (g, lr) in enumerate(zip(gradients, lrs, strict=False), 1):
        m = beta_1 * m + (1 - beta_1) * g
        u = np.maximum(beta_2 * u, np.abs(g))
        yield m, (u + epsilon) * (1 - beta_1**t) / lr


def rmsprop(gradients, lrs, rho=0.8, epsilon=1e-3, centered=False):
    v = mean = 0.0
    for g, lr in zip(gradients, lrs, strict=False):
        v = rho * v + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        yield g, np.sqrt(v - centered * mean**2 + epsilon) / lr


def adagrad(gradients, lrs, start=0.1, epsilon=1e-3):
    total = start
    for g, lr in zip(gradients, lrs, strict=False):
        total = total + g**2
        yield g, np.sqrt(total + epsilon) / lr


BETAS = {"beta_1": 0.9, "beta_2": 0.95, "epsilon": 1e-3}
ADAPTIVE = {
    "adam": (lambda lr: optimizers.Adam(lr, **BETAS), adam),
    "adamw": (
        lambda lr: optimizers.AdamW(lr, weight_decay=0.0, **BETAS),
        adam,
    ),
    "amsgrad": (
        lambda lr: optimizers.Adam(lr, amsgrad=True, **BETAS),
        lambda g, lrs: adam(g, lrs, highest=True),
    ),
    "nadam": (lambda lr: optimizers.Nadam(lr, **BETAS), nadam),
    "adamax": (lambda lr: optimizers.Adamax(lr, **BETAS), adamax),
    "rmsprop": (
        lambda lr: optimizers.RMSprop(lr, rho=0.8, epsilon=1e-3),
        rmsprop,
    ),
    "centered": (
        lambda lr: optimizers.RMSprop(lr, rho=0.8, epsilon=1e-3, centered=True),
        lambda g, lrs: rmsprop(g, lrs, centered=True),
    ),
    "adagrad": (lambda lr: optimizers.Adagrad(lr, epsilon=1e-3), adagrad),
    "scaled": (
        lambda lr: optimizers.LossScaleOptimizer(
            optimizers.Adam(lr, **BETAS), initial_scale=1.0
        ),
        adam,
    ),
}
# A rate that falls; the metric has that of its own update.
DECAY = 0.7
RATES = [0.05 * DECAY**t for t in range(10)]
UPDATES = (1, 2, 10)


def schedule():
    return optimizers.schedules.ExponentialDecay(0.05, 1, DECAY)


def gradients_of(shape, count=10):
    """Different ones each time, over decades, with zeros."""
    rng = np.random.default_rng(0)
    found = rng.normal(size=(count, *shape))
    found *= 10.0 ** rng.uniform(-4, 1, shape)
    found[:, 0, 0] = 0.0
    found[:3, 1, 1] = 0.0
    return found


def model_of(regularizer, shape):
    inputs = keras.Input(shape[:1])
    dense = layers.Dense(
        shape[1], use_bias=False, kernel_regularizer=regularizer
    )
    model = knc.ProximalModel(inputs, dense(inputs))
    w = np.random.default_rng(1).normal(size=shape)
    w[0, 0] = 1e-3  # Goes at once: its gradient is zero.
    dense.kernel.assign(w)
    return model, dense.kernel


def read(variable):
    return keras.ops.convert_to_numpy(variable).copy()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_metric_is_the_optimizers_own_at_updates_1_2_and_10(name):
    make, simulate = ADAPTIVE[name]
    gradients, optimizer = gradients_of((4, 3)), make(schedule())
    variable = keras.Variable(np.ones((4, 3)), dtype="float64")
    optimizer.build([variable])
    for t, (direction, metric) in enumerate(simulate(gradients, RATES), 1):
        before, lr = read(variable), RATES[t - 1]
        optimizer.apply([gradients[t - 1]], [variable])
        # The simulation is what Keras does.
        np.testing.assert_allclose(
            before - read(variable), direction / metric, rtol=1e-5, atol=1e-12
        )
        if t in UPDATES:
            found = step_size.weight_metric(optimizer, variable, lr, "float64")
            np.testing.assert_allclose(read(found), metric, rtol=1e-5)


def updated(name, regularizer):
    """Trains one kernel on given gradients.

    Returns:
        Its first value, and an iterator over the updates: the kernel after
        one, and the direction and metric that the optimizer took in it.
    """
    make, simulate = ADAPTIVE[name]
    model, kernel = model_of(regularizer, (4, 3))
    model.compile(make(schedule()), "mse")
    model.optimizer.build([kernel])
    gradients = gradients_of((4, 3))

    def updates():
        for gradient, (direction, metric) in zip(
            gradients, simulate(gradients, RATES), strict=True
        ):
            before = model.solver.before_update(model)
            model.optimizer.apply([gradient], [kernel])
            model.solver.after_update(model, before)
            yield read(kernel), direction, metric

    return read(kernel), updates()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_single_weights_get_the_prox_at_1_over_metric(name):
    """w <- soft(w - direction / metric, strength / metric)."""
    w, updates = updated(name, knc.Elementwise(knc.penalties.L1(), 0.03))
    for kernel, direction, metric in updates:
        w = w - direction / metric
        w = np.sign(w) * np.maximum(np.abs(w) - 0.03 / metric, 0)
        np.testing.assert_allclose(kernel, w, rtol=1e-5, atol=1e-9)
    assert (w == 0).any() and (w != 0).any()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_groups_move_and_shrink_by_1_over_their_mean_metric(name):
    w, updates = updated(name, knc.GroupLasso(0.3, group_weights=None))
    for kernel, direction, metric in updates:
        step = 1 / metric.mean(axis=0)
        w = w - step * direction
        norm = np.linalg.norm(w, axis=0)
        w = w * np.maximum(1 - 0.3 * step / norm, 0)
        np.testing.assert_allclose(kernel, w, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_has_the_step_that_its_momentum_carries(momentum, nesterov):
    """s <- momentum s + lr, which ends at lr / (1 - momentum)."""
    reg = knc.Elementwise(knc.penalties.L1(), 0.02)
    for lr, rates in ((schedule(), RATES), (0.05, [0.05] * 10)):
        model, kernel = model_of(reg, (4, 3))
        optimizer = optimizers.SGD(lr, momentum, nesterov=nesterov)
        model.compile(optimizer, "mse")
        optimizer.build([kernel])
        w, velocity, step = read(kernel), 0.0, 0.0
        for g, rate in zip(gradients_of((4, 3)), rates, strict=True):
            before = model.solver.before_update(model)
            optimizer.apply([g], [kernel])
            model.solver.after_update(model, before)
            velocity = momentum * velocity - rate * g
            ahead = nesterov and momentum > 0
            w = w + (momentum * velocity - rate * g if ahead else velocity)
            step = momentum * step + rate
            w = np.sign(w) * np.maximum(np.abs(w) - 0.02 * step, 0)
            np.testing.assert_allclose(read(kernel), w, rtol=1e-5, atol=1e-9)
    assert step == pytest.approx(0.05 * (1 - momentum**10) / (1 - momentum))


def test_momentum_of_rmsprop_lengthens_the_step():
    """By 1 / (1 - momentum): what a constant gradient is multiplied by."""
    moves = []
    for momentum in (0.0, 0.5):
        optimizer = optimizers.RMSprop(0.05, 0.5, momentum, epsilon=1e-3)
        variable = keras.Variable(np.zeros((2,)), dtype="float64")
        optimizer.build([variable])
        for _ in range(40):
            before = read(variable)
            optimizer.apply([np.array([0.3, 2.0])], [variable])
        metric = step_size.weight_metric(optimizer, variable, 0.05, "float64")
        moves.append(np.array([0.3, 2.0]) / read(metric))
        np.testing.assert_allclose(
            before - read(variable), moves[-1], rtol=1e-5
        )
    np.testing.assert_allclose(moves[1], 2 * moves[0], rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamax", "nadam"])
def test_nothing_moves_before_the_first_real_update(name):
    """A metric at rate 0 is infinite, and the count of updates is 0."""
    optimizer = ADAPTIVE[name][0](0.1)
    variable = keras.Variable(np.ones((4, 3)), dtype="float64")
    optimizer.build([variable])
    zero = keras.ops.zeros((), "float64")
    for axes in ((), (0,)):
        point, step = step_size.point_and_step(
            optimizer, variable, read(variable), variable.value, zero, axes
        )
        np.testing.assert_array_equal(read(point), np.ones((4, 3)))
        assert not read(step).any()


@pytest.mark.parametrize(
    "optimizer, momentum",
    [
        (optimizers.SGD(0.1), 0.0),
        (optimizers.SGD(0.1, momentum=0.8), 0.8),
        (optimizers.RMSprop(0.1, momentum=0.8), 0.0),
        (optimizers.Adam(0.1), 0.0),
    ],
)
def test_which_momentum_carries_gradients(optimizer, momentum):
    assert step_size.momentum(optimizer) == momentum
    scaled = optimizers.LossScaleOptimizer(optimizer)
    assert step_size.momentum(scaled) == momentum
    has_metric = not isinstance(optimizer, optimizers.SGD)
    for outer in (optimizer, scaled):
        assert (step_size.metric_of(outer) is not None) == has_metric


def test_every_metric_is_tested():
    tested = {step_size.metric_of(make(0.1)) for make, _ in ADAPTIVE.values()}
    assert tested == set(step_size.METRICS.values())
    kinds = itertools.chain(step_size.METRICS, [optimizers.AdamW])
    assert all(step_size.metric_of(kind()) is not None for kind in kinds)
