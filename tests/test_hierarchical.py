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


def exclusive(t, step):
    """argmin step (sum x)^2 + ||x - t||^2 / 2: a soft threshold, by sorting."""
    sums = np.cumsum(np.sort(t)[::-1])
    counts = np.arange(1, len(t) + 1)
    level = (2 * step * sums / (1 + 2 * step * counts)).max()
    return np.maximum(t - level, 0.0)


def exact_prox(base, wrap, kernels, step):
    """Of one outer group: magnitudes, one row per kernel."""
    norms = np.linalg.norm(kernels, axis=1, keepdims=True)
    if base == "exclusive":
        return exclusive(kernels.ravel(), step).reshape(kernels.shape)
    if wrap == "square":
        new = exclusive(norms[:, 0], step)[:, None]
        return kernels * new / np.maximum(norms, 1e-300)
    norm = np.linalg.norm(norms)
    return kernels * max(1 - step / max(norm, 1e-300), 0)


@pytest.mark.parametrize("grouping", ["feature", "neuron"])
@pytest.mark.parametrize(
    "base,wrap",
    [("group_lasso", "none"), ("group_lasso", "square"), ("exclusive", "none")],
)
def test_exact_proxes_by_loops(base, wrap, grouping):
    axis = {"feature": 2, "neuron": 3}[grouping]
    scales = np.expand_dims(np.geomspace(0.01, 3, W.shape[axis]), (1, 0))
    w = W * (scales[..., None] if grouping == "feature" else scales)
    for step, l1 in itertools.product((1e-3, 0.1, 2.0), (0.0, 0.3)):
        reg = knc.HierarchicalGroup(base, wrap, grouping, 0.4, l1_strength=l1)
        found = keras.ops.convert_to_numpy(reg.proximal(w, step))
        soft = np.maximum(np.abs(w) - step * l1, 0)
        outer = np.moveaxis(soft, axis, 0).reshape(w.shape[axis], 9, -1)
        expected = [exact_prox(base, wrap, g.T, step * 0.4).T for g in outer]
        found = np.moveaxis(found * np.sign(w), axis, 0)
        np.testing.assert_allclose(
            found.reshape(outer.shape), expected, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("grouping", ["feature", "neuron"])
@pytest.mark.parametrize("wrap", ["none", "root", "square"])
def test_half_proxes_solve_the_problem_with_the_tangent(wrap, grouping):
    """A soft threshold at the slope in each kernel's l1 norm, by differences;
    it never raises the objective.
    """
    for step, scale in itertools.product((1e-3, 0.1, 2.0), (0.1, 1.0)):
        w = scale * W
        reg = knc.HierarchicalGroup("group_half", wrap, grouping, 0.4)
        found = keras.ops.convert_to_numpy(reg.proximal(w, step))
        before = float(reg(w))
        after = float(reg(found)) + ((found - w) ** 2).sum() / (2 * step)
        assert after <= before + 1e-12
        for i, j in itertools.product((0, 3), (1, 4)):
            # All weights of one kernel grow: b grows by that much.
            h = 1e-6 * np.abs(w[:, :, i, j]).sum()
            up, down = w.copy(), w.copy()
            up[0, 0, i, j] += h * np.sign(w[0, 0, i, j])
            down[0, 0, i, j] -= h * np.sign(w[0, 0, i, j])
            slope = (float(reg(up)) - float(reg(down))) / (2 * h)
            soft = np.maximum(np.abs(w[:, :, i, j]) - step * slope, 0)
            np.testing.assert_allclose(
                np.abs(found[:, :, i, j]), soft, rtol=1e-5, atol=1e-7 * scale
            )


def test_hierarchical_step_among_dead_kernels_lowers_the_objective():
    w = np.zeros((3, 3, 1, 512))
    w[..., 0] = 1e-3 / 9
    reg = knc.HierarchicalGroup("group_half", "square", strength=1e-3)
    x = keras.ops.convert_to_numpy(reg.proximal(w, 0.01))
    change = 0.01 * (float(reg(x)) - float(reg(w))) + ((x - w) ** 2).sum() / 2
    assert change <= 0


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
