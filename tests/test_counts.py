"""Counts that implementations must hit."""

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex.flops import slimming_flops


def test_lenet5():
    found = knc.summary(knc.models.lenet5())
    assert found.params == 431_080
    assert found.macs == 24**2 * 25 * 20 + 64 * 500 * 50 + 800 * 500 + 5000
    assert found.filters == 580
    assert found.zero_filters == 0
    assert "431,080" in str(found)


def test_flops_of_the_slimming_papers_by_hand():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(layers.MaxPooling2D(2)(x))
    x = keras.ops.relu(layers.ReLU()(x))
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()([x, x]))
    model = keras.Model(inputs, layers.Dense(5, use_bias=False)(x))
    conv = 64 * 4 * (2 * 27 + 1 + 1)
    pooled = 16 * 4 * (4 + 2 + 1 + 1)
    assert slimming_flops(model) == conv + pooled + 16 * 8 + 2 * 8 * 5
    # Called twice, a model counts twice.
    again = keras.Input((8, 8, 3))
    twice = keras.Model(again, [model(again), model(again)])
    assert slimming_flops(twice) == 2 * slimming_flops(model)


def test_flops_of_an_unknown_layer_are_refused():
    class Own(layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight((shape[-1], 2), name="matrix")

        def call(self, x):
            return keras.ops.matmul(x, self.matrix)

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Own(name="own")(inputs))
    with pytest.raises(ValueError, match="Received: layer 'own'"):
        slimming_flops(model)


def test_macs_against_tensorflow_profiler():
    # An independent count of the same graph.
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants
    from tensorflow.python.profiler import model_analyzer
    from tensorflow.python.profiler import option_builder

    for build in (models.chain, models.residual, models.sequential):
        model = build()
        shape = (1, *model.inputs[0].shape[1:])
        function = tf.function(lambda x, m=model: m(x, training=False))
        frozen = convert_to_constants.convert_variables_to_constants_v2(
            function.get_concrete_function(tf.TensorSpec(shape))
        )
        options = (
            option_builder.ProfileOptionBuilder(
                option_builder.ProfileOptionBuilder.float_operation()
            )
            .with_empty_output()
            .build()
        )
        root = model_analyzer.profile(
            frozen.graph, cmd="scope", options=options
        )
        flops = sum(
            node.float_ops
            for node in walk(root)
            if node.name.rsplit("/")[-1].split("_")[0] in ("Conv2D", "MatMul")
            or node.name.endswith(("convolution", "MatMul"))
        )
        assert 2 * knc.summary(model).macs == flops


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


def of_images():
    return keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten()]
    )


@pytest.mark.parametrize(
    "layer,shape,expected",
    [
        # 6 x 6 positions of 9 x 3 x 4 products, at each of 5 steps.
        (layers.TimeDistributed(of_images()), (5, 8, 8, 3), 5 * 36 * 108),
        # Both kernels at each position of the output, at each step.
        (
            layers.ConvLSTM2D(4, 3),
            (5, 8, 8, 3),
            5 * 36 * (9 * 3 * 16 + 9 * 4 * 16),
        ),
        (
            layers.ConvLSTM1D(4, 3, padding="same", return_sequences=True),
            (5, 8, 3),
            5 * 8 * (3 * 3 * 16 + 3 * 4 * 16),
        ),
        (
            layers.RNN([layers.LSTMCell(4), layers.GRUCell(5)]),
            (7, 3),
            7 * (3 * 16 + 4 * 16 + 4 * 15 + 5 * 15),
        ),
        # 4 heads of queries, 2 of keys and values, 3 dimensions each.
        (
            lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x),
            (7, 6),
            7 * (6 * 12 + 2 * 6 * 6 + 12 * 6),
        ),
        (
            layers.SpectralNormalization(layers.Conv2D(4, 3)),
            (8, 8, 3),
            36 * 108,
        ),
        (layers.LayerNormalization(axis=(1, 2)), (5, 6), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_macs_by_hand(layer, shape, expected):
    inputs = keras.Input(shape)
    found = knc.summary(keras.Model(inputs, layer(inputs)))
    assert found.macs == expected
    assert all(row.counted for row in found.layers)


def test_zeros():
    model = models.chain()
    kernel = model.get_layer("a").kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[..., 2] = 0
    values[0, 0, 0, 0] = 0
    kernel.assign(values)
    found = knc.summary(model)
    assert found.zero_filters == 1
    assert found.zero_weights == 3 * 3 * 2 + 1


def test_filters_are_zero_where_all_that_read_them_scale_by_zero():
    inputs = keras.Input((6, 6, 2))
    conv = layers.Conv2D(4, 3, name="conv")
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=2)
    read_twice, shown = layers.Conv2D(4, 1), layers.Conv2D(4, 1)
    norms = [layers.BatchNormalization() for _ in range(5)]
    first, second, third, fourth, fifth = norms
    a = [first(conv(inputs)), second(conv(layers.ReLU()(inputs)))]
    b = depthwise(inputs)
    c = read_twice(inputs)
    d = shown(inputs)
    model = keras.Model(
        inputs, [*a, third(b), fourth(c), layers.ReLU()(c), d, fifth(d)]
    )
    for norm, zeros in zip(
        norms, ([0, 1], [1, 2], [3], [0, 1], [0, 1]), strict=True
    ):
        gamma = np.ones(norm.gamma.shape)
        gamma[zeros] = 0.0
        norm.gamma.assign(gamma)
    rows = {row.name: row for row in knc.summary(model).layers}
    assert rows["conv"].zero_filters == 1
    assert rows[depthwise.name].zero_filters == 1
    assert rows[read_twice.name].zero_filters == 0
    assert rows[shown.name].zero_filters == 0
    # A zero filter and a zero scale of one filter are one zero filter.
    kernel = np.ones(conv.kernel.shape)
    kernel[..., 1:3] = 0.0
    conv.kernel.assign(kernel)
    (row, *_) = [r for r in knc.summary(model).layers if r.name == "conv"]
    assert row.zero_filters == 2


def test_shared_layers_count_twice_for_macs_once_for_params():
    inputs = keras.Input((5, 5, 3))
    conv = layers.Conv2D(3, 1)
    model = keras.Model(inputs, conv(conv(inputs)))
    found = knc.summary(model)
    assert found.params == 12 and found.macs == 2 * 25 * 9


def test_unknown_sizes_are_refused():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 1)(inputs))
    with pytest.raises(ValueError, match="fixed input size"):
        knc.summary(model)
    assert np.isfinite(knc.models.lenet5().count_params())
