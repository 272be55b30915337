"""Groups: the right weights together, and safe norms."""

import keras
import numpy as np
import pytest

from keras_nonconvex import group_patterns

KERNEL = np.arange(3 * 3 * 4 * 5, dtype="float32").reshape(3, 3, 4, 5) + 1


@pytest.mark.parametrize(
    "pattern,count,size",
    [
        ("filters", 5, 36),
        ("input_channels", 4, 45),
        ("kernels", 20, 9),
        ("positions", 36, 5),
        ("layer", 1, 180),
        ("weights", 180, 1),
        ((0, 1), 20, 9),
        ((-1,), 36, 5),
    ],
)
def test_patterns(pattern, count, size):
    axes = group_patterns.reduced_axes(pattern, 4)
    norms = keras.ops.convert_to_numpy(group_patterns.norms(KERNEL, axes))
    assert norms.size == count
    assert group_patterns.size(KERNEL.shape, axes) == size
    np.testing.assert_allclose(
        (norms**2).sum(), (KERNEL.astype("float64") ** 2).sum(), rtol=1e-5
    )


def test_filters_are_the_last_axis():
    norms = keras.ops.convert_to_numpy(group_patterns.norms(KERNEL, (0, 1, 2)))
    np.testing.assert_allclose(
        norms.ravel(), np.linalg.norm(KERNEL.reshape(-1, 5), axis=0), rtol=1e-6
    )


def test_norm_of_a_zero_group_has_zero_gradient():
    import tensorflow as tf

    w = tf.Variable(KERNEL * (np.arange(5) > 1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(group_patterns.norms(w, (0, 1, 2)))
    gradient = tape.gradient(total, w).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[..., :2].any() and gradient[..., 2:].all()


@pytest.mark.parametrize("received", ["filter", 3, (0, "a"), None])
def test_unknown_patterns(received):
    with pytest.raises(ValueError, match="`groups` must be one of") as error:
        group_patterns.check(received)
    assert "Received: groups=" in str(error.value)


@pytest.mark.parametrize("received,rank", [((4,), 4), ((-3,), 2)])
def test_axes_that_the_kernel_does_not_have(received, rank):
    with pytest.raises(ValueError, match="does not have"):
        group_patterns.reduced_axes(received, rank)
    with pytest.raises(ValueError, match="at least 3 axes"):
        group_patterns.reduced_axes("kernels", 2)
