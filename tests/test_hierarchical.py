"""Hierarchical groups: all combinations, against plain loops."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc

BASES = {
    "group_lasso": lambda w: np.linalg.norm(w),
    "exclusive": lambda w: np.abs(w).sum() ** 2,
    "group_half": lambda w: np.sqrt(np.abs(w).sum()),
}
WRAPS = {"root": np.sqrt, "square": np.square}
COMBINATIONS = list(itertools.product(BASES, ("none", *WRAPS)))
W = np.random.default_rng(0).normal(size=(3, 3, 4, 5))


def by_loops(base, wrap, grouping):
    total = 0.0
    axis = {"feature": 2, "neuron": 3}[grouping]
    for outer in range(W.shape[axis]):
        group = np.take(W, outer, axis=axis)
        kernels = [group[:, :, i] for i in range(group.shape[2])]
        if wrap == "none":
            total += BASES[base](group.ravel())
        else:
            inner = sum(BASES[base](kernel.ravel()) for kernel in kernels)
            total += WRAPS[wrap](inner)
    return total


@pytest.mark.parametrize("grouping", ["feature", "neuron"])
@pytest.mark.parametrize("base,wrap", COMBINATIONS)
def test_values(base, wrap, grouping):
    reg = knc.HierarchicalGroup(base, wrap, grouping, 0.3, l1_strength=0.2)
    expected = 0.3 * by_loops(base, wrap, grouping) + 0.2 * np.abs(W).sum()
    assert float(reg(W)) == pytest.approx(expected)


@pytest.mark.parametrize("base,wrap", COMBINATIONS)
def test_which_have_a_prox(base, wrap):
    reg = knc.HierarchicalGroup(base, wrap)
    has = (
        wrap == "none"
        or base == "group_half"
        or ((base, wrap) == ("group_lasso", "square"))
    )
    assert reg.has_prox == has
    assert reg.exact == (base != "group_half")


def test_half_penalties_give_exact_zeros_in_few_steps():
    keras.utils.set_random_seed(0)
    for wrap in ("none", "root", "square"):
        inputs = keras.Input((8, 8, 4))
        model = knc.ProximalModel(
            inputs,
            layers.Conv2D(
                6,
                3,
                kernel_regularizer=knc.HierarchicalGroup(
                    "group_half", wrap, "neuron", 1.0
                ),
            )(inputs),
        )
        model.compile(keras.optimizers.SGD(0.1), "mse")
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 8, 8, 4))
        y = 0.01 * rng.normal(size=(64, 6, 6, 6))
        model.fit(x, y, epochs=10, verbose=0)
        kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
        assert np.mean(kernel == 0) > 0.5
        assert np.isfinite(kernel).all()


def test_without_a_prox_the_gradient_trains():
    """A ProximalModel then does what keras.Model does."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)), rng.normal(size=(32, 4))
    trained = []
    for cls in (keras.Model, knc.ProximalModel):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        dense = layers.Dense(
            4, kernel_regularizer=knc.HierarchicalGroup("exclusive", "square")
        )
        model = cls(inputs, dense(inputs))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(x, y, epochs=3, verbose=0, shuffle=False)
        trained.append(keras.ops.convert_to_numpy(dense.kernel))
    np.testing.assert_allclose(*trained, rtol=1e-5, atol=1e-7)


def test_released_combination():
    reg = knc.HierarchicalGroup.released(1e-3, mix=0.25)
    expected = 2.5e-4 * by_loops("group_half", "square", "feature")
    expected += 7.5e-4 * np.abs(W).sum()
    assert float(reg(W)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["base", "wrap", "grouping"])
def test_bad_choices(name):
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}='x'"):
        knc.HierarchicalGroup(**{name: "x"})
