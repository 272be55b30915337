"""Where does a file drift away from its Keras model? Layer by layer."""

import dataclasses
import pathlib

import keras
import numpy as np

from keras_nonconvex import graph
from keras_nonconvex import samples
from keras_nonconvex import terminal
from tflite_export import flatfile
from tflite_export import inference
from tflite_export import runtime

# All layers' outputs of so many inputs are held at once.
_MOST = 64


@dataclasses.dataclass(frozen=True)
class LayerDrift:
    """One operation of a file against the Keras layer whose output it gives.

    Attributes:
        index: int. The operation's place in the file.
        operation: str. Its name, such as "CONV_2D".
        layer: str. The name of the Keras layer whose output it gives.
        error: float. The root mean square of the difference, as a fraction of
            that of the layer's output. It includes the errors of all
            operations before.
        added: float. How much larger that is than the largest error among the
            operation's inputs: the drift that the operation itself brings.
        max_abs_diff: float. The largest difference between two values.
    """

    index: int
    operation: str
    layer: str
    error: float
    added: float
    max_abs_diff: float


def compare_layers(model, path, x):
    """The drift of every layer whose output the file computes.

    LiteRT's reference kernels run, not the delegate's, whose inner values
    cannot be read; where a file is quantized, the two differ by a few steps.

    Args:
        model: The Keras model.
        path: str or path. Its LiteRT file.
        x: A few inputs as Keras takes them, in any form that `check_parity`
            takes; labels are left out. At most 64 of them are compared.

    Returns:
        A list of `LayerDrift` in the order of the file.

    Example:
    >>> rows = tflite_export.compare_layers(model, "model.tflite", x_test[:8])
    >>> print(max(rows, key=lambda row: row.added).layer)
    """
    from ai_edge_litert.interpreter import OpResolverType

    model = inference.functional(model)
    x, _ = samples.read(model, x, most=_MOST, split="test")
    x = samples.leaves(model, x)
    with inference.float32(model):
        expected, last = _layer_outputs(model, x)
    file = flatfile.read(path)
    (file_graph,) = file.subgraphs
    interpreter = runtime.interpreter(
        path,
        experimental_op_resolver_type=(
            OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
        experimental_preserve_all_tensors=True,
    )
    # Where operations were fused, the last one's name comes first.
    named = [
        flatfile.layer_of(tensor.name.decode().split(";")[0], expected)
        for tensor in file_graph.tensors
    ]
    for tensor, layer in zip(file_graph.outputs, last, strict=True):
        named[tensor] = layer
    inside = _inside_layers(file_graph, named)
    # layer -> the last tensor with its name
    ends = {}
    for operator in file_graph.operators:
        index = int(operator.outputs[0])
        layer = named[index]
        shape = tuple(map(int, file_graph.tensors[index].shape))[1:]
        if (
            layer in expected
            and index not in inside
            and expected[layer].shape[1:] == shape
        ):
            ends[layer] = index
    outputs = _file_outputs(interpreter, ends.values(), x)
    layers = {tensor: layer for layer, tensor in ends.items()}
    # tensor -> the last error known on the way to it
    carried = {}
    rows = []
    for index, operator in enumerate(file_graph.operators):
        error = max(carried.get(int(i), 0.0) for i in operator.inputs)
        tensor = int(operator.outputs[0])
        if tensor in layers:
            layer, before = layers[tensor], error
            difference = outputs[tensor] - expected[layer]
            error = _rms(difference) / (_rms(expected[layer]) or 1.0)
            rows.append(
                LayerDrift(
                    index,
                    flatfile.kind(file, operator),
                    layer,
                    error,
                    max(error - before, 0.0),
                    float(np.abs(difference).max()),
                )
            )
        carried.update(dict.fromkeys(map(int, operator.outputs), error))
    return rows


def _inside_layers(file_graph, named):
    """Tensors named after a layer that is not finished with them.

    An operation that reads such a tensor also reads a constant of the same
    layer. An example is the product of a batch normalization, whose sum is
    fused into the ReLU after it.
    """
    made = {
        int(i) for operator in file_graph.operators for i in operator.outputs
    }
    inside = set()
    for operator in file_graph.operators:
        inputs = {int(i) for i in operator.inputs if i >= 0}
        constants = {named[i] for i in inputs - made}
        inside |= {i for i in inputs & made if named[i] in constants - {None}}
    return inside


def _layer_outputs(model, x):
    """{layer: its output on x} of the layers that are called once.

    A nested model counts as one layer.

    Also returns the names of the layers that give the model's outputs.
    """
    whole = graph.functional(model)
    names, outputs = [], []
    last = [None] * len(whole.outputs)
    for node in graph.nodes(whole):
        if node.is_input or len(node.outputs) != 1:
            continue
        names.append(node.operation.name)
        outputs.append(node.outputs[0])
        for place, tensor in enumerate(whole.outputs):
            if node.outputs[0] is tensor:
                last[place] = node.operation.name
    inner = keras.Model(whole.inputs, outputs)
    values = keras.tree.flatten(inner(x, training=False))
    return {
        name: keras.ops.convert_to_numpy(value)
        for name, value in zip(names, values, strict=True)
        if names.count(name) == 1
    }, last


def _file_outputs(interpreter, wanted, x):
    sources = interpreter.get_input_details()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    outputs = {index: [] for index in wanted}
    for sample in zip(*map(runtime.quantized, x, sources), strict=True):
        for source, value in zip(sources, sample, strict=True):
            interpreter.set_tensor(source["index"], value[None])
        interpreter.invoke()
        for index in wanted:
            value = interpreter.get_tensor(index)
            outputs[index].append(runtime.dequantized(value, details[index]))
    return {index: np.concatenate(parts) for index, parts in outputs.items()}


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype="float64"))))


def table(path, rows):
    """The drift of a file's layers as a `rich.table.Table`.

    Args:
        path: The file.
        rows: What `compare_layers` returns for it.
    """
    worst = max(rows, key=lambda row: row.added, default=None)
    made = terminal.table(
        "layer",
        "operation<",
        "relative\nerror",
        "added\nhere",
        "max\ndifference",
    )
    for row in rows:
        made.add_row(
            terminal.Name(row.layer),
            f"{row.index} {row.operation}",
            f"{row.error:.2g}",
            ("most -> " if row is worst else "") + f"{row.added:.2g}",
            f"{row.max_abs_diff:.2g}",
        )
    return terminal.titled(pathlib.Path(path).name, made)
