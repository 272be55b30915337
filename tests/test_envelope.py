"""The group sparse envelope: closed forms, duality, edge cases."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import array
from strategies import log_uniform

import keras_nonconvex as knc
from keras_nonconvex.regularizers import envelope

M, SIZE = 7, 3


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def make(k, strength=1.0, **options):
    return knc.GroupSparseEnvelope(k, strength, **options)


def by_sorting(norms, weights, k):
    """The value's closed form (group form of Argyriou et al. 2012)."""
    a = np.sort(np.sqrt(weights) * norms)[::-1]
    if np.count_nonzero(a) <= k:
        return (a**2).sum() / 2
    for q in range(int(np.ceil(k))):
        tau = a[q:].sum() / (k - q)
        if (q == 0 or a[q - 1] >= tau) and tau > a[q]:
            return (a[:q] ** 2).sum() / 2 + a[q:].sum() ** 2 / (2 * (k - q))
    raise AssertionError("no q fits")


WEIGHTS = st.lists(st.floats(0.3, 3.0), min_size=M, max_size=M)


@given(array((SIZE, M)), st.floats(0.3, 8.0), WEIGHTS)
def test_value_is_the_closed_form(w, k, weights):
    found = float(make(k, 0.7, group_weights=weights)(w))
    norms = np.linalg.norm(w, axis=0)
    expected = 0.7 * by_sorting(norms, np.array(weights), k)
    assert found == pytest.approx(expected, rel=1e-9)


@given(array((SIZE, M)), st.integers(1, 8))
def test_on_k_groups_it_is_a_weight_decay(w, k):
    w[:, k:] = 0
    assert float(make(k)(w)) == pytest.approx((w**2).sum() / 2)
    assert float(make(k, debiased=True)(w)) == pytest.approx(0, abs=1e-12)
    fuller = w.copy()
    fuller[0] += 0.1  # every group is alive
    if k < M:
        assert float(make(k)(fuller)) > (fuller**2).sum() / 2
        assert float(make(k, debiased=True)(fuller)) > 0


