"""MACs: the kernels of each call of a layer, and how often they are applied.

A MAC is one multiply-add of a kernel, for one sample. Biases, normalisation,
activations, pooling and look-ups are not counted, nor are the products of
queries with keys and values. FLOPs = 2 x MACs.

To count another layer, decorate a function with `_of`.
"""

import math

import keras

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex.time_steps import times

_COUNTERS = {}


def call_macs(call):
    """The multiply-adds of one call of a layer; None if they are not known.

    Args:
        call: A `graph.Call`.
    """
    found = kernels(call)
    if found is None:
        return None
    return sum(math.prod(v.shape) * times for v, times in found)


def kernels(call):
    """The kernels of one call of a layer, and how often each is applied.

    Args:
        call: A `graph.Call`.

    Returns:
        A list of (kernel, how often it is applied to one sample). None for a
        layer with matrices of which it is not known.

    Raises:
        ValueError: The size of the input is not known.
    """
    given = [tuple(t.shape[1:]) for t in call.inputs]
    result = tuple(call.outputs[0].shape[1:])
    found, often = _kernels(call.operation, given, result), times(call.path)
    return found and [(kernel, often * count) for kernel, count in found]


def _kernels(layer, given, result):
    """`kernels`, from the shapes of inputs and output without the batch."""
    for cls in type(layer).__mro__:
        if cls in _COUNTERS:
            return _COUNTERS[cls](layer, given, result)
    matrices = [v for v in _weights(layer) if len(v.shape) > 1]
    return None if matrices else []


def _weights(layer):
    return layer.weights if isinstance(layer, keras.layers.Layer) else ()


def _of(*types):
    """Decorator: registers how the kernels of layer types are counted."""

    def register(function):
        _COUNTERS.update(dict.fromkeys(types, function))
        return function

    return register


@_of(
    keras.layers.BatchNormalization,
    keras.layers.Embedding,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.RMSNormalization,
)
def _without_products(layer, given, result):
    return []


@_of(
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
def _at_outputs(layer, given, result):
    return [(layer.kernel, _positions(layer, result))]


@_of(
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
def _at_inputs(layer, given, result):
    return [(layer.kernel, _positions(layer, given[0]))]


@_of(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
def _in_two(layer, given, result):
    times = _positions(layer, result)
    return [(layer.depthwise_kernel, times), (layer.pointwise_kernel, times)]


@_of(keras.layers.EinsumDense)
def _by_equation(layer, given, result):
    """The number of products of the equation / the size of its kernel.

    One that only scales each value counts none, as a normalization does.
    """
    read, kernel, made = layouts.einsum_letters(layer)
    if set(kernel) <= set(read) == set(made):
        return []
    shared = [
        n
        for letter, n in zip(kernel, layer.kernel.shape, strict=True)
        if letter in read
    ]
    return [(layer.kernel, _product(layer, given[0]) // math.prod(shared))]


@_of(keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
def _of_attention(layer, given, result):
    query, value = (_product(layer, s[:-1]) for s in (given[0], given[-1]))
    return [
        (layer._query_dense.kernel, query),
        (layer._key_dense.kernel, value),
        (layer._value_dense.kernel, value),
        (layer._output_dense.kernel, query),
    ]


@_of(keras.layers.RNN)
def _of_cells(layer, given, result):
    steps = _product(layer, given[0][:1])
    known = (
        keras.layers.SimpleRNNCell,
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
    )
    cells = getattr(layer.cell, "cells", [layer.cell])
    if not all(isinstance(cell, known) for cell in cells):
        return None
    parts = [(cell.kernel, cell.recurrent_kernel) for cell in cells]
    return [(kernel, steps) for part in parts for kernel in part]


@_of(keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D)
def _of_images_in_time(layer, given, result):
    cell = layer.cell
    image = result[1:] if layer.return_sequences else result
    times = _product(layer, given[0][:1]) * _positions(cell, image)
    return [(cell.kernel, times), (cell.recurrent_kernel, times)]


@_of(keras.layers.Bidirectional)
def _both_ways(layer, given, result):
    parts = (layer.forward_layer, layer.backward_layer)
    return _joined([_kernels(part, given, result) for part in parts])


@_of(keras.layers.TimeDistributed)
def _at_each_step(layer, given, result):
    steps = _product(layer, given[0][:1])
    inner = [shape[1:] for shape in given]
    once = _kernels(layer.layer, inner, result[1:])
    return once and [(kernel, steps * times) for kernel, times in once]


@_of(keras.layers.Wrapper)
def _of_the_inner_layer(layer, given, result):
    return _kernels(layer.layer, given, result)


@_of(keras.Model)
def _of_a_model(model, given, result):
    if not graph.is_graph(model):
        return None
    return _joined([kernels(call) for call in graph.calls(model)])


def _joined(parts):
    """One list of several; None if one of them is not known."""
    if None in parts:
        return None
    return [one for part in parts for one in part]


def _positions(layer, shape):
    """How many positions a shape has that has no batch axis."""
    axis = layouts.channel_axis(layer, 1 + len(shape)) - 1
    return _product(layer, shape[:axis] + shape[axis + 1 :])


def _product(layer, shape):
    if None in shape:
        raise ValueError(
            "MACs need a fixed input size: give keras.Input a full shape. "
            f"Received: layer '{layer.name}' at positions {shape}"
        )
    return math.prod(shape)
