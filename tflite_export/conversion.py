"""Keras model -> LiteRT (`.tflite`) file: fixed batch, builtin ops only."""

import dataclasses
import pathlib
import shutil
import warnings

import keras
import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import files
from keras_nonconvex import graph
from tflite_export import flatfile
from tflite_export import inference
from tflite_export import runtime
from tflite_export import samples
from tflite_export.metadata import write
from tflite_export.precisions import PRECISIONS
from tflite_export.processes import child
from tflite_export.processes import converter

# Files with these need a runtime that phones do not have, or carry no
# weights at all (a known converter trap).
_REFUSED_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        path: str. The file.
        precision: str. Its precision.
        bytes: int. Its size in bytes.
        ops: dict. {operator name: how often the file has it}.
        peak_bytes: int. The most memory, in bytes, that the converting
            process ever held: that of a process of its own, or of this one.
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

    The files compute what `predict` does, with `training=False`, in float32
    whatever policy trained the model. They have builtin operations only, so
    that every phone runs them; a model that needs others is refused by the
    names of its layers. Each file is loaded once before it is put in its
    place.

    Args:
        model: A built Keras model with inputs of fixed size. The file and its
            signature have its inputs and outputs by their names and in their
            order.
        path: str or path. Where to write; it must end in `".tflite"`. The
            file is written whole or not at all, and replaces one of the same
            name. `"{precision}"` in it is replaced by the precision, which
            several precisions need.
        precision: str, or a list of them: `"float32"`; `"float16"` for
            float16 weights; `"dynamic"` for int8 weights and float
            activations; `"int8"` for int8 weights and activations;
            `"int16x8"` for int8 weights and int16 activations, which is
            precise but slow; or one of your own, see `Precision`. Defaults to
            `"float32"`.
        representative_data: Some 100 to 500 real inputs that set the ranges
            of the activations: an array `(n, ...)` of what the model takes, a
            list, tuple or dict of them for several inputs; or a
            `tf.data.Dataset`, `PyDataset` or generator, with or without
            targets, or the name or folder of a data set, of which 500 are
            taken from all over it. `"int8"` and `"int16x8"` need it. Defaults
            to `None`.
        io: str. The type of input and output of quantized files:
            `"float32"`; also `"int8"` or `"uint8"` with `"int8"`, and
            `"int16"` with `"int16x8"`. Other files keep float32. Defaults to
            `"float32"`.
        batch_size: int >= 1, the batch size of the file, or `None` to leave
            it open, which costs speed. Defaults to `1`.
        metadata: A `Metadata` with class names and normalisation to put into
            the file. Defaults to `None`.
        isolate: bool. Whether to convert in a process of its own, whose end
            frees the converter's memory. Precisions with
            `representative_data` always get one, since TensorFlow can crash
            there. Defaults to `None`: only these, and several precisions.
        progress: Function that is called with each `Conversion` when it is
            done. Defaults to `None`.

    Returns:
        A `Conversion`; for a list of precisions, a list of them.

    Raises:
        ValueError: An argument is wrong, LiteRT has no operation for a layer
            (the message names it), or the runtime cannot load the file.

    Example:
    >>> made = tflite_export.convert(
    ...     model,
    ...     "model.int8.tflite",
    ...     "int8",
    ...     representative_data=x_train[:300],
    ... )
    >>> print(made.bytes)
    """
    several = not isinstance(precision, str)
    names = list(precision) if several else [precision]
    paths = _paths(path, names)
    precisions = [PRECISIONS[name] for name in names]
    model = inference.functional(model)
    _check(model, precisions, io, batch_size)
    if metadata is not None:
        metadata = metadata.completed(model)
    inputs, outputs = inference.names(model)
    calibration = None
    if any(one.calibrated for one in precisions):
        calibration = samples.representative(
            model, representative_data, metadata
        )
    made = []
    with files.scratch() as folder:
        inference.save(model, folder / "saved_model", batch_size)
        if calibration is not None:
            named = zip(inputs, calibration, strict=True)
            np.savez(folder / "samples.npz", **dict(named))
        for one, target in zip(precisions, paths, strict=True):
            job = {
                "settings": one.settings,
                "io": io if io in one.io else "float32",
                "batch_size": batch_size or 1,
                "calibrated": one.calibrated,
            }
            apart = several if isolate is None else isolate
            with files.replacing(target) as written:
                if apart or one.calibrated:
                    peak = _in_a_process(model, folder, job)
                else:
                    peak = _here(model, folder, job)
                shutil.copyfile(folder / "model.tflite", written)
                if len(inputs) > 1 or len(outputs) > 1:
                    file = flatfile.read(written)
                    flatfile.order(file, inputs, outputs)
                    written.write_bytes(flatfile.packed(file))
                ops = _accepted(model, written, one.name)
                if metadata is not None:
                    write(written, metadata)
            size = target.stat().st_size
            made.append(Conversion(str(target), one.name, size, ops, peak))
            if progress:
                progress(made[-1])
    return made if several else made[0]


def _here(model, folder, job):
    try:
        with runtime.quiet():
            return converter.convert(folder, **job)
    except converter.Unsupported as error:
        raise _explained(model, str(error), error.operations) from error


def _in_a_process(model, folder, job):
    try:
        result = child.run(converter.__file__, folder, job)
    except child.Failed as error:
        raise _crashed(model, job, error) from error
    if "message" in result:
        raise _explained(model, result["message"], result["operations"])
    return result["peak_bytes"]


def _crashed(model, job, error):
    """The error for a converter that has ended."""
    loops = [
        layer.name
        for layer in graph.sublayers(model)
        if getattr(layer, "unroll", None) is False
    ]
    if job["calibrated"] and loops:
        return ValueError(
            f"{error}: TensorFlow cannot find the ranges of activations in "
            "recurrent layers that loop. Build them with unroll=True and load "
            "the weights, or take a precision without representative data, "
            f"such as 'dynamic'. Received: model={model.name!r} with layers "
            f"{', '.join(map(repr, loops))}"
        )
    return RuntimeError(f"{error}. Received: model={model.name!r}")


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
    file = flatfile.read(path)
    ops = flatfile.operations(file)
    refused = {*_REFUSED_OPS, *flatfile.custom(file)}.intersection(ops)
    if refused:
        raise ValueError(
            "The converted file needs operations that phones do not run: "
            f"{', '.join(sorted(refused))}. Received: model={model.name!r}"
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
    """Refuses what cannot be converted."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Conversion needs the TensorFlow backend; save the model and "
            "convert it with KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    if not any(io in one.io for one in precisions):
        also = [
            f"with precision {one.name!r} also "
            + " or ".join(repr(kind) for kind in one.io if kind != "float32")
            for one in PRECISIONS.values()
            if len(one.io) > 1
        ]
        raise ValueError(
            f"Argument `io` must be 'float32', {', '.join(also)}. Received: "
            f"io={io!r} with precision {', '.join(p.name for p in precisions)}"
        )
    if batch_size is not None:
        checks.whole("batch_size", batch_size, 1)
    inference.check_unquantized(model)
    for tensor in model.inputs:
        shape = tuple(tensor.shape[1:])
        if None in shape:
            raise ValueError(
                "The input size must be fixed, as by keras.Input((height, "
                "width, channels)). Received: "
                f"model={model.name!r} with input {tensor.name!r} of {shape}"
            )
    for one in precisions:
        if one.caution:
            warnings.warn(f"{one.name} files are {one.caution}.", stacklevel=3)
