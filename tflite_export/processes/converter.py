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


def _float32(tf, converter):
    """The converter's defaults."""


def _float16(tf, converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(tf, converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(tf, converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _int16x8(tf, converter):
    ops = tf.lite.OpsSet
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [
        ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]


# Weights and activations in float32; weights in float16; weights in int8;
# both in int8; weights in int8 with activations in int16.
SETTINGS = {
    "float32": _float32,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": _int8,
    "int16x8": _int16x8,
}
# Those whose activation ranges come from samples.
CALIBRATED = ("int8", "int16x8")

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


def convert(
    saved_model, path, precision, io="float32", samples=None, batch_size=1
):
    """Writes a SavedModel as a LiteRT file of builtin operations only.

    Args:
        saved_model: Folder with the signature "serving_default".
        path: The file to write.
        precision: A key of `SETTINGS`.
        io: Type of the file's input and output.
        samples: Array (n, ...) that sets the ranges of activations.
        batch_size: Of the signature; each sample fills one batch.

    Returns:
        The most memory that this process ever held, in bytes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    SETTINGS[precision](tf, converter)
    if samples is not None:
        converter.representative_dataset = lambda: (
            [np.repeat(x[None], batch_size, axis=0)] for x in samples
        )
    converter.inference_input_type = tf.as_dtype(io)
    converter.inference_output_type = tf.as_dtype(io)
    try:
        content = converter.convert()
    except Exception as error:  # TensorFlow's own type is not public.
        text = str(error)
        found = [m.group("operation", "where") for m in _MISSING.finditer(text)]
        lines = text.strip().splitlines() or [type(error).__name__]
        raise Unsupported(lines[0][:300], found) from error
    pathlib.Path(path).write_bytes(content)
    return _peak_bytes()


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
    calibrated = job["precision"] in CALIBRATED
    try:
        peak = convert(
            folder / "saved_model",
            folder / "model.tflite",
            samples=np.load(folder / "samples.npy") if calibrated else None,
            **job,
        )
        result = {"peak_bytes": peak}
    except Unsupported as error:
        result = {"message": str(error), "operations": error.operations}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    _main(sys.argv[1])
