"""Solvers on problems whose answer is known in closed form.

Runs on the backend of KERAS_BACKEND; `test_project.py` runs it on JAX.
"""

import copy
import pickle

import keras
import numpy as np
import pytest
import solver_battery
from keras import layers
from solver_battery import fit_full_batches
from solver_battery import kernel_of
from solver_battery import least_squares

import keras_nonconvex as knc
from keras_nonconvex.solvers import half_space


@pytest.fixture(autouse=True)
def float64():
    """Closed forms are reached to 1e-6, which float32 hardly holds."""
    for name in ("float64", "float32"):
        keras.config.set_floatx(name)
        keras.config.set_dtype_policy(name)
        if name == "float64":
            yield


@pytest.fixture(params=solver_battery.CASES)
def case(request):
    return solver_battery.CASES[request.param]


class TestEverySolver(solver_battery.Battery):
    """The battery, on each solver of the package."""


def test_no_solver_is_left_out():
    assert {"Solver", *solver_battery.CASES} == set(knc.solvers.__all__)


def soft(x, level):
    return np.sign(x) * np.maximum(np.abs(x) - level, 0.0)


REGULARIZERS = {
    "l1": lambda: knc.Elementwise(knc.penalties.L1(), 0.3),
    "tl1": lambda: knc.Elementwise(knc.penalties.TransformedL1(1.0), 0.2),
    "group_lasso": lambda: knc.GroupLasso(0.6),
    "group_tl1": lambda: knc.GroupTL1(0.1, a=1.0),
    "sparse_group_l1": lambda: knc.SparseGroupL1(0.2, group_strength=0.4),
    "sparse_group_tl1": lambda: knc.SparseGroupTL1(0.15, group_strength=0.4),
}


ADAPTIVE = {"beta_2": 0.9, "epsilon": 1e-3}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.3),
    "momentum": lambda: keras.optimizers.SGD(0.008, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(
        0.008, momentum=0.9, nesterov=True
    ),
    "adam": lambda: keras.optimizers.Adam(0.02, **ADAPTIVE),
    "nadam": lambda: keras.optimizers.Nadam(0.02, **ADAPTIVE),
    "adamax": lambda: keras.optimizers.Adamax(0.02, **ADAPTIVE),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.02, epsilon=1e-3),
    "adagrad": lambda: keras.optimizers.Adagrad(0.3),
}


# Every optimizer with single weights, groups and both; SGD with the rest.
CASES = [
    (regularizer, optimizer)
    for regularizer in REGULARIZERS
    for optimizer in OPTIMIZERS
    if optimizer == "sgd"
    or regularizer in ("tl1", "group_lasso")
    or (regularizer, optimizer[:4]) == ("sparse_group_tl1", "adam")
]


@pytest.mark.parametrize("regularizer, optimizer", CASES)
def test_fixed_point_minimises_the_logged_objective(regularizer, optimizer):
    reg = REGULARIZERS[regularizer]()
    model, x, y, w0 = least_squares(reg)
    model.compile(OPTIMIZERS[optimizer](), "mse")
    fit_full_batches(model, x, y, 1000)
    exact = keras.ops.convert_to_numpy(reg.proximal(w0, 1.0))
    found = kernel_of(model)
    np.testing.assert_allclose(found, exact, atol=1e-6)
    np.testing.assert_array_equal(found == 0, exact == 0)
    assert (exact == 0).any() and (exact != 0).any()
    if "group" in regularizer:
        assert not exact[:, -1].any()


def test_objective_never_rises_below_the_critical_step():
    reg = knc.SparseGroupTL1(0.15, group_strength=0.4)
    model, x, y, _ = least_squares(reg)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    history = model.fit(
        x, y, batch_size=len(x), epochs=60, verbose=0, shuffle=False
    )
    loss = np.array(history.history["loss"])
    assert np.all(np.diff(loss) <= 1e-7 * loss[0])


