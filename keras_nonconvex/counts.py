"""Counts: parameters, MACs and zeros, per layer and in all.

A MAC is one multiply-add of a convolution or dense layer, for one sample;
biases, normalisation, activations and pooling are not counted.
FLOPs = 2 x MACs.
"""

import dataclasses
import math

import keras
import numpy as np

from keras_nonconvex import graph
from keras_nonconvex import group_patterns
from keras_nonconvex import layouts
from keras_nonconvex import terminal

_KERNEL_LAYERS = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_TRANSPOSED = _KERNEL_LAYERS[-3:]
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_RECURRENT = (keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU)


@dataclasses.dataclass
class LayerCount:
    """The counts of one layer.

    Attributes:
        name: The layer's name, after the names of the nested models that it
            is in: "model/layer".
        kind: The layer's class, "Conv2D".
        output_shape: The shape of its output without the batch axis.
        params: The number of its parameters, trainable or not.
        macs: The multiply-adds of all its calls, for one sample.
        weights: The number of weights in its kernel; 0 without a kernel.
        zero_weights: How many of these are exactly zero.
        filters: The number of output filters or units of its kernel.
        zero_filters: How many of these have exactly zero weights only.
    """

    name: str
    kind: str
    output_shape: tuple
    params: int
    macs: int
    weights: int
    zero_weights: int
    filters: int
    zero_filters: int


@dataclasses.dataclass
class Summary:
    """The counts of a model. `print(summary)` shows them as a table.

    Attributes:
        name: The model's name.
        layers: A list of `LayerCount`, in the order of the first calls.
        params: The number of parameters, trainable or not.
        macs: The multiply-adds of one sample.
        weights: The number of weights in the kernels of dense and
            convolution layers.
        zero_weights: How many of these are exactly zero.
        filters: The number of output filters and units of these kernels.
        zero_filters: How many of these have exactly zero weights only.
    """

    name: str
    layers: list

    def total(self, field):
        """The sum of a field of `LayerCount` over all layers."""
        return sum(getattr(layer, field) for layer in self.layers)

    params = property(lambda self: self.total("params"))
    macs = property(lambda self: self.total("macs"))
    weights = property(lambda self: self.total("weights"))
    zero_weights = property(lambda self: self.total("zero_weights"))
    filters = property(lambda self: self.total("filters"))
    zero_filters = property(lambda self: self.total("zero_filters"))

    def table(self):
        """The table as a rich renderable."""
        table = terminal.table(
            f"{self.name}: {self.params:,} parameters, "
            f"{self.macs:,} MACs per sample",
            "layer",
            "output<",
            "params",
            "MACs",
            "zero\nfilters",
            "zero\nweights",
        )
        for row in self.layers:
            table.add_row(
                terminal.Name(row.name, row.kind),
                "x".join(str(n) for n in row.output_shape),
                f"{row.params:,}" if row.params else "",
                f"{row.macs:,}" if row.macs else "",
                _fraction(row.zero_filters, row.filters),
                _percent(row.zero_weights, row.weights),
            )
        table.add_section()
        table.add_row(
            "total",
            "",
            f"{self.params:,}",
            f"{self.macs:,}",
            _fraction(self.zero_filters, self.filters),
            _percent(self.zero_weights, self.weights),
        )
        return table

    def __str__(self):
        return terminal.render(self.table())


def summary(model):
    """Counts parameters, MACs and exact zeros per layer of a built model.

    A MAC is one multiply-add of a convolution or dense layer, for one sample.

    Args:
        model: A built functional or Sequential `keras.Model` whose input size
            is known.

    Returns:
        A `Summary`, which prints as a table. Its attributes `params`, `macs`,
        `weights`, `zero_weights`, `filters` and `zero_filters` are the totals
        of the model; `layers` is a list with the counts of each layer.

    Example:
    >>> counted = knc.summary(model)
    >>> print(counted)
    >>> counted.zero_filters, counted.filters
    """
    macs = {}
    shapes = {}
    layers = []
    for call in graph.calls(model):
        layer = call.operation
        if not isinstance(layer, keras.layers.Layer) or isinstance(
            layer, keras.layers.InputLayer
        ):
            continue
        if id(layer) not in macs:
            layers.append((graph.name(call), layer))
        macs[id(layer)] = macs.get(id(layer), 0) + call_macs(call)
        shapes[id(layer)] = tuple(call.outputs[0].shape[1:])
    return Summary(
        model.name,
        [
            LayerCount(
                name,
                type(layer).__name__,
                shapes[id(layer)],
                layer.count_params(),
                macs[id(layer)],
                **zeros(layer),
            )
            for name, layer in layers
        ],
    )


