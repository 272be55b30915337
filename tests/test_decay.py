"""The weight decay beside a penalty: `decay=` of every regularizer."""

import brute_force
import keras
import numpy as np
import pytest
import strategies
import sweeps
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from keras import ops
from solver_battery import fit_full_batches
from solver_battery import kernel_of
from solver_battery import least_squares
from test_regularizers import NAMES
from test_regularizers import SHAPE
from test_regularizers import any_of
from test_regularizers import default

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex.group_patterns import Layout
from keras_nonconvex.solvers import half_space


def prox(reg, w, step):
    return ops.convert_to_numpy(reg.proximal(np.asarray(w), step))


def soft(w, level):
    return np.sign(w) * np.maximum(np.abs(w) - level, 0.0)


def stretched(t, step, decay):
    """The points and steps that the decay maps to these."""
    return t / (1.0 - step * decay), step / (1.0 - step * decay)


# ---- the prox, by brute force


@pytest.mark.parametrize("name", strategies.SCALAR)
def test_no_point_beats_the_prox_in_any_regime(name):
    for penalty, t, step in sweeps.scalar_points(penalties.REGISTRY[name]):
        for decay in (0.5 / step.max(), 0.5):
            usable = step[:, 0] * decay < 0.9
            w, s = stretched(t[usable], step[usable], decay)

            def objective(x, w, s, decay=decay, penalty=penalty):
                loss = brute_force.value(penalty, x) + decay / 2 * x**2
                return s * loss + (x - w) ** 2 / 2

            reg = knc.Elementwise(penalty, 1.0, decay=decay)
            best = brute_force.least(
                lambda x: objective(x, w[..., None], s[..., None]),  # noqa: B023
                w,
                rounds=3,
            )
            excess = objective(prox(reg, w, s), w, s) - best
            assert np.all(excess <= 1e-11 * w**2), penalty


@pytest.mark.parametrize("name", ["TransformedL1", "SCAD", "L1MinusL2"])
def test_no_point_beats_the_joint_prox_in_any_regime(name):
    rng = sweeps.generator(name)
    for penalty, t, step, group_step in sweeps.joint_points(
        penalties.REGISTRY[name]
    )[:4]:
        decay = 0.4 / step.max()
        w, s = stretched(t, step, decay)
        weights = np.maximum(group_step / step, 1e-9)[0]
        reg = knc.SparseGroup(
            penalty, 1.0, group_strength=1.0, group_weights=weights, decay=decay
        )
        x = prox(reg, w, s)
        plain = brute_force.whole(penalty, w, s, s * weights)

        def objective(x, plain=plain, s=s, decay=decay):
            return plain(x) + s[0, :, None] * decay / 2 * (x**2).sum(axis=0)

        best = brute_force.search(objective, [x], w, rng)
        excess = objective(x[..., None])[:, 0] - best
        assert np.all(excess <= 1e-6 * (w**2).sum(axis=0)), penalty


@pytest.mark.parametrize("name", NAMES)
@examples(2)
@given(data=st.data())
def test_the_square_is_completed_for_every_regularizer(name, data):
    """step reg(x) + ||x - w||^2 / 2 differs by a constant, and a factor, from
    the same with a shorter step, a smaller w and no decay.
    """
    reg = data.draw(any_of(name))._with(decay=0.7)
    plain, w = reg._with(decay=0.0), data.draw(strategies.array(SHAPE))
    step = data.draw(strategies.log_uniform(1e-2, 1e1))
    growth = 1.0 + 0.7 * step

    def gap(x):
        whole = step * float(reg(x)) + np.sum((x - w) ** 2) / 2
        shorter = step / growth * float(plain(x))
        return whole - growth * (shorter + np.sum((x - w / growth) ** 2) / 2)

    gaps = [gap(data.draw(strategies.array(SHAPE))) for _ in range(2)]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-9)
    if reg.has_prox:
        np.testing.assert_allclose(
            prox(reg, w, step),
            prox(plain, w / growth, step / growth),
            rtol=1e-9,
            atol=1e-12,
        )


# ---- closed forms, with step s, strength m and decay d


