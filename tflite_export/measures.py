"""What a pruned model costs as a file: budgets "size" and "latency"."""

from keras_nonconvex import files
from keras_nonconvex import pruning
from tflite_export.conversion import convert
from tflite_export.timing import benchmark


@pruning.measure("size")
def size(model):
    """The size of a model's float32 LiteRT file, in bytes.

    Args:
        model: A Keras model.
    """
    with files.scratch() as folder:
        return convert(model, folder / "model.tflite").bytes


@pruning.measure("latency")
def latency(model):
    """The median time of one float32 inference, in ms on one thread.

    Args:
        model: A Keras model.
    """
    with files.scratch() as folder:
        path = folder / "model.tflite"
        convert(model, path)
        (timing,) = benchmark(path, runs=300)
    return timing.median_ms