def test_zeros_survive_a_decaying_schedule():
    # The momentum still carries gradients of larger rates than the last.
    reg = knc.GroupLasso(0.6)
    model, x, y, w0 = least_squares(reg)
    steps = 400
    schedule = keras.optimizers.schedules.CosineDecay(0.05, steps)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "mse")
    fit_full_batches(model, x, y, steps)
    exact = keras.ops.convert_to_numpy(reg.proximal(w0, 1.0))
    np.testing.assert_array_equal(kernel_of(model) == 0, exact == 0)


def test_preconditioned_is_auto_where_there_is_a_metric():
    found = []
    for step in ("auto", "preconditioned"):
        model, x, y, _ = least_squares(knc.GroupTL1(0.1))
        solver = knc.solvers.ProximalGradient(step)
        model.compile(keras.optimizers.Adam(0.05), "mse", solver=solver)
        fit_full_batches(model, x, y, 20)
        found.append(kernel_of(model))
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="needs an optimizer with a metric"):
        model.compile("sgd", "mse", solver=solver)


# ---- variable splitting


def test_splitting_reaches_the_minimiser_of_the_split_problem():
    # min (W - W0)^2 / 2 + s |V| + beta / 2 (W - V)^2: eliminate W.
    strength, beta = 0.3, 2.0
    reg = knc.Elementwise(knc.penalties.L1(), strength)
    model, x, y, w0 = least_squares(reg)
    solver = knc.solvers.VariableSplitting(beta, every=10**6, return_="W")
    model.compile(keras.optimizers.SGD(0.2), "mse", solver=solver)
    fit_full_batches(model, x, y, 200)
    v = soft(w0, strength * (1.0 + beta) / beta)
    w = (w0 + beta * v) / (1.0 + beta)
    np.testing.assert_allclose(kernel_of(model), w, atol=1e-6)
    copy = model.solver_state.like("V", model.layers[-1].kernel)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(copy), v, atol=1e-6)
    # What is logged is data loss + penalty at W, without the coupling.
    loss = np.square(w - w0).sum() / 2 + strength * np.abs(w).sum()
    logged = fit_full_batches(model, x, y, 1).history["loss"][0]
    assert logged == pytest.approx(loss, rel=1e-6)
    # W goes over to V at the end, if asked.
    model.solver.return_ = "V"
    fit_full_batches(model, x, y, 1)
    np.testing.assert_allclose(kernel_of(model), v, atol=1e-6)


def test_splitting_keeps_the_group_term_on_w():
    # The group term acts by its gradient: with V held at W its fixed point
    # is the group lasso's, away from zero groups.
    reg = knc.SparseGroupL1(1e-9, group_strength=0.1)
    model, x, y, w0 = least_squares(reg)
    solver = knc.solvers.VariableSplitting(1e-6, return_="W")
    model.compile(keras.optimizers.SGD(0.3), "mse", solver=solver)
    fit_full_batches(model, x, y, 200)
    lasso = knc.GroupLasso(0.1).proximal(w0, 1.0)
    found, exact = kernel_of(model), keras.ops.convert_to_numpy(lasso)
    np.testing.assert_allclose(found[:, :3], exact[:, :3], atol=1e-5)


def test_splitting_with_growing_beta_reaches_the_objective():
    reg = knc.Elementwise(knc.penalties.TransformedL1(), 0.2)
    model, x, y, w0 = least_squares(reg)
    solver = knc.solvers.VariableSplitting(growth=1.5, every=1)
    model.compile(keras.optimizers.SGD(2e-3), "mse", solver=solver)
    tiled = [np.tile(array, (400, 1)) for array in (x, y)]
    model.fit(*tiled, batch_size=len(x), epochs=12, verbose=0, shuffle=False)
    # beta ends at 25 * 0.2 * 1.5^11 = 432; the gap is of order 1 / beta.
    exact = keras.ops.convert_to_numpy(reg.proximal(w0, 1.0))
    np.testing.assert_allclose(kernel_of(model), exact, atol=0.02)
    np.testing.assert_array_equal(kernel_of(model) == 0, exact == 0)


