"""The group sparse envelope: closed forms, duality, edge cases."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import examples
from hypothesis import given
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

# ---- the sweep: every regime of k, step, group weights and norms

NUMBERS = (0.3, 3.0, 1.0, 0.7, 1.0, 1.9, 1.0)
REGIMES = [(0.5, None), (2, None), (2.5, NUMBERS), (6, NUMBERS), (7, None)]
STEPS = [1e-6, 1e-2, 0.3, 0.9999, 1.0, 1.0001, 4.0, 1e3]


def kernels():
    """Kernels whose groups have ordinary norms, ties, zeros, many decades."""
    rng = np.random.default_rng(0)
    for norms in (
        rng.uniform(0.1, 2.0, M),
        np.ones(M),
        np.array([2.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.1]),
        np.array([1.0, 0.0, 0.5, 0.0, 0.0, 0.7, 0.0]),
        np.array([1.0, 1.0 - 1e-9, 1.0 + 1e-9, 0.9, 1e-3, 0.0, 1.0]),
        10.0 ** rng.uniform(-4, 2, M),
        10.0 ** rng.uniform(-4, 2, M),
    ):
        w = rng.normal(size=(SIZE, M))
        yield w / np.linalg.norm(w, axis=0) * norms


def problems():
    """Kernel and step; the last two steps are one number per group."""
    rng = np.random.default_rng(1)
    for w in kernels():
        for step in STEPS:
            yield w, np.full((1, M), step)
        yield w, 10.0 ** rng.uniform(-2, 0, (1, M))
        yield w, 10.0 ** rng.uniform(0.5, 2, (1, M))


def compiled(function):
    """Many calls: compiled once."""
    return tf.function(function, autograph=False)


def shares(b, level, k):
    """u = clip(t b - level, 0, 1) with sum k: the sum by its corners in t."""
    alive = b > 0
    if alive.sum() <= k:
        return np.ones_like(b)
    b, level = b[alive], level[alive]
    corners = np.unique(np.concatenate([level / b, (1 + level) / b]))
    sums = np.clip(corners[:, None] * b - level, 0, 1).sum(axis=1)
    u = np.zeros(len(alive))
    u[alive] = np.clip(np.interp(k, sums, corners) * b - level, 0, 1)
    return u


def some_shares(k, count=3000):
    """Feasible u: 0 <= u <= 1, sum u <= k; corners, and points between."""
    rng = np.random.default_rng(0)
    u = rng.uniform(size=(count, M)) ** rng.choice([0.2, 1, 5], (count, 1))
    u *= rng.random((count, M)) < rng.random((count, 1))
    u *= np.minimum(k / np.maximum(u.sum(axis=1, keepdims=True), 1e-300), 1)
    corners = [
        np.array(corner)
        for corner in itertools.product((0.0, k - int(k), 1.0), repeat=M)
        if sum(corner) <= k + 1e-12
    ]
    return np.concatenate([u, corners])


@pytest.mark.parametrize("k,weights", REGIMES)
def test_prox_has_the_shares_that_add_up_to_k_in_any_regime(k, weights):
    reg = make(k, 0.7, group_weights=weights)
    proximal = compiled(reg.proximal)
    d = np.ones(M) if weights is None else np.array(weights)
    for w, step in problems():
        level = 0.7 * step[0] * d
        u = shares(np.sqrt(d) * np.linalg.norm(w, axis=0), level, k)
        expected = w * (u / (u + level))
        x = proximal(tf.constant(w), tf.constant(step)).numpy()
        # A share is a difference of numbers as large as the level.
        slack = 1e-11 * np.abs(w).max() * (1 + 1 / level.max())
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=slack)


@pytest.mark.parametrize("k,weights", REGIMES)
@pytest.mark.parametrize("debiased", [False, True])
def test_no_shares_beat_the_prox_in_any_regime(debiased, k, weights):
    """With u held the best x is closed: w u / (u + level (1 - u debiased)).

    In the metric of each group's own step.
    """
    reg = make(k, 0.7, group_weights=weights, debiased=debiased)
    proximal = compiled(reg.proximal)
    d = np.ones(M) if weights is None else np.array(weights)
    u = some_shares(min(k, M))
    for w, step in problems():
        level = 0.7 * step[0] * d
        if debiased and level.max() >= 1:
            # Exact for equal weights, and where it holds for all groups.
            if weights is not None or level.min() < 1:
                continue
        x = proximal(tf.constant(w), tf.constant(step)).numpy()
        norms, left = np.linalg.norm(w, axis=0), np.linalg.norm(x, axis=0)
        # Divided by the step, so that each group has its own metric.
        value = 0.7 * by_sorting(left, d, k)
        value -= 0.7 * debiased * (d * left**2).sum() / 2
        found = value + (((x - w) ** 2).sum(axis=0) / (2 * step[0])).sum()
        own = level * (1 - u) if debiased else level
        lost = np.where(norms > 0, own / np.where(u + own > 0, u + own, 1), 0)
        best = (norms**2 / (2 * step[0]) * lost)[u.any(axis=1)].sum(axis=1)
        scale = (norms**2 / step[0]).sum()
        assert found <= best.min() + 1e-9 * scale
        assert np.all(np.abs(x) <= np.abs(w) * (1 + 1e-12))


def test_saturation_in_any_regime():
    """0 <= u <= 1 and sum u = k, in float64 and float32."""
    rng = np.random.default_rng(0)
    for dtype, tolerance in (("float64", 1e-9), ("float32", 2e-5)):
        solve = compiled(envelope.saturation)
        for level in np.repeat([0.0, 1e-6, 1e-3, 1.0, 1e3], 20):
            m = int(rng.integers(1, 41))
            b = np.zeros(40)
            b[:m] = 10.0 ** rng.uniform(-8, 4, m)
            b[:m][rng.random(m) < 0.1] = 0
            b[:m][rng.random(m) < 0.2] = 1.0
            k = rng.uniform(0.1, m + 2)
            numbers = (b, np.full(40, level), k)
            u = solve(*(tf.constant(n, dtype) for n in numbers)).numpy()
            assert np.all((u >= 0) & (u <= 1))
            if np.count_nonzero(b) <= k:
                assert np.all(u == 1)
            else:
                # u is a difference of numbers as large as `level`.
                slack = tolerance * k * (1 + level)
                assert u.sum() == pytest.approx(k, abs=slack)


# ---- what the envelope is


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


@given(array((2, 4)), st.integers(1, 3))
def test_it_is_the_largest_convex_function_below(w, k):
    """Conjugate of the conjugate: <w, y> - top-k(||y_j||^2) / 2 <= value."""

    def lower(y):
        top = np.sort((y**2).sum(axis=-2), axis=-1)[..., ::-1]
        return (w * y).sum(axis=(-1, -2)) - top[..., :k].sum(axis=-1) / 2

    value = float(make(k)(w))
    rng = np.random.default_rng(0)
    assert np.all(lower(rng.normal(size=(2000, 2, 4)) * 2) <= value + 1e-9)
    # And it is reached: at the gradient.
    x = tf.constant(w + 1e-9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = make(k)(x)
    y = tape.gradient(loss, x).numpy()
    assert lower(y) == pytest.approx(value, abs=1e-6)


@examples(3)
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
