"""TensorFlow's converter, from a SavedModel: the only user of `tf.lite`.

Run as a script it converts in a process of its own, since the converter does
not give its memory back: `python -P converter.py FOLDER` reads
FOLDER/job.json and writes FOLDER/model.tflite and FOLDER/result.json.
"""

import json
import os
import pathlib
import re
import resource
import sys

import numpy as np

# What TensorFlow says of an operation that LiteRT lacks, and where it stands.
_MISSING = re.compile(
    r'error: loc\(callsite\(fused\["\w+:", "(?P<where>[^"@]+)@.*?'
    r"'(?P<operation>[\w.]+)' op is neither"
)


class Unsupported(Exception):
    """The converter failed.

    Attributes:
        operations: [(operation, where it stands)], where that is the reason.
    """

    def __init__(self, message, operations):
        super().__init__(message)
        self.operations = operations


def convert(folder, settings, io, batch_size, calibrated):
    """Writes a SavedModel as a LiteRT file of builtin operations only.

    Args:
        folder: The folder of "saved_model", with the signature
            "serving_default", and of the "model.tflite" to write.
        settings: The `settings` of a `Precision`.
        io: Name of the type of the file's input and output.
        batch_size: The signature's batch size; each sample fills one batch.
        calibrated: Whether the arrays in "samples.npz", by the names of the
            inputs, set the ranges of activations.

    Returns:
        The most memory that this process ever held, in bytes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    folder = pathlib.Path(folder)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "saved_model")
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    _apply(tf, converter, settings)
    if calibrated:
        converter.representative_dataset = lambda: _samples(folder, batch_size)
    converter.inference_input_type = tf.as_dtype(io)
    converter.inference_output_type = tf.as_dtype(io)
    try:
        content = converter.convert()
    # The type that TensorFlow raises is not public.
    except Exception as error:
        text = str(error)
        missing = [
            match.group("operation", "where")
            for match in _MISSING.finditer(text)
        ]
        lines = text.strip().splitlines() or [type(error).__name__]
        raise Unsupported(lines[0][:300], missing) from error
    (folder / "model.tflite").write_bytes(content)
    return _peak_bytes()


def _samples(folder, batch_size):
    """Yields {input: batch}; one sample fills each batch."""
    with np.load(folder / "samples.npz") as stored:
        arrays = dict(stored)
    for sample in zip(*arrays.values(), strict=True):
        yield {
            name: np.repeat(x[None], batch_size, axis=0)
            for name, x in zip(arrays, sample, strict=True)
        }


def _apply(tf, target, settings):
    """Sets attributes of the converter, and attributes of these."""
    for name, value in settings.items():
        if not hasattr(target, name):
            raise ValueError(
                "The settings of a precision must be attributes of "
                f"TensorFlow's converter. Received: {name}={value!r}"
            )
        if isinstance(value, dict):
            _apply(tf, getattr(target, name), value)
        else:
            setattr(target, name, _value(tf, name, value))


def _value(tf, name, value):
    """What TensorFlow takes where a setting has a name."""
    if isinstance(value, list):
        return [_value(tf, name, one) for one in value]
    if name == "optimizations":
        return tf.lite.Optimize[value]
    if name == "supported_ops":
        return tf.lite.OpsSet[value]
    if name.endswith(("_type", "_types")):
        return tf.as_dtype(value)
    return value


def _peak_bytes():
    # On Linux, ru_maxrss begins with what the parent process held.
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
        return 1024 * int(peak)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main(folder):
    folder = pathlib.Path(folder)
    job = json.loads((folder / "job.json").read_text())
    try:
        peak = convert(folder, **job)
        result = {"peak_bytes": peak}
    except Unsupported as error:
        result = {"message": str(error), "operations": error.operations}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    _main(sys.argv[1])