def test_splitting_moves_groups_where_there_is_no_elementwise_term():
    model, x, y, w0 = least_squares(knc.GroupL0(0.2, group_weights=None))
    solver = knc.solvers.VariableSplitting(beta=1.0, growth=1.0)
    model.compile(keras.optimizers.SGD(0.2), "mse", solver=solver)
    fit_full_batches(model, x, y, 100)
    found = kernel_of(model)
    assert not found[:, -1].any()
    # L0 leaves large groups alone: W = V = W0 there.
    np.testing.assert_allclose(found[:, 0], w0[:, 0], atol=1e-6)


# ---- proximal slimming


def test_slimming_takes_the_papers_two_steps():
    """gamma <- (alpha gamma + beta xi) / (alpha + beta), and so on."""
    strength, beta, rate, momentum = 0.3, 2.0, 0.1, 0.9
    model, x, y, w0 = least_squares(
        knc.Elementwise(knc.penalties.L1(), strength)
    )
    solver = knc.solvers.ProximalSlimming(beta, "learning_rate", "gamma")
    optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    with pytest.warns(UserWarning, match="step='learning_rate'"):
        model.compile(optimizer, "mse", solver=solver)
    alpha = 1.0 / rate
    gamma = np.array(kernel_of(model))
    xi, velocity = gamma, 0.0
    fit_full_batches(model, x, y, 7)
    for _ in range(7):
        velocity = momentum * velocity - rate * (gamma - w0)
        gamma = (alpha * (gamma + velocity) + beta * xi) / (alpha + beta)
        xi = (alpha * xi + beta * gamma) / (alpha + beta)
        xi = soft(xi, strength / (alpha + beta))
    np.testing.assert_allclose(kernel_of(model), gamma, rtol=1e-5)
    copy = model.solver_state.like("xi", model.layers[-1].kernel)
    np.testing.assert_allclose(np.array(copy), xi, rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer, step, weight, penalise",
    [
        ("momentum", "auto", 1.0, knc.GroupLasso),
        # As theirs: the data loss weighs 1 / (1 - momentum) times as much.
        ("momentum", "learning_rate", 10, None),
        ("adam", "auto", 1.0, None),
    ],
)
@pytest.mark.filterwarnings("ignore:step='learning_rate'")
def test_slimming_reaches_the_minimiser_of_the_split_problem(
    optimizer, step, weight, penalise
):
    # weight ||gamma - W0||^2 / 2 + r(xi) + beta / 2 ||gamma - xi||^2.
    beta = 3.0
    reach = 1.0 / weight + 1.0 / beta
    reg = knc.Elementwise(knc.penalties.TransformedL1(), 0.13 / reach)
    if penalise:
        reg = penalise(0.6 / reach)
    model, x, y, w0 = least_squares(reg)
    solver = knc.solvers.ProximalSlimming(beta, step, "gamma")
    model.compile(OPTIMIZERS[optimizer](), "mse", solver=solver)
    fit_full_batches(model, x, y, 900)
    xi = keras.ops.convert_to_numpy(reg.proximal(w0, reach))
    gamma = (weight * w0 + beta * xi) / (weight + beta)
    np.testing.assert_allclose(kernel_of(model), gamma, atol=1e-5)
    copy = np.array(model.solver_state.like("xi", model.layers[-1].kernel))
    np.testing.assert_allclose(copy, xi, atol=1e-5)
    np.testing.assert_array_equal(copy == 0, xi == 0)
    assert (xi == 0).any() and (xi != 0).any()
    # xi takes the place of gamma at the end, if asked.
    with model.solver.finished(model):
        np.testing.assert_allclose(kernel_of(model), gamma, atol=1e-5)
    model.solver.return_ = "xi"
    with model.solver.finished(model):
        np.testing.assert_array_equal(kernel_of(model), copy)


