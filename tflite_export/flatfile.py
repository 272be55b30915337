"""What stands in a LiteRT file: operations, shapes, multiply-adds."""

import math
import pathlib
import re
import struct

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_NAMES = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int)
}
_TYPES = {
    code: name.lower()
    for name, code in vars(schema.TensorType).items()
    if isinstance(code, int)
}


def read(path):
    """Reads a file as a `ModelT` of LiteRT's schema.

    Raises:
        ValueError: There is no such file, or it is not a LiteRT file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such file. Received: path={str(path)!r}")
    buffer = path.read_bytes()
    if buffer[4:8] != b"TFL3":
        raise ValueError(f"Not a LiteRT file. Received: path={str(path)!r}")
    try:
        return schema.ModelT.InitFromPackedBuf(buffer, 0)
    except (struct.error, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"This LiteRT file is damaged. Received: path={str(path)!r}"
        ) from error


def packed(model):
    """A `ModelT` as the bytes of a LiteRT file."""
    builder = _Aligned(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def order(model, inputs, outputs):
    """Puts the inputs and outputs of a `ModelT` in order, by its signature.

    TensorFlow sorts them by their names.

    Args:
        model: A `ModelT` with one signature.
        inputs: The names of the inputs.
        outputs: The names of the outputs.
    """
    (signature,) = model.signatureDefs
    graph = model.subgraphs[signature.subgraphIndex]
    for kind, wanted in (("inputs", inputs), ("outputs", outputs)):
        found = {one.name.decode(): one for one in getattr(signature, kind)}
        ordered = [found[name] for name in wanted]
        setattr(signature, kind, ordered)
        setattr(graph, kind, [one.tensorIndex for one in ordered])


class _Aligned(flatbuffers.Builder):
    # LiteRT maps weights from the file; its schema aligns them to 16 bytes,
    # which the Python code made from that schema leaves out.
    def StartVector(self, elemSize, numElems, alignment):
        return super().StartVector(elemSize, numElems, max(alignment, 16))


def operations(model):
    """Operator name -> how often it stands in a `ModelT`."""
    counts = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = kind(model, operator)
            counts[name] = counts.get(name, 0) + 1
    return counts


def kind(model, operator):
    """The name of an operator: "CONV_2D"."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return code.customCode.decode()
    return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def macs(model):
    """Multiply-adds of convolutions and dense layers for one input."""
    return sum(
        operator_macs(model, graph, operator)
        for graph in model.subgraphs
        for operator in graph.operators
    )


def operator_macs(model, graph, operator):
    """Multiply-adds of one operator; 0 if it has no kernel."""
    name = kind(model, operator)
    shapes = [
        None if i < 0 else tuple(map(int, graph.tensors[i].shape))
        for i in operator.inputs
    ]
    output = math.prod(map(int, graph.tensors[operator.outputs[0]].shape))
    if name == "CONV_2D":
        return output * math.prod(shapes[1][1:])
    if name == "DEPTHWISE_CONV_2D":
        return output * math.prod(shapes[1][1:3])
    if name == "FULLY_CONNECTED":
        return output * shapes[1][-1]
    if name == "TRANSPOSE_CONV":
        return math.prod(shapes[2]) * math.prod(shapes[1][:3])
    if name == "BATCH_MATMUL":
        return output * shapes[0][-1]
    return 0


def custom(model):
    """Names of the operators that LiteRT lacks, such as Flex operators."""
    return [
        code.customCode.decode()
        for code in model.operatorCodes
        if code.customCode
    ]


def layer_of(path, layers):
    """The layer in a TensorFlow name such as "functional_1/relu_2_1/Relu".

    TensorFlow may add "_1" to a layer's name.

    Args:
        path: A tensor's or operation's name.
        layers: Names of layers.
    """
    for part in reversed(path.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return name
    return None


def types(model):
    """How the operations of a file compute: {(activation type, weight type)}.

    An operation counts with the type of its first input and that of each
    further one. Weights that are stored in a smaller type than they are
    computed in are the constants that a DEQUANTIZE operation reads.
    """
    pairs = set()
    for graph in model.subgraphs:
        for operator in graph.operators:
            tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
            names = [_TYPES[tensor.type] for tensor in tensors]
            pairs.update((names[0], other) for other in names[1:])
            if kind(model, operator) == "DEQUANTIZE" and (
                model.buffers[tensors[0].buffer].data is not None
            ):
                output = graph.tensors[operator.outputs[0]]
                pairs.add((_TYPES[output.type], names[0]))
    return pairs


def notes(model):
    """The metadata of a file: {name: bytes}."""
    entries = {
        entry.name.decode(): model.buffers[entry.buffer].data
        for entry in model.metadata or []
    }
    return {n: bytes(data) for n, data in entries.items() if data is not None}