W = np.random.default_rng(0).normal(size=(6, 40)) * 2.0


def block(w, level):
    norm = np.linalg.norm(w, axis=0)
    return w * np.maximum(1.0 - level / norm, 0.0)


GOLDEN = {
    "the elastic net": (
        lambda m, d: knc.Elementwise(penalties.L1(), m, d),
        lambda s, m, d: soft(W, s * m) / (1 + s * d),
    ),
    "counted weights": (
        lambda m, d: knc.Elementwise(penalties.L0(), m, d),
        lambda s, m, d: np.where(
            np.abs(W) > np.sqrt(2 * s * m * (1 + s * d)), W / (1 + s * d), 0
        ),
    ),
    "firm shrinkage": (
        # Within the knee's reach of 1000 strengths, all weights are.
        lambda m, d: knc.Elementwise(penalties.MCP(1e3, knee=1.0), m, d),
        lambda s, m, d: soft(W, s * m) / (1 + s * d - s * m / 1e3),
    ),
    "the group lasso": (
        lambda m, d: knc.GroupLasso(m, group_weights=None, decay=d),
        lambda s, m, d: block(W, s * m) / (1 + s * d),
    ),
    "the sparse group lasso": (
        lambda m, d: knc.SparseGroupL1(m, group_weights=None, decay=d),
        lambda s, m, d: block(soft(W, s * m), s * m) / (1 + s * d),
    ),
    "the envelope of all groups": (
        lambda m, d: knc.GroupSparseEnvelope("100%", m, decay=d),
        lambda s, m, d: W / (1 + s * (m + d)),
    ),
    "the debiased envelope of all groups": (
        lambda m, d: knc.GroupSparseEnvelope("100%", m, debiased=True, decay=d),
        lambda s, m, d: W / (1 + s * d),
    ),
    "no penalty": (
        lambda m, d: knc.GroupTL1(0.0, decay=d),
        lambda s, m, d: W / (1 + s * d),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_prox_is_the_closed_form_of(name):
    make, exact = GOLDEN[name]
    for step, strength, decay in [(0.1, 2.0, 3.0), (1.3, 0.4, 0.2)]:
        reg = make(strength, decay)
        np.testing.assert_allclose(
            prox(reg, W, step), exact(step, strength, decay), atol=1e-12
        )


@pytest.mark.parametrize("name", NAMES)
def test_value_is_half_the_decay_times_the_sum_of_squares_more(name):
    plain = default(name)
    reg = type(plain).from_config({**plain.get_config(), "decay": 0.3})
    w = np.random.default_rng(0).normal(size=SHAPE)
    more = float(reg(w)) - float(plain(w))
    assert more == pytest.approx(0.15 * (w**2).sum())
    # A schedule multiplies the strength alone.
    more = float(reg.scaled(2.0)(w)) - float(plain.scaled(2.0)(w))
    assert more == pytest.approx(0.15 * (w**2).sum())


@pytest.mark.parametrize("name", NAMES)
def test_the_decay_stays_with_every_copy(name):
    plain = default(name)
    reg = type(plain).from_config({**plain.get_config(), "decay": 0.3})
    moved = reg.for_layout(4, Layout((-2,), (-1,)))
    columns = reg.of_columns() or reg
    terms = [term for term in reg.terms if term is not None]
    assert moved.decay == columns.decay == 0.3
    assert sum(term.decay for term in terms) == 0.3
    assert reg != plain and "decay" in repr(reg)
    # One that a user wrote may take no such argument.
    assert "decay" not in plain.get_config()
    assert type(plain).from_config(plain.get_config()).decay == 0.0


def test_small_steps_decay_float32_as_they_should():
    w = np.geomspace(1.0, 2.0, 10001).astype("float32")
    x = prox(knc.GroupLasso(0.0, decay=1e-4), w[:, None], 0.01)[:, 0]
    share = np.mean((w.astype("float64") - x) / w)
    assert share == pytest.approx(1e-6, rel=0.01)


@pytest.mark.parametrize("decay", [-1.0, np.inf, "much", None])
def test_a_decay_is_a_number_from_zero_on(decay):
    with pytest.raises(ValueError, match="`decay`.*Received: decay="):
        knc.SparseGroupTL1(decay=decay)


# ---- training


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.3),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.05, beta_2=0.9, epsilon=1e-3),
}


