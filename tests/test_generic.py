"""Regularizers of a penalty: its value and prox, group by group."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import strategies

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import regularizers
from keras_nonconvex.regularizers import joint_prox

GENERIC = (knc.Group, knc.SparseGroup)
SHAPE = (2, 1, 3, 4)
# A group pattern, and the axes of a 4-D kernel that one of its groups spans.
PATTERNS = {
    "filters": (0, 1, 2),
    "input_channels": (0, 1, 3),
    "kernels": (0, 1),
    "positions": (3,),
    "layer": (0, 1, 2, 3),
    "weights": (),
    (0, 2): (0, 2),
}
# What the named classes stand for.
NAMED = {
    "GroupLasso": penalties.L1(),
    "GroupL0": penalties.L0(),
    "GroupLp": penalties.Lp(0.3),
    "GroupTL1": penalties.TransformedL1(0.4),
    "GroupMCP": penalties.MCP(1.7),
    "GroupSCAD": penalties.SCAD(2.9),
    "SparseGroupL1": penalties.L1(),
    "SparseGroupL0": penalties.L0(),
    "SparseGroupL1L2": penalties.L1MinusL2(0.6),
    "SparseGroupLp": penalties.Lp(0.3),
    "SparseGroupTL1": penalties.TransformedL1(0.4),
    "SparseGroupMCP": penalties.MCP(1.7),
    "SparseGroupSCAD": penalties.SCAD(2.9),
    "ExclusiveSparsity": penalties.SquaredL1(),
}


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def groups_of(w, axes):
    """The groups of a kernel, as columns."""
    kept = [axis for axis in range(w.ndim) if axis not in axes]
    return np.transpose(w, (*axes, *kept)).reshape(
        -1, int(np.prod([w.shape[axis] for axis in kept]))
    )


def with_knots(penalty, strength):
    """The penalty with its knots at the strength, where it leaves them open."""
    if getattr(penalty, "knee", 1.0) is None:
        return dataclasses.replace(penalty, knee=strength)
    return penalty


def alone(penalty, column, strength, step):
    """A penalty of one group's weights: its value and prox."""
    penalty = with_knots(penalty, strength)
    t = keras.ops.convert_to_tensor(np.abs(column[:, None]))
    value = strength * numpy(penalty.weights_value(t, (0,))).item()
    x = penalty.weights_prox(t, step * strength, (0,))
    return value, np.sign(column) * numpy(x)[:, 0]


def radial(penalty, column, strength, step):
    """A penalty of one group's norm, likewise."""
    norm = np.linalg.norm(column)
    value, new = alone(penalty, np.array([norm]), strength, step)
    return value, column * (new / norm)


def jointly(penalty, column, strength, group_strength, step):
    """A penalty of one group's weights and its norm, likewise."""
    value, _ = alone(penalty, column, strength, step)
    x = joint_prox.prox(
        with_knots(penalty, strength),
        keras.ops.convert_to_tensor(np.abs(column[:, None])),
        *np.array([step * strength, step * group_strength]),
        (0,),
    )
    norm = np.linalg.norm(column)
    return value + group_strength * norm, np.sign(column) * numpy(x)[:, 0]


def group_weights_of(kind, columns):
    size, count = columns.shape
    if kind == "sqrt_size":
        return np.full(count, np.sqrt(size))
    return np.ones(count) if kind is None else np.array(kind)


def assert_group_by_group(make, pattern, weights, strength, step, each):
    """A regularizer's value and prox against those of `each` group alone."""
    w = np.random.default_rng(0).normal(size=SHAPE)
    w *= [0.05, 0.4, 1.0, 2.0]  # Small filters and large ones.
    columns = groups_of(w, PATTERNS[pattern])
    if weights == "numbers":
        weights = tuple(np.linspace(0.5, 2.0, columns.shape[1]))
    options = {"groups": pattern, "group_weights": weights}
    reg = make(strength=strength, **options)
    found = groups_of(numpy(reg.proximal(w, step)), PATTERNS[pattern])
    factors = group_weights_of(weights, columns)
    parts = [
        each(column, factor)
        for column, factor in zip(columns.T, factors, strict=True)
    ]
    values, proxes = zip(*parts, strict=True)
    assert numpy(reg(w)).item() == pytest.approx(sum(values), rel=1e-9)
    np.testing.assert_allclose(
        found, np.stack(proxes, axis=1), rtol=1e-9, atol=1e-12
    )
    return found


