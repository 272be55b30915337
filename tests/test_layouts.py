"""Kernel layouts: a group means the same in every layer."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import group_patterns
from keras_nonconvex import layouts

# layer, input shape, the weight under test, groups per pattern
CASES = {
    "dense": (lambda: layers.Dense(5), (3,), "kernel", 5, 3),
    "conv1d": (lambda: layers.Conv1D(5, 2), (6, 3), "kernel", 5, 3),
    "conv2d": (lambda: layers.Conv2D(5, 2), (6, 6, 3), "kernel", 5, 3),
    "conv3d": (lambda: layers.Conv3D(5, 2), (4, 4, 4, 3), "kernel", 5, 3),
    "depthwise1d": (
        lambda: layers.DepthwiseConv1D(2, depth_multiplier=2),
        (6, 3),
        "kernel",
        6,
        3,
    ),
    "depthwise2d": (
        lambda: layers.DepthwiseConv2D(2, depth_multiplier=2),
        (6, 6, 3),
        "kernel",
        6,
        3,
    ),
    "transpose1d": (
        lambda: layers.Conv1DTranspose(5, 2),
        (6, 3),
        "kernel",
        5,
        3,
    ),
    "transpose2d": (
        lambda: layers.Conv2DTranspose(5, 2),
        (6, 6, 3),
        "kernel",
        5,
        3,
    ),
    "transpose3d": (
        lambda: layers.Conv3DTranspose(5, 2),
        (4, 4, 4, 3),
        "kernel",
        5,
        3,
    ),
    "separable1d": (
        lambda: layers.SeparableConv1D(5, 2),
        (6, 3),
        "pointwise_kernel",
        5,
        None,
    ),
    "separable2d": (
        lambda: layers.SeparableConv2D(5, 2, depth_multiplier=2),
        (6, 6, 3),
        "depthwise_kernel",
        None,
        3,
    ),
    "einsum": (
        lambda: layers.EinsumDense("abc,cd->abd", (None, 5)),
        (4, 3),
        "kernel",
        5,
        3,
    ),
    "einsum_heads": (
        lambda: layers.EinsumDense("abc,dec->abde", (None, 2, 3)),
        (4, 5),
        "kernel",
        6,
        5,
    ),
    "einsum_ellipsis": (
        lambda: layers.EinsumDense("...x,yx->...y", 4),
        (3,),
        "kernel",
        4,
        3,
    ),
}


def built(case):
    make, shape, weight, filters, inputs = CASES[case]
    layer = make()
    layer.build((None, *shape))
    for variable in layer.weights:
        values = np.random.default_rng(0).uniform(0.5, 1.0, variable.shape)
        variable.assign(values * ("kernel" in variable.name))
    slots = {s.variable.name: s for s in layouts.kernels(layer)}
    # "depthwise_kernel" and "pointwise_kernel", or the only one.
    slot = slots.get(weight) or list(slots.values())[0]
    return layer, slot, shape, filters, inputs


def group_masks(slot, pattern):
    """One mask per group: where the kernel is 1 in that group."""
    rank = len(slot.variable.shape)
    axes = group_patterns.reduced_axes(pattern, rank, slot.layout)
    shape = [1 if i in axes else n for i, n in enumerate(slot.variable.shape)]
    for index in range(np.prod(shape)):
        mask = np.zeros(np.prod(shape))
        mask[index] = 1
        yield np.broadcast_to(mask.reshape(shape), slot.variable.shape)


@pytest.mark.parametrize("case", CASES)
def test_a_filter_is_what_one_output_channel_needs(case):
    layer, slot, shape, filters, _ = built(case)
    if filters is None:
        pytest.skip("the weights of an inner channel, not of an output")
    x = np.random.default_rng(1).uniform(0.5, 1, (2, *shape))
    kernel = keras.ops.convert_to_numpy(slot.variable)
    masks = list(group_masks(slot, "filters"))
    assert len(masks) == filters
    dead = []
    for mask in masks:
        slot.variable.assign(kernel * (1 - mask))
        y = keras.ops.convert_to_numpy(layer(x)).reshape(-1, filters)
        channels = np.flatnonzero(~y.any(axis=0))
        assert len(channels) == 1
        dead.append(channels[0])
    assert sorted(dead) == list(range(filters))


@pytest.mark.parametrize("case", CASES)
def test_an_input_channel_is_what_reads_it(case):
    layer, slot, shape, _, inputs = built(case)
    if inputs is None:
        pytest.skip("reads an inner channel, not an input")
    rng = np.random.default_rng(1)
    x = rng.uniform(0.5, 1, (2, *shape))
    kernel = keras.ops.convert_to_numpy(slot.variable)
    masks = list(group_masks(slot, "input_channels"))
    assert len(masks) == inputs
    for channel, mask in enumerate(masks):
        slot.variable.assign(kernel * (1 - mask))
        changed = x.copy()
        changed[..., channel] = rng.normal(size=x.shape[:-1])
        np.testing.assert_array_equal(layer(changed), layer(x))


@pytest.mark.parametrize("case", CASES)
def test_patterns_partition_the_kernel(case):
    _, slot, *_ = built(case)
    for pattern in group_patterns.PATTERNS:
        if len(slot.variable.shape) < group_patterns.PATTERNS[pattern][1]:
            continue
        total = sum(group_masks(slot, pattern))
        np.testing.assert_array_equal(total, np.ones(slot.variable.shape))


def test_embedding():
    layer = layers.Embedding(7, 4)
    layer.build()
    (slot,) = layouts.kernels(layer)
    assert slot.attribute == "embeddings_regularizer"
    assert len(list(group_masks(slot, "filters"))) == 4
    assert len(list(group_masks(slot, "input_channels"))) == 7
    x = keras.Input((3,), dtype="int32")
    model = knc.attach(keras.Model(x, layer(x)), knc.GroupLasso(1e-2))
    assert slot.variable.regularizer is layer.embeddings_regularizer
    assert float(sum(model.losses)) > 0


def test_subclasses_keep_their_layout():
    class Mine(layers.Conv2DTranspose):
        pass

    layer = Mine(5, 2)
    layer.build((None, 6, 6, 3))
    (slot,) = layouts.kernels(layer)
    assert slot.layout == layouts.TRANSPOSED


ATTACHABLE = [
    knc.GroupLasso(1e-2),
    knc.SparseGroupSCAD(1e-2, groups="input_channels"),
    knc.GroupSparseEnvelope(k="50%", groups="filters"),
    knc.HierarchicalGroup(grouping="neuron"),
    knc.GroupHoyerSquare(1e-2),
    knc.OrthoReg(1e-2),
]


@pytest.mark.parametrize("reg", ATTACHABLE, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("case", ["transpose2d", "depthwise2d", "separable2d"])
def test_attach_picks_the_axes(case, reg, tmp_path):
    make, shape, *_ = CASES[case]
    inputs = keras.Input(shape)
    layer = make()
    plain = keras.Model(inputs, layer(inputs))
    model = knc.attach(plain, reg)
    model.compile("sgd", "mse")
    y = np.zeros((4, *model.output_shape[1:]))
    model.fit(np.ones((4, *shape)), y, verbose=0)
    assert np.isfinite(model.evaluate(np.ones((4, *shape)), y, verbose=0))
    for slot in layouts.kernels(layer):
        assert slot.variable.regularizer is getattr(layer, slot.attribute)
        # What was attached passes the check that refuses the plain one.
        own = slot.variable.regularizer
        rank = len(slot.variable.shape)
        assert own.for_layout(rank, slot.layout) is own
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert repr(loaded.layers[-1].get_config()) == repr(layer.get_config())


@pytest.mark.parametrize(
    "attribute,owner",
    [
        ("kernel_regularizer", knc.GroupLasso(1e-2)),
        ("kernel_regularizer", knc.HierarchicalGroup()),
        ("kernel_constraint", knc.constraints.MaxActiveGroups(2)),
    ],
)
def test_the_wrong_axes_are_refused(attribute, owner):
    inputs = keras.Input((6, 6, 3))
    layer = layers.Conv2DTranspose(5, 2, name="up", **{attribute: owner})
    model = knc.ProximalModel(inputs, layer(inputs))
    with pytest.raises(ValueError, match="Layer 'up'.*Received: ") as error:
        model.compile("sgd", "mse")
    assert "(0, 1, " in str(error.value)


def test_scales_of_batch_normalization():
    def make():
        inputs = keras.Input((6, 6, 3))
        x = layers.Conv2D(4, 3, name="conv1")(inputs)
        x = layers.BatchNormalization(name="conv1_bn")(x)
        return keras.Model(inputs, x)

    slim = knc.Elementwise(knc.penalties.TransformedL1(), 1e-3)
    for rules in (
        {layers.BatchNormalization: slim},
        {"*_bn/gamma": slim},
    ):
        model = knc.attach(make(), rules)
        assert model.get_layer("conv1_bn").gamma.regularizer is slim
        assert model.get_layer("conv1").kernel.regularizer is None
        plain = knc.strip(model)
        assert plain.get_layer("conv1_bn").gamma_regularizer is None
        assert not plain.losses
    # A pattern for kernels leaves them alone.
    for rules in (slim, {"conv1*": slim}, {lambda layer: True: slim}):
        model = knc.attach(make(), rules)
        assert model.get_layer("conv1_bn").gamma.regularizer is None
        assert model.get_layer("conv1").kernel.regularizer is slim
    model = knc.attach(make(), {"conv1/kernel": slim})
    assert model.get_layer("conv1").kernel.regularizer is slim


def test_layers_inside_of_layers():
    def make():
        inputs = keras.Input((5, 4))
        x = layers.MultiHeadAttention(2, 3, name="mha")(inputs, inputs)
        x = layers.TimeDistributed(layers.Dense(6, name="inner"))(x)
        x = layers.SpectralNormalization(layers.Conv1DTranspose(3, 2))(x)
        return keras.Model(inputs, x)

    model = knc.attach(make(), knc.GroupLasso(1e-2))
    model.compile("sgd", "mse")
    attached = [
        v for v in model.trainable_variables if v.regularizer is not None
    ]
    assert len(attached) == 6
    query = model.get_layer("mha").query_dense.kernel
    assert query.regularizer.groups == (0,)
    assert attached[-1].regularizer.groups == (0, 2)
    plain = knc.strip(model)
    assert not plain.losses
    assert "keras_nonconvex" not in repr(plain.get_config())
    # One argument for kernels of several layouts is fitted to each.
    inputs = keras.Input((5, 4))
    lasso = knc.GroupLasso(1e-2)
    attention = layers.MultiHeadAttention(2, 3, kernel_regularizer=lasso)
    model = knc.ProximalModel(inputs, attention(inputs, inputs))
    model.compile("sgd", "mse")
    assert [
        dense.kernel.regularizer.groups
        for dense in (attention.query_dense, attention.output_dense)
    ] == [(0,), "filters"]
