"""Constraints: projections that keep the k largest."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from strategies import array

import keras_nonconvex as knc
from keras_nonconvex.constraints import MaxActiveGroups
from keras_nonconvex.constraints import MaxNonzero

SHAPE = (2, 2, 3, 5)


def project(constraint, w):
    return keras.ops.convert_to_numpy(constraint(w))


@given(array(SHAPE), st.integers(1, 70))
def test_max_nonzero_is_the_nearest_point(w, k):
    x = project(MaxNonzero(k), w)
    assert np.count_nonzero(x) <= k
    np.testing.assert_array_equal(x[x != 0], w[x != 0])
    # The squares that are lost are the least possible.
    smallest = np.sort((w**2).ravel())[: max(w.size - k, 0)]
    np.testing.assert_allclose(((w - x) ** 2).sum(), smallest.sum())


@given(array(SHAPE), st.sampled_from(["filters", "kernels", (0, 1)]))
def test_max_active_groups_is_the_nearest_point(w, groups):
    for k in (1, 2, "40%"):
        x = project(MaxActiveGroups(k, groups), w)
        axes = knc.Group(knc.penalties.L1(), 1.0, groups=groups).group_axes(4)
        norms = (w**2).sum(axes).ravel()
        count = k if isinstance(k, int) else int(0.4 * norms.size)
        assert np.count_nonzero((x**2).sum(axes)) <= count
        lost = np.sort(norms)[: norms.size - count].sum()
        np.testing.assert_allclose(((w - x) ** 2).sum(), lost, atol=1e-12)


def test_ties_go_to_the_first():
    w = np.array([[1.0, -1.0, 1.0], [1.0, 2.0, -1.0]])
    np.testing.assert_array_equal(
        project(MaxNonzero(3), w), [[1, -1, 0], [0, 2, 0]]
    )
    np.testing.assert_array_equal(
        project(MaxActiveGroups(2), np.ones((2, 4))),
        [[1, 1, 0, 0], [1, 1, 0, 0]],
    )


def test_percentages_do_not_lose_one_to_rounding():
    w = np.arange(1.0, 101.0)
    for percent in range(1, 101):
        x = project(MaxNonzero(f"{percent}%"), w)
        assert np.count_nonzero(x) == percent


def test_what_diverged_is_not_hidden():
    assert np.isnan(project(MaxNonzero(5), np.full((4, 4), np.nan))).all()
    x = project(MaxActiveGroups(1), np.array([[np.nan, 1.0, 2.0]]))
    assert np.isnan(x[0, 0])


def test_small_kernels_of_16_bits():
    w = np.array([[1e-4, 3e-4, 2e-4]], "float16")
    x = project(MaxActiveGroups(2), w)
    np.testing.assert_array_equal(x != 0, [[False, True, True]])


@pytest.mark.parametrize("make", [MaxNonzero, MaxActiveGroups])
def test_in_a_model(make, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, kernel_constraint=make(3))]
    )
    model.compile("adam", "mse", jit_compile=True)
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(64, 6)), rng.normal(size=(64, 8)), verbose=0)
    kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    alive = kernel if make is MaxNonzero else kernel.any(axis=0)
    assert np.count_nonzero(alive) == 3
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    constraint = loaded.layers[-1].kernel_constraint
    assert type(constraint) is make
    assert constraint.get_config() == make(3).get_config()


@pytest.mark.parametrize("k", [0, -1, 2.5, "0%", "120%", "x", None])
def test_bad_counts(k):
    with pytest.raises(ValueError, match="Argument `k` must be a whole"):
        MaxNonzero(k)
    with pytest.raises(ValueError, match="Received: k="):
        MaxActiveGroups(k)


def test_bad_groups():
    with pytest.raises(ValueError, match="`groups` must be one of"):
        MaxActiveGroups(2, groups="rows")