@pytest.fixture
def float64():
    for name in ("float64", "float32"):
        keras.config.set_floatx(name)
        keras.config.set_dtype_policy(name)
        if name == "float64":
            yield


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_ends_at_the_elastic_net(optimizer, float64):
    for reg, exact in (
        (
            knc.Elementwise(penalties.L1(), 0.3, decay=0.5),
            lambda w: soft(w, 0.3) / 1.5,
        ),
        (
            knc.GroupLasso(0.6, group_weights=None, decay=0.5),
            lambda w: block(w, 0.6) / 1.5,
        ),
    ):
        model, x, y, w0 = least_squares(reg)
        model.compile(OPTIMIZERS[optimizer](), "mse")
        logged = fit_full_batches(model, x, y, 600).history["loss"][-1]
        w = kernel_of(model)
        np.testing.assert_allclose(w, exact(w0), atol=1e-6)
        assert ((w == 0) == (exact(w0) == 0)).all() and (w == 0).any()
        loss = np.sum((w - w0) ** 2) / 2 + float(reg(w))
        evaluated = model.evaluate(x, y, batch_size=len(x), verbose=0)
        assert evaluated == pytest.approx(loss) and np.isfinite(logged)
        if optimizer == "sgd":
            # Without the penalty the decay is still there.
            model.solver_state.strength.assign(0.0)
            fit_full_batches(model, x, y, 100)
            np.testing.assert_allclose(kernel_of(model), w0 / 1.5, atol=1e-6)


def test_decay_of_keras_is_ten_times_weaker_with_momentum(float64):
    """As docs/penalties.md says: its fixed point has a tenth of it."""
    model, x, y, w0 = least_squares(None, cls=keras.Model)
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9, weight_decay=0.5)
    model.compile(optimizer, "mse")
    fit_full_batches(model, x, y, 600)
    np.testing.assert_allclose(kernel_of(model), w0 / 1.05, atol=1e-6)


@pytest.mark.parametrize(
    "solver",
    [knc.solvers.VariableSplitting(beta=1.0), knc.solvers.Subgradient()],
    ids=lambda solver: type(solver).__name__,
)
def test_other_solvers_decay_too(solver, float64):
    model, x, y, w0 = least_squares(knc.SparseGroupL1(1e-9, decay=0.5))
    model.compile(keras.optimizers.SGD(0.3), "mse", solver=solver)
    fit_full_batches(model, x, y, 100)
    np.testing.assert_allclose(kernel_of(model), w0 / 1.5, atol=1e-6)


def test_strength_max_of_counted_weights_falls_with_the_decay():
    """0 stays for step |g| <= sqrt(2 step strength (1 + step decay))."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(60, 3))
    g = 2.0 * x.T @ y / (60 * 3)
    step, found = 0.5, {}
    for penalty in (penalties.L0(), penalties.L1()):
        reg = knc.Elementwise(penalty, 0.1, decay=4.0)
        dense = layers.Dense(3, use_bias=False, kernel_regularizer=reg)
        inputs = keras.Input((8,))
        model = knc.ProximalModel(inputs, dense(inputs))
        model.compile(keras.optimizers.SGD(step), "mse")
        found[type(penalty)] = knc.strength_max(model, x, y)
    l0 = step * np.square(g).max() / (2 * (1 + step * 4.0))
    assert found[penalties.L0] == pytest.approx(l0, rel=1e-4)
    assert found[penalties.L1] == pytest.approx(np.abs(g).max(), rel=1e-4)


def test_half_space_step_spares_what_the_decay_alone_shrinks():
    old = np.random.default_rng(0).normal(size=(5, 8))
    for make in (knc.GroupLasso, lambda **o: knc.GroupSparseEnvelope(8, **o)):
        reg = make(strength=1e-6, decay=3.0)
        new = reg.proximal(old, 0.02)
        kept = half_space.alive(new, old, reg, 0.02, 0.98, 1)
        assert ops.convert_to_numpy(kept).sum() == 8
