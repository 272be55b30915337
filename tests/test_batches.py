"""Kernels in one matrix: the same proxes, fewer functions to compile."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex.backends import traced
from keras_nonconvex.solvers import batches

SHAPES = [(3, 3, 4, 6), (1, 1, 36, 5), (3, 3, 4, 2), (7, 6), (36, 3)]
PROXES = [
    knc.SparseGroupTL1(0.01),
    knc.SparseGroupMCP(0.01),
    knc.SparseGroupLp(0.01),
    knc.SparseGroupL1(0.01),
    knc.SparseGroupL1L2(0.01),
    knc.Elementwise(knc.penalties.MCP(3.0), 0.01),
    knc.GroupMCP(0.01),
    knc.GroupL0(0.01, groups="input_channels"),
    knc.GroupLasso(0.01, groups="weights"),
    knc.SparseGroupTL1(0.01, groups="input_channels"),
    knc.SparseGroupTL1(0.01, exact=False),
    knc.SparseGroupSCAD(0.01, group_strength=0.02, group_weights=None),
    knc.GroupSparseEnvelope("50%", 0.01),
    knc.HierarchicalGroup("exclusive", "none", strength=0.01),
]


def kernels(dtype="float32"):
    rng = np.random.default_rng(0)
    return [
        ops.convert_to_tensor(rng.normal(0, 0.1, shape), dtype)
        for shape in SHAPES
    ]


@pytest.mark.parametrize("reg", PROXES, ids=repr)
@pytest.mark.parametrize("per_group", (False, True))
def test_each_kernel_gets_its_own_prox(reg, per_group):
    ws, rng = kernels(), np.random.default_rng(1)
    steps = [ops.convert_to_tensor(0.7, "float32") for _ in ws]
    if per_group:
        steps = [
            ops.convert_to_tensor(
                rng.uniform(
                    0.1,
                    2.0,
                    [
                        1 if i in reg.group_axes(len(w.shape)) else n
                        for i, n in enumerate(w.shape)
                    ],
                ),
                "float32",
            )
            for w in ws
        ]
    strength = ops.convert_to_tensor(2.0)
    found = batches.proximal([reg] * len(ws), ws, steps, strength)
    for w, step, new in zip(ws, steps, found, strict=True):
        alone = ops.convert_to_numpy(reg.scaled(2.0).proximal(w, step))
        new = ops.convert_to_numpy(new)
        np.testing.assert_allclose(new, alone, rtol=2e-5, atol=1e-7)
        np.testing.assert_array_equal(new == 0, alone == 0)


@pytest.mark.parametrize(
    "reg",
    (
        knc.SparseGroupTL1(0.01),
        knc.SparseGroupMCP(0.1),
        knc.GroupSCAD(0.1),
        knc.GroupSparseEnvelope("50%", 0.01),
    ),
    ids=repr,
)
@pytest.mark.parametrize("step", (1e-3, 1.0, 40.0))
def test_the_same_when_compiled(reg, step):
    # The three steps reach each case of the joint prox.
    ws = kernels()[:3]
    steps, strength = [ops.convert_to_tensor(step)] * 3, ops.ones(())
    together = traced(batches.proximal)
    for w, new in zip(
        ws, together([reg] * 3, ws, steps, strength), strict=True
    ):
        alone = ops.convert_to_numpy(reg.proximal(w, step))
        new = ops.convert_to_numpy(new)
        np.testing.assert_allclose(new, alone, rtol=2e-5, atol=1e-7)
        assert np.mean((new == 0) != (alone == 0)) < 0.01


@pytest.mark.parametrize("reg", PROXES, ids=repr)
def test_the_value_is_the_sum(reg):
    ws = kernels()
    total = sum(float(reg.scaled(2.0).value(w)) for w in ws)
    found = batches.value([reg] * len(ws), ws, ops.convert_to_tensor(2.0))
    np.testing.assert_allclose(float(found), total, rtol=1e-5)


def test_regularizers_and_dtypes_stay_apart():
    low, high = knc.GroupLasso(0.01), knc.GroupLasso(0.1)
    w = kernels()[0]
    half = ops.cast(w, "float16")
    step = ops.ones(())
    found = batches.proximal(
        [low, high, low], [w, w, half], [step] * 3, ops.ones(())
    )
    for reg, x, new in zip((low, high, low), (w, w, half), found, strict=True):
        assert new.dtype == x.dtype
        np.testing.assert_allclose(new, reg.proximal(x, 1.0), rtol=1e-6)


def test_group_weights_of_one_kernel_keep_it_apart():
    weighted = knc.GroupLasso(0.01, group_weights=(1.0, 2.0, 3.0))
    ws = [ops.ones((4, 3)), ops.ones((4, 3))]
    found = batches.proximal([weighted] * 2, ws, [ops.ones(())] * 2, 1.0)
    for new in found:
        np.testing.assert_allclose(new, weighted.proximal(ws[0], 1.0))


def compiled_calls(model):
    """The names of the functions that a step has XLA compile, one per call."""
    import tensorflow as tf

    solver = model.solver

    @tf.function
    def step():
        solver.after_update(model, solver.before_update(model))

    library = step.get_concrete_function().graph.as_graph_def().library
    must = {
        function.signature.name
        for function in library.function
        if function.attr["_XlaMustCompile"].b
    }
    return [
        node.attr["f"].func.name
        for function in library.function
        for node in function.node_def
        if node.attr["f"].func.name in must
    ]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="XLA in a TensorFlow graph"
)
def test_compiled_once_per_size_of_groups():
    # Eight kernels, of which three have 36 weights per filter, four 9.
    inputs = keras.Input((8, 8, 4))
    x = inputs
    for _ in range(3):
        x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)
    x = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = knc.attach(keras.Model(inputs, x), knc.SparseGroupTL1(1e-4))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    assert len(model.solver.targets(model)) == 8
    calls = compiled_calls(model)
    rounds = [name for name in calls if "first_round" in name]
    assert len(rounds) == 3
    assert len(set(rounds)) == 1
    # What is beyond the convex regime is compiled where it is reached.
    assert len({name for name in calls if "best_basin" in name}) == 1


def test_equal_regularizers_share_what_is_compiled():
    first, second = knc.SparseGroupTL1(1e-3), knc.SparseGroupTL1(1e-3)
    assert first == second and hash(first) == hash(second)
    assert first != knc.SparseGroupTL1(1e-3, a=2.0)
    assert first != knc.SparseGroupL1(1e-3)


def test_arguments_without_a_hash_are_equal_to_themselves_alone():
    class Weighted(knc.Group, abstract=True):
        def __init__(self, matrix):
            super().__init__(knc.penalties.L1(), 1e-3)
            self.matrix = matrix

    matrix = np.zeros(10_000)
    other = matrix.copy()
    other[5_000] = 1.0
    assert Weighted(matrix) == Weighted(matrix)
    assert Weighted(matrix) != Weighted(other)