@settings(max_examples=30)
@given(array((2, 4)), st.integers(1, 3))
def test_it_is_the_largest_convex_function_below(w, k):
    """Conjugate of the conjugate: <w, y> - top-k(||y_j||^2) / 2 <= value."""
    value = float(make(k)(w))
    rng = np.random.default_rng(0)
    for y in rng.normal(size=(200, 2, 4)) * 2:
        top = np.sort((y**2).sum(0))[::-1][:k].sum() / 2
        assert (w * y).sum() - top <= value + 1e-9
    # And it is reached: at the gradient.
    import tensorflow as tf

    x = tf.constant(w + 1e-9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = make(k)(x)
    y = tape.gradient(loss, x).numpy()
    top = np.sort((y**2).sum(0))[::-1][:k].sum() / 2
    assert (w * y).sum() - top == pytest.approx(value, abs=1e-6)


@given(array((SIZE, M)), st.floats(0.3, 8.0), log_uniform(1e-4, 1e2), WEIGHTS)
def test_prox_solves_its_optimality_condition(w, k, step, weights):
    reg = make(k, group_weights=weights)
    x = numpy(reg.proximal(w, step))
    norms = np.linalg.norm(x, axis=0)
    alive = norms > 0
    # At least k groups live, or all there are.
    assert alive.sum() >= min(np.floor(k), np.count_nonzero(w.any(axis=0)))
    import tensorflow as tf

    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        loss = reg(tensor)
    gradient = tape.gradient(loss, tensor).numpy()
    residual = x + step * gradient - w
    scale = np.abs(w).max() * (1 + step)
    np.testing.assert_allclose(residual[:, alive], 0, atol=2e-8 * scale)


@given(array((SIZE, M)), log_uniform(1e-3, 1e2))
def test_edge_cases(w, step):
    w[:, 0], w[:, 1] = 0, [1, 2, 3]
    # k at least the number of groups that live: a weight decay.
    for k in (M - 1, M, M + 3, "100%"):
        x = numpy(make(k).proximal(w, step))
        np.testing.assert_allclose(x, w / (1 + step), rtol=1e-12)
    # Ties share: all groups equal, all u = k / m.
    tied = np.ones((SIZE, M))
    x = numpy(make(2.0).proximal(tied, step))
    u = 2 / M
    np.testing.assert_allclose(x, tied * u / (u + step), rtol=1e-9)
    np.testing.assert_array_equal(numpy(make(2).proximal(w, 0.0)), w)
    # A larger weight d_j: penalised more.
    weights = np.ones(M)
    weights[1] = 5.0
    heavier = numpy(make(2, group_weights=weights).proximal(w, step))
    assert np.all(heavier[:, 1] <= numpy(make(2).proximal(w, step))[:, 1])


def test_large_step_keeps_the_top_k():
    w = np.random.default_rng(0).normal(size=(SIZE, M))
    x = numpy(make(3).proximal(w, 1e4))
    order = np.argsort(-np.linalg.norm(w, axis=0))
    np.testing.assert_array_equal(
        np.flatnonzero(x.any(axis=0)), np.sort(order[:3])
    )
    np.testing.assert_allclose(x[:, order[:3]] * 10001, w[:, order[:3]])


@given(array((SIZE, M)), st.integers(1, 5), log_uniform(1e-3, 0.9))
def test_debiased_survivors_are_not_shrunk(w, k, step):
    x = numpy(make(k, debiased=True).proximal(w, step))
    norms = np.linalg.norm(w, axis=0)
    order = np.argsort(-norms)
    if norms[order[k]] < step * norms[order[k - 1]] * 0.99:
        # Wide enough a gap after the k largest.
        np.testing.assert_allclose(x[:, order[:k]], w[:, order[:k]], rtol=1e-9)
    # From step 1 on it is the projection.
    x = numpy(make(k, debiased=True).proximal(w, 2.0))
    if np.diff(np.sort(norms)).min() > 1e-3:
        kept = np.where(np.isin(np.arange(M), order[:k]), w, 0)
        np.testing.assert_allclose(x, kept, atol=1e-5 * norms.max())


@settings(max_examples=10)
@given(array((1, 5)), st.floats(0.5, 4.5), st.sampled_from([1.0, 1.7, 100.0]))
def test_debiased_beyond_step_one_against_brute_force(w, k, step):
    """For fixed u the best x is closed; u is at a corner, or next to one."""
    reg = make(k, groups="weights", debiased=True)
    x = numpy(reg.proximal(w, step))
    value = tf.function(reg)  # Many values: compiled once.

    def objective(x):
        return step * float(value(tf.constant(x))) + ((x - w) ** 2).sum() / 2

    found = objective(x)
    for corner in itertools.product((0.0, k - int(k), 1.0), repeat=5):
        u = np.array(corner)
        if u.sum() <= k + 1e-12:
            other = w * u / (u + step * (1 - u) + (u == 0))
            assert found <= objective(other) + 1e-9
    assert np.count_nonzero(x) <= np.ceil(k)


@settings(max_examples=8)
@given(array((SIZE, M)), st.integers(1, 5), WEIGHTS)
def test_a_step_per_group_is_the_prox_in_that_metric(w, k, metric):
    """min sum_j h_j ||x_j - w_j||^2 / 2 + Theta: step 1 / h_j per group."""
    h = np.array(metric)
    reg = make(k)
    x = numpy(reg.proximal(w, (1 / h)[None]))

    def objective(x):
        squares = ((x - w) ** 2).sum(0)
        return (h * squares).sum() / 2 + float(reg(x))

    found = objective(x)
    rng = np.random.default_rng(0)
    for scale, _ in itertools.product((1e-1, 1e-3, 1e-5), range(10)):
        other = x + scale * rng.normal(size=w.shape) * (rng.random(M) < 0.5)
        assert found <= objective(other) + 1e-10


@settings(max_examples=100)
@given(st.data())
def test_root_under_stress(data):
    m = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    b = 10.0 ** rng.uniform(-8, 4, m)
    b[rng.random(m) < 0.1] = 0
    b[rng.random(m) < 0.2] = 1.0
    level = np.full(m, data.draw(st.just(0.0) | log_uniform(1e-6, 1e3)))
    k = data.draw(st.floats(0.1, m + 2))
    for dtype, tolerance in (("float64", 1e-9), ("float32", 2e-5)):
        u = numpy(
            envelope.saturation(
                keras.ops.convert_to_tensor(b, dtype),
                keras.ops.convert_to_tensor(level, dtype),
                k,
            )
        )
        assert np.all((u >= 0) & (u <= 1))
        if np.count_nonzero(b) <= k:
            assert np.all(u == 1)
        else:
            # u is a difference of numbers as large as `level`.
            slack = tolerance * k * (1 + level[0])
            assert u.sum() == pytest.approx(k, abs=slack)


def test_settings():
    for k in (0, -1, "0%", "130%", "half", None, float("nan")):
        with pytest.raises(ValueError, match="Argument `k`.*Received: k="):
            make(k)
    with pytest.raises(ValueError, match="`group_weights`.*here 7"):
        make(2, group_weights=[1, 2])(np.ones((SIZE, M)))
    with pytest.raises(ValueError, match="`group_weights`"):
        make(2, group_weights=[1, -2])
    assert float(make("50%")(np.ones((2, 8)))) == float(
        make(4)(np.ones((2, 8)))
    )
