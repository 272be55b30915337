"""What a pruned model costs as a file: budgets "size" and "latency"."""

import pathlib
import tempfile

from keras_nonconvex import pruning
from tflite_export.conversion import convert
from tflite_export.timing import benchmark


@pruning.measure("size")
def size(model):
    """Bytes of the float32 LiteRT file."""
    with tempfile.TemporaryDirectory() as folder:
        return convert(model, pathlib.Path(folder) / "model.tflite").bytes


@pruning.measure("latency")
def latency(model):
    """Median milliseconds of one inference of it, on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        convert(model, path)
        (found,) = benchmark(path, runs=300)
    return found.median_ms