def zeros(layer):
    """How many weights and filters of a layer's kernel are exactly zero."""
    slots = layouts.slots(layer) if isinstance(layer, _KERNEL_LAYERS) else []
    if not slots:
        return {
            "weights": 0,
            "zero_weights": 0,
            "filters": 0,
            "zero_filters": 0,
        }
    (slot,) = slots
    kernel = keras.ops.convert_to_numpy(slot.variable)
    axes = group_patterns.reduced_axes("filters", kernel.ndim, slot.layout)
    alive = np.any(kernel != 0, axis=axes)
    return {
        "weights": kernel.size,
        "zero_weights": int(np.sum(kernel == 0)),
        "filters": alive.size,
        "zero_filters": int(np.sum(~alive)),
    }


def call_macs(call):
    """The multiply-adds of one call of a layer, for one sample."""
    return sum(math.prod(v.shape) * times for v, times in kernels(call))


def kernels(call):
    """The kernels of one call of a layer, and how often each is applied.

    Attention and recurrent layers are counted by their kernels too; the
    products of queries with keys and values are not counted.

    Args:
        call: A `graph.Call`.

    Returns:
        A list of (kernel, how often it is applied to one sample).
    """
    layer = call.operation
    given = [tuple(t.shape[1:]) for t in call.inputs]
    return _kernels(layer, given, tuple(call.outputs[0].shape[1:]))


def _kernels(layer, given, result):
    """`kernels`, from the shapes of inputs and output without the batch."""
    if isinstance(layer, keras.layers.TimeDistributed):
        inner = [shape[1:] for shape in given]
        steps = _product(layer, given[0][:1])
        return [
            (v, steps * times)
            for v, times in _kernels(layer.layer, inner, result[1:])
        ]
    if isinstance(layer, keras.layers.Bidirectional):
        parts = (layer.forward_layer, layer.backward_layer)
        return [k for part in parts for k in _kernels(part, given, result)]
    if isinstance(layer, keras.layers.MultiHeadAttention):
        steps = [_product(layer, shape[:-1]) for shape in (given[0], given[-1])]
        parts = (
            (layer.query_dense, steps[0]),
            (layer.key_dense, steps[1]),
            (layer.value_dense, steps[1]),
            (layer.output_dense, steps[0]),
        )
        return [(dense.kernel, times) for dense, times in parts]
    if isinstance(layer, _RECURRENT):
        steps = _product(layer, given[0][:1])
        cell = layer.cell
        return [(cell.kernel, steps), (cell.recurrent_kernel, steps)]
    if isinstance(layer, keras.layers.EinsumDense):
        return [(layer.kernel, _einsum_times(layer, given[0]))]
    if isinstance(layer, _SEPARABLE):
        times = _product(layer, _inner(layer, result))
        names = ("depthwise_kernel", "pointwise_kernel")
        return [(getattr(layer, name), times) for name in names]
    if isinstance(layer, _KERNEL_LAYERS):
        shape = given[0] if isinstance(layer, _TRANSPOSED) else result
        return [(layer.kernel, _product(layer, _inner(layer, shape)))]
    return []


def _inner(layer, shape):
    """The positions of a shape that has no batch axis."""
    axis = layouts.channel_axis(layer, 1 + len(shape)) - 1
    return shape[:axis] + shape[axis + 1 :]


def _product(layer, shape):
    if None in shape:
        raise ValueError(
            "MACs need a fixed input size: give keras.Input a full shape. "
            f"Received: layer '{layer.name}' at positions {shape}"
        )
    return math.prod(shape)


def _einsum_times(layer, given):
    """The number of products of the equation / the size of its kernel."""
    read, kernel, _ = layouts.einsum_letters(layer)
    shared = [
        n
        for letter, n in zip(kernel, layer.kernel.shape, strict=True)
        if letter in read
    ]
    return _product(layer, given) // math.prod(shared)


def _fraction(part, whole):
    return f"{part}/{whole}" if whole else ""


def _percent(part, whole):
    return f"{part / whole:.1%}" if whole else ""