def named(name):
    """How to make it with its penalty's parameters, and the penalty."""
    cls, penalty = regularizers.REGISTRY[name], NAMED[name]
    return functools.partial(cls, **penalty.get_config()), penalty


GROUP = [n for n in NAMED if n.startswith("Group")]
SPARSE_GROUP = [n for n in NAMED if n not in GROUP]


def test_named_covers_every_named_class():
    assert {*NAMED} == {
        name
        for name, cls in regularizers.REGISTRY.items()
        if issubclass(cls, knc.Group) and cls not in GENERIC
    }


@pytest.mark.parametrize("weights", ["sqrt_size", None, "numbers"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", GROUP)
def test_group_is_the_penalty_of_each_norm(name, pattern, weights):
    make, penalty = named(name)
    for strength, step in ((0.3, 0.2), (0.5, 3.0)):
        assert_group_by_group(
            make,
            pattern,
            weights,
            strength,
            step,
            lambda column, factor: radial(
                penalty,
                column,
                factor * strength,  # noqa: B023
                step,  # noqa: B023
            ),
        )


@pytest.mark.parametrize("name", SPARSE_GROUP)
def test_sparse_group_is_the_joint_penalty_of_each_group(name):
    make, penalty = named(name)
    zeros = []
    for pattern, weights, group_strength, step in (
        ("filters", "sqrt_size", 0.1, 0.5),
        ("input_channels", None, None, 0.8),
        ("positions", "numbers", 0.3, 1.5),
    ):
        strength = 0.2
        group = strength if group_strength is None else group_strength
        found = assert_group_by_group(
            functools.partial(make, group_strength=group_strength),
            pattern,
            weights,
            strength,
            step,
            lambda column, factor: jointly(
                penalty,
                column,
                strength,  # noqa: B023
                factor * group,  # noqa: B023
                step,  # noqa: B023
            ),
        )
        zeros.append(np.mean(found == 0))
    assert 0 < max(zeros) < 1


@pytest.mark.parametrize("name", sorted(penalties.REGISTRY))
def test_generic_ones_take_every_penalty(name):
    penalty = penalties.REGISTRY[name]()
    each = alone if name in strategies.VECTOR else radial
    assert_group_by_group(
        functools.partial(knc.Group, penalty),
        "filters",
        None,
        0.3,
        0.7,
        lambda column, factor: each(penalty, column, 0.3, 0.7),
    )
    assert_group_by_group(
        functools.partial(knc.SparseGroup, penalty, group_strength=0.2),
        "filters",
        None,
        0.3,
        0.7,
        lambda column, factor: jointly(penalty, column, 0.3, 0.2, 0.7),
    )
    if name in strategies.SCALAR:
        w = np.random.default_rng(0).normal(size=SHAPE)
        reg = knc.Elementwise(penalty, 0.3)
        value, x = alone(penalty, w.ravel(), 0.3, 0.7)
        assert numpy(reg(w)).item() == pytest.approx(value)
        np.testing.assert_allclose(numpy(reg.proximal(w, 0.7)).ravel(), x)


def test_composition_is_one_prox_after_the_other():
    penalty = penalties.TransformedL1(0.4)
    w = np.random.default_rng(0).normal(size=SHAPE)
    reg = knc.SparseGroup(penalty, 0.3, group_strength=0.1, exact=False)
    inner = numpy(knc.Elementwise(penalty, 0.3).proximal(w, 0.7))
    expected = numpy(knc.GroupLasso(0.1).proximal(inner, 0.7))
    np.testing.assert_allclose(numpy(reg.proximal(w, 0.7)), expected)
    assert not reg.exact


def test_values_by_hand():
    w = np.array([[3.0, 0.0], [4.0, 1.0]])
    sqrt2 = np.sqrt(2)
    for reg, value in (
        (knc.Elementwise(penalties.L1(), 0.5), 4.0),
        (knc.GroupLasso(2.0), 2 * sqrt2 * 6),
        (knc.GroupLasso(2.0, group_weights=None), 12.0),
        (knc.GroupL0(1.0, groups="layer"), 2.0),
        (knc.SparseGroupL1(1.0, group_strength=0.1), 8 + 0.6 * sqrt2),
        (knc.SparseGroupL1(1.0), 8 + 6 * sqrt2),
        (knc.GroupTL1(1.0, a=1.0, group_weights=None), 2 * 5 / 6 + 1.0),
    ):
        assert numpy(reg(w)).item() == pytest.approx(value)