def test_slimming_starts_from_weights_that_came_after_compiling():
    model, x, y, w0 = least_squares(REGULARIZERS["l1"]())
    model.compile("sgd", "mse", solver=knc.solvers.ProximalSlimming(1e6))
    model.set_weights([w0])
    fit_full_batches(model, x, y, 1)
    # A stale copy would have pulled the weights back to their first values.
    np.testing.assert_allclose(kernel_of(model), w0, atol=0.01)


# ---- ADMM


@pytest.mark.parametrize(
    "keep, exact",
    [
        (
            knc.constraints.MaxNonzero(7),
            lambda w: np.where(np.abs(w) >= np.sort(np.abs(w), None)[-7], w, 0),
        ),
        (
            knc.constraints.MaxActiveGroups(2),
            lambda w: np.where(
                np.square(w).sum(0) >= np.sort(np.square(w).sum(0))[-2], w, 0
            ),
        ),
    ],
)
def test_admm_finds_the_nearest_sparse_point(keep, exact):
    model, x, y, w0 = least_squares(None)
    solver = knc.solvers.ADMM(keep, rho=2.0, stage=10**6)
    model.compile(keras.optimizers.SGD(0.3), "mse", solver=solver)
    tiled = [np.tile(array, (30, 1)) for array in (x, y)]
    model.fit(*tiled, batch_size=len(x), epochs=40, verbose=0, shuffle=False)
    np.testing.assert_allclose(kernel_of(model), exact(w0), atol=1e-6)


def test_a_solver_that_has_trained_can_be_copied_and_pickled(case):
    model, _, x, y, _ = solver_battery.compiled(case)
    model.fit(x, y, verbose=0)
    for same in (
        copy.deepcopy(model.solver),
        pickle.loads(pickle.dumps(model.solver)),
    ):
        assert type(same) is type(model.solver)
        assert same.get_config() == model.solver.get_config()
        again, _, x, y, _ = solver_battery.compiled(case)
        again.compile("sgd", "mse", solver=same)
        again.fit(x, y, verbose=0)


def rebuilding():
    """Optimizers that compute a weight from a state of their own."""
    return [
        getattr(keras.optimizers, name)
        for name in ("Ftrl", "ScheduleFreeAdamW")
        if hasattr(keras.optimizers, name)
    ]


@pytest.mark.parametrize("optimizer", rebuilding())
def test_optimizers_that_rebuild_weights_are_refused(optimizer):
    model, *_ = least_squares(knc.GroupLasso(1e-3))
    with pytest.raises(ValueError, match="a state of its own"):
        model.compile(optimizer(0.01), "mse")
    solver = knc.solvers.VariableSplitting(return_="W")
    model.compile(optimizer(0.01), "mse", solver=solver)


def test_admm_adds_up_what_the_projection_takes():
    """Boyd et al. 2011: Z = projection(W + U), then U <- U + W - Z."""
    model, x, y, _ = least_squares(None)
    keep = knc.constraints.MaxNonzero(5)
    solver = knc.solvers.ADMM(keep, rho=0.1, stage=10)
    model.compile(keras.optimizers.SGD(0.05), "mse", solver=solver)
    kernel, state = model.layers[-1].kernel, model.solver_state
    seen = []

    def look(epoch, logs=None):
        variables = kernel, state.like("Z", kernel), state.like("U", kernel)
        seen.append([np.array(v) for v in variables])

    watch = keras.callbacks.LambdaCallback(on_epoch_end=look)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[watch])
    for (w, _, u), (_, new_z, new_u) in zip(seen[:-1], seen[1:], strict=True):
        np.testing.assert_allclose(new_z, np.array(keep(w + u)), atol=1e-6)
        np.testing.assert_allclose(new_u, u + w - new_z, atol=1e-6)
    assert np.abs(seen[-1][2]).max() > 0


