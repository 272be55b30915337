"""Counts: parameters, MACs and zeros, per layer and in all.

`macs` says what a MAC is.
"""

import collections
import dataclasses

import keras
import numpy as np

from keras_nonconvex import graph
from keras_nonconvex import group_patterns
from keras_nonconvex import layer_names
from keras_nonconvex import layouts
from keras_nonconvex import macs
from keras_nonconvex import terminal
from keras_nonconvex import unfolding

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


@dataclasses.dataclass
class LayerCount:
    """The counts of one layer.

    Attributes:
        name: The layer's name, after the names of the nested models that it
            is in: "model/layer".
        kind: The layer's class, "Conv2D".
        output_shape: The shape of its output without the batch axis.
        params: The number of its parameters, trainable or not.
        macs: The multiply-adds of all its calls, for one sample; 0 where
            `counted` is `False`.
        weights: The number of weights in its kernel; 0 without a kernel.
        zero_weights: How many of these are exactly zero.
        filters: The number of output filters or units of its kernel.
        zero_filters: How many of these have exactly zero weights only, or
            are multiplied by a zero scale right after (network slimming).
        counted: Whether its MACs are known. Defaults to `True`.
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
    counted: bool = True


@dataclasses.dataclass
class Summary:
    """The counts of a model. `print(summary)` shows them as a table.

    Attributes:
        name: The model's name.
        layers: A list of `LayerCount`, in the order of the first calls.
        params: The number of parameters, trainable or not.
        macs: The multiply-adds of one sample, as far as they are known.
        weights: The number of weights in the kernels of dense and
            convolution layers.
        zero_weights: How many of these are exactly zero.
        filters: The number of output filters and units of these kernels.
        zero_filters: How many of these have exactly zero weights only, or
            are multiplied by a zero scale right after.
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
        uncounted = [row.name for row in self.layers if not row.counted]
        title = (
            f"{self.name}: {self.params:,} parameters, {self.macs:,} "
            f"{'counted ' * bool(uncounted)}MACs per sample"
        )
        table = terminal.table(
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
                (f"{row.macs:,}" if row.macs else "") if row.counted else "?",
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
        return terminal.titled(title, table, not_counted(uncounted))

    def __str__(self):
        return terminal.render(self.table())


def summary(model):
    """Counts parameters, MACs and exact zeros per layer of a built model.

    A MAC is one multiply-add of a convolution or dense layer, for one sample.

    Args:
        model: A built `keras.Model`. Own layers and subclassed models are
            followed to the layers that they call.

    Returns:
        A `Summary`, which prints as a table. Its attributes `params`, `macs`,
        `weights`, `zero_weights`, `filters` and `zero_filters` are the totals
        of the model; `layers` is a list with the counts of each layer.

    Example:
    >>> counted = knc.summary(model)
    >>> print(counted)
    >>> counted.zero_filters, counted.filters
    """
    silent = silenced(model)
    found = {}
    shapes = {}
    layers = []
    for call in graph.calls(unfolding.functional(model)):
        layer = call.operation
        if not isinstance(layer, keras.layers.Layer) or isinstance(
            layer, keras.layers.InputLayer
        ):
            continue
        if id(layer) not in found:
            layers.append((graph.name(call), layer))
        found.setdefault(id(layer), []).append(macs.call_macs(call))
        shapes[id(layer)] = tuple(call.outputs[0].shape[1:])
    return Summary(
        model.name,
        [
            LayerCount(
                name,
                type(layer).__name__,
                shapes[id(layer)],
                layer.count_params(),
                sum(n or 0 for n in found[id(layer)]),
                **zeros(layer, silent),
                counted=None not in found[id(layer)],
            )
            for name, layer in layers
        ],
    )


def zeros(layer, silent=None):
    """How many weights and filters of a layer's kernel are exactly zero.

    Args:
        layer: A built layer.
        silent: What `silenced` returns for its model. Defaults to `None`:
            the kernel alone counts.
    """
    slots = layouts.kernels(layer) if isinstance(layer, _KERNEL_LAYERS) else []
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
    alive = np.any(kernel != 0, axis=axes).reshape(-1)
    if silent and id(slot.variable) in silent:
        alive &= ~silent[id(slot.variable)]
    return {
        "weights": kernel.size,
        "zero_weights": int(np.sum(kernel == 0)),
        "filters": alive.size,
        "zero_filters": int(np.sum(~alive)),
    }


def silenced(model):
    """The filters that batch normalizations right after multiply by zero.

    Args:
        model: A built model.

    Returns:
        {id of a kernel: one bool per filter}, for the layers that nothing but
        such normalizations reads; {} for a model without a graph.
    """
    try:
        flat = graph.flattened(unfolding.functional(model))
    except ValueError:
        return {}
    readers = collections.defaultdict(list)
    for call in flat.calls:
        for tensor in call.inputs:
            readers[id(tensor)].append(call.operation)
    for tensor in flat.outputs:
        readers[id(tensor)].append(None)
    silent = {}
    for call in flat.calls:
        layer = call.operation
        if not isinstance(layer, _KERNEL_LAYERS):
            continue
        (slot,) = layouts.kernels(layer)
        (output,) = call.outputs
        axis = layouts.channel_axis(layer, len(output.shape))
        for reader in readers[id(output)]:
            zero = np.False_
            if (
                isinstance(reader, keras.layers.BatchNormalization)
                and reader.scale
                and reader.axis % len(output.shape) == axis
            ):
                zero = keras.ops.convert_to_numpy(reader.gamma) == 0
            key = id(slot.variable)
            silent[key] = silent.get(key, np.True_) & zero
    return {key: zero for key, zero in silent.items() if np.ndim(zero)}


def not_counted(names):
    """A sentence about layers whose MACs are not known; None without any.

    Args:
        names: Their names.
    """
    if not names:
        return None
    return f"MACs that are not known (?): {layer_names.some(names)}."


def _fraction(part, whole):
    return f"{part}/{whole}" if whole else ""


def _percent(part, whole):
    return f"{part / whole:.1%}" if whole else ""
