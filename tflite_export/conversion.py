"""Keras model -> LiteRT (`.tflite`) file: fixed batch, builtin ops only."""

import dataclasses
import os
import pathlib
import tempfile

import keras
import numpy as np

PRECISIONS = ("float32", "float16", "dynamic", "int8")

# Files with these need a runtime that phones do not have, or carry no
# weights at all (a known converter trap).
_REFUSED_OPS = ("VAR_HANDLE", "READ_VARIABLE", "CUSTOM")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written: path, precision, size, and the ops in the file."""

    path: str
    precision: str
    bytes: int
    ops: dict

    def __str__(self):
        ops = ", ".join(f"{n} {name}" for name, n in self.ops.items())
        return f"{self.path}: {self.precision}, {self.bytes:,} bytes ({ops})"


def convert(model, path, precision="float32", representative_data=None):
    """Writes `model` as a LiteRT file with batch size 1.

    Args:
        model: A built Keras model with one input.
        path: Where to write; must end in ".tflite". Written atomically.
        precision: "float32"; "float16" weights; "dynamic" for int8 weights
            and float activations; "int8" for int8 weights and activations
            with float input and output.
        representative_data: For "int8", real input samples (n, ...) that set
            the activation ranges; some 100 to 500.

    Returns:
        A `Conversion`.
    """
    path = pathlib.Path(path)
    _check(model, path, precision, representative_data)
    import tensorflow as tf

    (tensor,) = model.inputs
    shape = (1, *tensor.shape[1:])
    options = {
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    }
    if precision != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if precision == "int8":
        samples = np.asarray(representative_data, dtype=tensor.dtype)
        options["representative_dataset"] = lambda: (
            [sample[None]] for sample in samples
        )
        options["target_spec"]["supported_ops"] = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = pathlib.Path(folder) / "model.tflite"
        model.export(
            written,
            format="litert",
            verbose=False,
            input_signature=[
                keras.InputSpec(
                    shape=shape, dtype=tensor.dtype, name=tensor.name
                )
            ],
            **options,
        )
        ops = read_ops(written)
        refused = [name for name in ops if name in _REFUSED_OPS]
        if refused:
            raise ValueError(
                "The converted file needs operations that phones do not run: "
                f"{', '.join(refused)}. Received: model={model.name!r}"
            )
        os.replace(written, path)
    return Conversion(str(path), precision, path.stat().st_size, ops)


def read_ops(path):
    """Operator name -> how often it stands in a LiteRT file."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = pathlib.Path(path).read_bytes()
    if buffer[4:8] != b"TFL3":
        raise ValueError(f"Not a LiteRT file. Received: path={str(path)!r}")
    names = {
        code: name
        for name, code in vars(schema.BuiltinOperator).items()
        if isinstance(code, int)
    }
    model = schema.ModelT.InitFromPackedBuf(buffer, 0)
    counts = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            counts[name] = counts.get(name, 0) + 1
    return counts


def _check(model, path, precision, representative_data):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Conversion needs the TensorFlow backend; save the model and "
            "convert it with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    if precision not in PRECISIONS:
        raise ValueError(
            f"Argument `precision` must be one of {', '.join(PRECISIONS)}. "
            f"Received: precision={precision!r}"
        )
    if path.suffix != ".tflite":
        raise ValueError(
            f"Argument `path` must end in '.tflite'. Received: path={path}"
        )
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1:
        raise ValueError(
            "Only built models with one input are converted. "
            f"Received: model={model!r}"
        )
    inner = tuple(model.inputs[0].shape[1:])
    if None in inner:
        raise ValueError(
            "The input size must be fixed. "
            f"Received: model={model.name!r} with input {inner}"
        )
    if precision == "int8":
        given = getattr(representative_data, "shape", None)
        if given is None or tuple(given[1:]) != inner or not given[0]:
            raise ValueError(
                "Argument `representative_data` must be an array of real "
                f"samples of shape (n, {', '.join(map(str, inner))}). "
                f"Received: {'None' if given is None else tuple(given)}"
            )
        if not np.isfinite(representative_data).all():
            raise ValueError(
                "Argument `representative_data` must be finite. "
                "Received: NaN or infinite values"
            )
