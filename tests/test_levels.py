"""Levels: few values of a kernel, and ADMM towards them."""

import keras
import numpy as np
import pytest
from solver_battery import least_squares

import keras_nonconvex as knc
from keras_nonconvex.constraints import Levels


def project(bits, w):
    return keras.ops.convert_to_numpy(Levels(bits)(w))


def kernels():
    rng = np.random.default_rng(0)
    for w in (
        rng.normal(size=60),
        rng.laplace(size=60),
        rng.uniform(0.2, 1.0, 60),
        10.0 ** rng.uniform(-3, 0, 60) * rng.choice([-1, 1], 60),
    ):
        w[:5] = 0
        yield w.reshape(6, 10)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_the_nearest_of_2_to_the_bits_levels(bits):
    for w in kernels():
        x = project(bits, w)
        levels = 2 ** (bits - 1)
        np.testing.assert_array_equal(x == 0, w == 0)
        np.testing.assert_array_equal(np.sign(x), np.sign(w))
        scale = np.abs(x[x != 0]).min()
        # It may be that no weight is on the first level.
        scale /= np.round(scale / _scale(x, levels))
        q = np.abs(x) / scale
        np.testing.assert_allclose(q, np.round(q), atol=1e-6)
        assert q.max() <= levels + 1e-6
        # No level is nearer, and no scale of these levels is better.
        t = np.abs(w)[w != 0]
        grid = scale * np.arange(1, levels + 1)
        nearest = np.abs(t[:, None] - grid).min(axis=1)
        error = np.abs(t - np.abs(x)[w != 0])
        np.testing.assert_allclose(error, nearest, atol=1e-9)
        q = q[w != 0]
        assert scale == pytest.approx((t * q).sum() / (q * q).sum())
        # Nor is any other scale with its nearest levels: up to local minima.
        scan = np.geomspace(t.max() / levels / 8, 2 * t.max() / levels, 4000)
        level = np.clip(np.round(t / scan[:, None]), 1, levels)
        best = np.square(t - scan[:, None] * level).sum(axis=1).min()
        worst = 1.05 if bits <= 4 else 2.0
        assert np.square(error).sum() <= worst * best + 1e-12
        np.testing.assert_allclose(project(bits, x), x, atol=1e-9)


def _scale(x, levels):
    """The scale of which all values are whole multiples, by trial."""
    t = np.unique(np.abs(x[x != 0]).round(12))
    for count in range(1, levels + 1):
        q = t / (t.min() / count)
        if np.abs(q - np.round(q)).max() < 1e-5 and q.max() < levels + 0.5:
            return t.min() / count
    raise AssertionError("not on levels")


def test_one_bit_is_the_sign_times_the_mean_magnitude():
    w = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_allclose(
        project(1, w), np.sign(w) * np.abs(w).mean(), rtol=1e-6
    )


def test_what_diverged_or_is_zero_stays_so():
    assert np.isnan(project(2, np.array([[np.nan, 1.0]]))).any()
    np.testing.assert_array_equal(
        project(3, np.zeros((2, 3))), np.zeros((2, 3))
    )


@pytest.mark.parametrize(
    "keep", [Levels(2), keras.constraints.NonNeg()], ids=lambda k: repr(k)[:8]
)
def test_admm_ends_on_any_projection(keep):
    model, x, y, w0 = least_squares(None)
    solver = knc.solvers.ADMM(keep, rho=1.0, stage=10**6)
    model.compile(keras.optimizers.SGD(0.3), "mse", solver=solver)
    tiled = [np.tile(array, (10, 1)) for array in (x, y)]
    model.fit(*tiled, batch_size=len(x), epochs=20, verbose=0, shuffle=False)
    kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    expected = keras.ops.convert_to_numpy(keep(kernel))
    np.testing.assert_allclose(kernel, expected, atol=1e-6)
    if isinstance(keep, Levels):
        assert len(np.unique(np.abs(kernel).round(5))) <= 2
    else:
        np.testing.assert_allclose(kernel, np.maximum(w0, 0), atol=1e-3)
    same = type(solver).from_config(solver.get_config())
    assert type(same.keep["*"]) is type(keep)


@pytest.mark.parametrize("bits", [0, 17, 2.5, "x"])
def test_bad_bits(bits):
    with pytest.raises(ValueError, match="Argument `bits`.*Received: bits="):
        Levels(bits)