def test_admm_stages_start_anew_with_a_larger_rho():
    model, x, y, _ = least_squares(None)
    keep = {"dense*": knc.constraints.MaxNonzero(5)}
    solver = knc.solvers.ADMM(keep, rho=0.1, growth=10.0, stage=3)
    model.compile(keras.optimizers.SGD(0.01), "mse", solver=solver)
    kernel, state = model.layers[-1].kernel, model.solver_state
    seen = []

    def look(epoch, logs):
        u = keras.ops.convert_to_numpy(state.like("U", kernel))
        z = keras.ops.convert_to_numpy(state.like("Z", kernel))
        seen.append((float(state.rho), np.abs(u).max(), np.count_nonzero(z)))

    watch = keras.callbacks.LambdaCallback(on_epoch_end=look)
    model.fit(x, y, epochs=6, verbose=0, callbacks=[watch])
    np.testing.assert_allclose([rho for rho, _, _ in seen], [0.1] * 3 + [1] * 3)
    assert [u > 0 for _, u, _ in seen] == [False, True, True] * 2
    assert all(z == 5 for _, _, z in seen)


# ---- slimming by subgradient, as the paper's code

PAPER = {
    "l1": (knc.penalties.L1(), lambda g, s: s * np.sign(g)),
    "tl1": (
        knc.penalties.TransformedL1(0.5),
        lambda g, s: s * 0.5 * 1.5 * np.sign(g) / (0.5 + np.abs(g)) ** 2,
    ),
    "lp": (
        knc.penalties.Lp(0.5),
        lambda g, s: s * 0.5 * np.sign(g) / np.abs(g) ** 0.5,
    ),
    # Their a is our gamma: knots at multiples of the strength.
    "mcp": (
        knc.penalties.MCP(5.0),
        lambda g, s: np.sign(g) * np.maximum(s - np.abs(g) / 5.0, 0.0),
    ),
    "scad": (
        knc.penalties.SCAD(4.0),
        lambda g, s: np.where(
            np.abs(g) <= s,
            s * np.sign(g),
            np.sign(g) * np.maximum(4.0 * s - np.abs(g), 0.0) / 3.0,
        ),
    ),
}


@pytest.mark.parametrize("name", PAPER)
def test_slimming_adds_the_subgradient_before_the_optimizer(name):
    penalty, slope = PAPER[name]
    reg = knc.Elementwise(penalty, 0.3)
    model, x, y, w0 = least_squares(reg)
    w, velocity = kernel_of(model), 0.0
    model.compile(
        keras.optimizers.SGD(0.02, momentum=0.9),
        "mse",
        solver=knc.solvers.Subgradient(),
    )
    fit_full_batches(model, x, y, 10)
    for _ in range(10):
        velocity = 0.9 * velocity - 0.02 * (w - w0 + slope(w, 0.3))
        w = w + velocity
    # Near zero the slope of Lp amplifies what rounds differently.
    np.testing.assert_allclose(kernel_of(model), w, atol=1e-4)
    assert (kernel_of(model) != 0).all()


# ---- the half-space step


def regression_with_ten_of_fifty_groups():
    """Minibatch linear regression of the derivation (WGSEF, A.6)."""
    rng = np.random.default_rng(0)
    true = np.zeros((50, 5))
    true[:10] = rng.normal(size=(10, 5))
    x = rng.normal(size=(1000, 50, 5))
    y = np.einsum("bgi,gi->b", x, true) + 0.1 * rng.normal(size=1000)
    return x, y[:, None]


def fit_regression(solver):
    x, y = regression_with_ten_of_fifty_groups()
    keras.utils.set_random_seed(1)
    reg = knc.GroupSparseEnvelope(10, 0.1, groups=(1, 2))
    inputs = keras.Input((50, 5))
    outputs = layers.EinsumDense(
        "bgi,gio->bo", 1, kernel_regularizer=reg, name="linear"
    )(inputs)
    model = knc.ProximalModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.02), "mse", solver=solver)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(kernel_of(model)[..., 0].any(1))
    )
    model.fit(x, y, batch_size=20, epochs=40, verbose=0, callbacks=[watch])
    # The end of `fit` leaves ten groups in any case.
    assert kernel_of(model)[..., 0].any(axis=1).sum() == 10
    return seen[-1]


