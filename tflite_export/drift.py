"""Where does a file drift away from its Keras model? Layer by layer."""

import dataclasses
import pathlib

import keras
import numpy as np

from keras_nonconvex import graph
from keras_nonconvex import terminal
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export import samples


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
        model: The functional Keras model.
        path: str or path. Its LiteRT file.
        x: Array `(n, ...)` of a few finite inputs, as Keras takes them.

    Returns:
        A list of `LayerDrift` in the order of the file.

    Example:
    >>> rows = tflite_export.compare_layers(model, "model.tflite", x_test[:8])
    >>> print(max(rows, key=lambda row: row.added).layer)
    """
    from ai_edge_litert.interpreter import OpResolverType

    samples.check_inputs(model, x)
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
    named[file_graph.outputs[0]] = last
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

    Also returns the name of the layer that gives the model's output.
    """
    whole = graph.functional(model)
    names, outputs = [], []
    last = None
    for call in graph.calls(whole):
        single = len(call.outputs) == 1 and not call.path
        if single and not call.node.is_input:
            names.append(call.operation.name)
            outputs.append(call.outputs[0])
            if call.outputs[0] is whole.outputs[0]:
                last = call.operation.name
    (source,) = whole.inputs
    values = keras.tree.flatten(keras.Model(source, outputs)(x, training=False))
    return {
        name: keras.ops.convert_to_numpy(value)
        for name, value in zip(names, values, strict=True)
        if names.count(name) == 1
    }, last


def _file_outputs(interpreter, wanted, x):
    (source,) = interpreter.get_input_details()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    outputs = {index: [] for index in wanted}
    for sample in runtime.quantized(x, source):
        interpreter.set_tensor(source["index"], sample[None])
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
        pathlib.Path(path).name,
        *("layer", "operation<", "relative\nerror"),
        *("added\nhere", "max\ndifference"),
    )
    for row in rows:
        made.add_row(
            terminal.Name(row.layer),
            f"{row.index} {row.operation}",
            f"{row.error:.2g}",
            ("most -> " if row is worst else "") + f"{row.added:.2g}",
            f"{row.max_abs_diff:.2g}",
        )
    return made
