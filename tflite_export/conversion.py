"""Keras model -> LiteRT (`.tflite`) file: fixed batch, builtin ops only."""

import dataclasses
import pathlib
import tempfile
import warnings

import keras
import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import files
from keras_nonconvex import graph
from tflite_export import flatfile
from tflite_export import metadata as metadata_
from tflite_export import runtime
from tflite_export import samples
from tflite_export.processes import child
from tflite_export.processes import converter

PRECISIONS = tuple(converter.SETTINGS)
# Types of the input and output of a quantized file.
_IO = {
    "int8": ("float32", "int8", "uint8"),
    "int16x8": ("float32", "int16"),
}

# Files with these need a runtime that phones do not have, or carry no
# weights at all (a known converter trap).
_REFUSED_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        path: The file.
        precision: What it holds.
        bytes: Its size.
        ops: {operator name: how often}.
        peak_bytes: The most memory that the converting process ever held;
            of a process of its own, or of this one.
    """

    path: str
    precision: str
    bytes: int
    ops: dict
    peak_bytes: int

    def __str__(self):
        ops = ", ".join(f"{n} {name}" for name, n in self.ops.items())
        return (
            f"{self.path}: {self.precision}, {self.bytes:,} bytes, peak "
            f"memory {self.peak_bytes / 1e6:,.0f} MB ({ops})"
        )


def convert(
    model,
    path,
    precision="float32",
    representative_data=None,
    io="float32",
    batch_size=1,
    metadata=None,
    isolate=None,
    progress=None,
):
    """Writes a Keras model as a LiteRT file, or as several.

    Args:
        model: A built Keras model with one input and one output.
        path: Where to write; must end in ".tflite". Written atomically.
            "{precision}" in it is replaced; several precisions need it.
        precision: One of these, or a list of them: "float32"; "float16"
            weights; "dynamic" for int8 weights and float activations; "int8"
            for int8 weights and activations; "int16x8" for int8 weights and
            int16 activations, which is precise but slow.
        representative_data: For "int8" and "int16x8", some 100 to 500 real
            input samples that set the activation ranges: an array (n, ...),
            a `tf.data.Dataset`, or the name of a data set.
        io: Type of input and output of quantized files: "float32"; "int8" or
            "uint8" with "int8", "int16" with "int16x8".
        batch_size: Of the file; None leaves it open, which costs speed.
        metadata: A `Metadata` with class names and normalisation to put into
            the file.
        isolate: Convert in a process of its own, which frees its memory; the
            default with several precisions.
        progress: Called with each `Conversion` when it is done.

    Returns:
        A `Conversion`, or a list of them for a list of precisions.
    """
    several = not isinstance(precision, str)
    precisions = list(precision) if several else [precision]
    paths = _paths(path, precisions)
    shape = _check(model, precisions, io, batch_size)
    calibration = None
    if any(p in converter.CALIBRATED for p in precisions):
        calibration = samples.samples(representative_data, shape, metadata)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        _save(model, folder / "saved_model", batch_size)
        if calibration is not None:
            np.save(folder / "samples.npy", calibration)
        for name, target in zip(precisions, paths, strict=True):
            job = {
                "precision": name,
                "io": io if io in _IO.get(name, ()) else "float32",
                "batch_size": batch_size or 1,
            }
            given = calibration if name in converter.CALIBRATED else None
            with files.replacing(target) as written:
                if several if isolate is None else isolate:
                    peak = _in_a_process(model, folder, written, job)
                else:
                    peak = _here(model, folder, written, job, given)
                ops = _accepted(model, written, name)
                if metadata is not None:
                    metadata_.write(written, metadata)
            made.append(
                Conversion(str(target), name, target.stat().st_size, ops, peak)
            )
            if progress:
                progress(made[-1])
    return made if several else made[0]


def _save(model, folder, batch_size):
    (tensor,) = model.inputs
    signature = keras.InputSpec(
        shape=(batch_size, *tensor.shape[1:]),
        dtype=tensor.dtype,
        name=tensor.name,
    )
    model.export(
        folder,
        format="tf_saved_model",
        verbose=False,
        input_signature=[signature],
    )


def _here(model, folder, written, job, samples):
    try:
        with runtime.quiet():
            return converter.convert(
                folder / "saved_model", written, samples=samples, **job
            )
    except converter.Unsupported as error:
        raise _explained(model, str(error), error.operations) from error


def _in_a_process(model, folder, written, job):
    try:
        found = child.run(converter.__file__, folder, job)
    except child.Failed as error:
        raise RuntimeError(
            f"{error}. Received: model={model.name!r}"
        ) from error
    if "message" in found:
        raise _explained(model, found["message"], found["operations"])
    (folder / "model.tflite").replace(written)
    return found["peak_bytes"]


def _explained(model, message, operations):
    """The error that names the layers whose operations LiteRT lacks."""
    if not operations:
        return ValueError(
            f"TensorFlow cannot convert this model ({message}). "
            f"Received: model={model.name!r}"
        )
    names = [layer.name for layer in graph.layers(model)]
    told = dict.fromkeys(
        f"{operation} of layer {flatfile.layer_of(where, names) or where!r}"
        for operation, where in operations
    )
    return ValueError(
        "Builtin operations of LiteRT do not cover this model: "
        f"{', '.join(told)}. Received: model={model.name!r}"
    )


def _accepted(model, path, precision):
    """The operations of a converted file that phones can run."""
    found = flatfile.read(path)
    ops = flatfile.operations(found)
    refused = [
        name
        for name in ops
        if name in _REFUSED_OPS or name in flatfile.custom(found)
    ]
    if refused:
        raise ValueError(
            "The converted file needs operations that phones do not run: "
            f"{', '.join(refused)}. Received: model={model.name!r}"
        )
    # The converter writes scales that kernels then refuse.
    try:
        runtime.interpreter(path)
    except ValueError as error:
        raise ValueError(
            f"LiteRT cannot load the converted file ({error.__cause__}). "
            f"Received: model={model.name!r}, precision={precision!r}"
        ) from error
    return ops


def _paths(path, precisions):
    if not precisions:
        raise ValueError(
            f"Argument `precision` must name one of {', '.join(PRECISIONS)}. "
            "Received: none"
        )
    for name in precisions:
        checks.choice("precision", name, PRECISIONS)
    path = str(path)
    if not path.endswith(".tflite"):
        raise ValueError(
            f"Argument `path` must end in '.tflite'. Received: path={path!r}"
        )
    if len(precisions) > 1 and "{precision}" not in path:
        raise ValueError(
            "Argument `path` must contain '{precision}' where there are "
            f"several. Received: path={path!r}"
        )
    return [pathlib.Path(path.replace("{precision}", p)) for p in precisions]


def _check(model, precisions, io, batch_size):
    """Refuses what cannot be converted; returns the shape of one sample."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Conversion needs the TensorFlow backend; save the model and "
            "convert it with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    if io != "float32" and not any(io in _IO.get(p, ()) for p in precisions):
        raise ValueError(
            "Argument `io` must be 'float32', with precision 'int8' also "
            "'int8' or 'uint8', with 'int16x8' also 'int16'. "
            f"Received: io={io!r} with precision {', '.join(precisions)}"
        )
    if batch_size is not None:
        checks.whole("batch_size", batch_size, 1)
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Argument `model` must be a keras.Model. Received: model={model!r}"
        )
    inputs = getattr(model, "inputs", None) or []
    outputs = getattr(model, "outputs", None) or []
    if (len(inputs), len(outputs)) != (1, 1):
        raise ValueError(
            "Only built models with one input and one output are converted. "
            f"Received: model={model.name!r} with {len(inputs)} and "
            f"{len(outputs)}"
        )
    shape = tuple(inputs[0].shape[1:])
    if None in shape:
        raise ValueError(
            "The input size must be fixed. "
            f"Received: model={model.name!r} with input {shape}"
        )
    if "int16x8" in precisions:
        warnings.warn(
            "int16x8 files are precise but slow: the runtime has no fast "
            "kernels for them (some 40 times the time of float32).",
            stacklevel=3,
        )
    return shape