def test_half_space_step_finds_the_groups_that_the_prox_leaves_alive():
    alive = fit_regression(knc.solvers.ProximalGradient())
    assert alive.sum() >= 49
    solver = knc.solvers.ProximalGradient(half_space=0.5, half_space_from=20)
    alive = fit_regression(solver)
    np.testing.assert_array_equal(alive, np.arange(50) < 10)


def test_half_space_step_heeds_the_shrinkage_of_the_envelope():
    # The prox shrinks every survivor by 1 / (1 + step strength): with
    # epsilon = 0.98 all of them would die, though none of them turned.
    old = np.random.default_rng(0).normal(size=(5, 8))
    envelope = knc.GroupSparseEnvelope("100%", 3.0)
    new = envelope.proximal(old, 0.02)
    for reg, alive in ((envelope, 8), (knc.GroupLasso(3.0), 1)):
        kept = half_space.alive(new, old, reg, 0.02, 0.98, 1)
        kept = keras.ops.convert_to_numpy(kept)
        assert kept.sum() == alive


def test_half_space_step_keeps_what_it_is_told_to():
    solver = knc.solvers.ProximalGradient(
        half_space=0.99, half_space_from=0, keep_at_least=23
    )
    model, x, y, _ = least_squares(
        knc.Elementwise(knc.penalties.L1(), 1e-4), shape=(6, 4)
    )
    model.compile(keras.optimizers.SGD(0.9), "mse", solver=solver)
    fit_full_batches(model, x, y, 50)
    assert np.count_nonzero(kernel_of(model)) == 23


def test_half_space_zeros_stay():
    model, x, y, _ = least_squares(knc.GroupLasso(1e-6))
    kernel = model.layers[-1].kernel
    value = kernel_of(model).copy()
    value[:, 1] = 0
    kernel.assign(value)
    solver = knc.solvers.ProximalGradient(half_space=0.0)
    model.compile(keras.optimizers.SGD(0.1), "mse", solver=solver)
    fit_full_batches(model, x, y, 5)
    assert not kernel_of(model)[:, 1].any()
    assert kernel_of(model)[:, 0].any()


# ---- what is refused


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda s: s.ProximalGradient(step="lr"), "`step` must be"),
        (lambda s: s.ProximalGradient(half_space=1.0), "`half_space` must"),
        (lambda s: s.ProximalGradient(half_space_from=-1), "`half_space_from`"),
        (lambda s: s.ProximalGradient(keep_at_least=0), "Received: k=0"),
        (lambda s: s.VariableSplitting(beta=0.0), "`beta` must be"),
        (lambda s: s.VariableSplitting(growth=0.5), "`growth` must be"),
        (lambda s: s.VariableSplitting(every=0), "`every` must be"),
        (lambda s: s.VariableSplitting(return_="U"), "`return_` must be"),
        (lambda s: s.ADMM(7), "`keep` must be"),
        (lambda s: s.ADMM(knc.constraints.MaxNonzero(1), rho=0), "`rho` must"),
        (
            lambda s: s.ADMM(knc.constraints.MaxNonzero(1), stage=0),
            "`stage` must be",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(knc.solvers)


def test_solvers_say_what_they_need():
    model, *_ = least_squares(None)
    with pytest.raises(ValueError, match="needs a weight whose regularizer"):
        model.compile("sgd", "mse", solver=knc.solvers.VariableSplitting())
    admm = knc.solvers.ADMM({"conv*": knc.constraints.MaxNonzero(3)})
    with pytest.raises(ValueError, match="match no kernel"):
        model.compile("sgd", "mse", solver=admm)
